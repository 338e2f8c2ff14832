"""The contract: what an order is, and the strict reading of a message's raw bytes.

`Order` is the one definition: the table's columns and the exported contract come from its annotations. `read_exactly`
follows the contract step by step and names the reason of a rejection; `reading` confirms many good records at once.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Sequence
from datetime import date, datetime
from decimal import Decimal, InvalidOperation
from enum import StrEnum
from typing import Annotated, Any, NoReturn

import msgspec
from msgspec import Meta

from orderflow.catalogue import CATEGORY_OF, CUSTOMER_IDS, HIGHEST_PRICE, LOWEST_PRICE, QUANTITIES
from orderflow.errors import RecordRejected

INT_MAX = 2**31 - 1  # MySQL's INT
CENT = Decimal("0.01")
MONEY_LIMIT = Decimal(10) ** 8  # DECIMAL(10,2) holds less than this
TEXTS = {"product_name": 255, "product_category": 100}  # free texts and their most characters
MAX_VALUE_BYTES = 1024 * 1024  # Kafka's default message.max.bytes is of this size

MAX_DEPTH = 64  # levels of arrays and objects, in fields the contract does not know

_STRINGS = re.compile(r'"(?:[^"\\]|\\.)*+"', re.DOTALL)
_BRACKETS = re.compile(r"[\[\]{}]")
ORDER_ID = re.compile(r"ORDER-[0-9]{6,44}")
TIMESTAMP = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T(?:[01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9]")


class Reason(StrEnum):
    """Why a record is in the quarantine."""

    NULL_VALUE = "null_value"
    EMPTY_VALUE = "empty_value"
    OVERSIZED_VALUE = "oversized_value"
    BYTE_ORDER_MARK = "byte_order_mark"
    INVALID_UTF8 = "invalid_utf8"
    MALFORMED_JSON = "malformed_json"
    TRAILING_DATA = "trailing_data"
    TOO_DEEP = "too_deep"
    NOT_AN_OBJECT = "not_an_object"
    DUPLICATE_KEY = "duplicate_key"
    MISSING_FIELD = "missing_field"
    NULL_FIELD = "null_field"
    WRONG_TYPE = "wrong_type"
    WRONG_LENGTH = "wrong_length"
    INVALID_TEXT = "invalid_text"
    INVALID_ORDER_ID = "invalid_order_id"
    INVALID_TIMESTAMP = "invalid_timestamp"
    OUT_OF_RANGE = "out_of_range"
    EXCESS_SCALE = "excess_scale"
    WRONG_TOTAL = "wrong_total"
    OUTSIDE_RANGES = "outside_ranges"  # only with ORDER_RANGES=enforce
    CONFLICT = "conflict"  # the order_id is stored with other content
    REFUSED_BY_DATABASE = "refused_by_database"


def _column(sql: str) -> dict[str, str]:
    return {"column": sql}


# What JSON Schema can say of a rule that is checked in `read_exactly`.
# Not multipleOf 0.01: validators that compute with floats would refuse 1.1.
_MONEY = {"exclusiveMinimum": 0, "exclusiveMaximum": int(MONEY_LIMIT)}


def _free_text(field: str) -> Meta:
    longest = TEXTS[field]
    return Meta(
        min_length=1,
        max_length=longest,
        description=f"1 to {longest} characters",
        extra=_column(f"VARCHAR({longest}) CHARACTER SET utf8mb4 NOT NULL"),
        extra_json_schema={"pattern": r"^[^\u0000]*$"},
    )


class Order(msgspec.Struct, frozen=True, gc=False):
    """One order, as it stands in the message and in the table's row."""

    customer_id: Annotated[int, Meta(ge=1, le=INT_MAX, description=f"1 to {INT_MAX}", extra=_column("INT NOT NULL"))]
    order_id: Annotated[
        str,
        Meta(
            max_length=50,
            description="`ORDER-` and six or more digits, 50 characters at most",
            extra=_column("VARCHAR(50) CHARACTER SET ascii COLLATE ascii_bin NOT NULL"),
            extra_json_schema={"pattern": f"^{ORDER_ID.pattern}$"},
        ),
    ]
    product_name: Annotated[str, _free_text("product_name")]
    product_category: Annotated[str, _free_text("product_category")]
    unit_price: Annotated[
        Decimal,
        Meta(
            description="above 0, exact, at most two decimals",
            extra=_column("DECIMAL(10,2) NOT NULL"),
            extra_json_schema=_MONEY,
        ),
    ]
    quantity: Annotated[int, Meta(ge=1, le=INT_MAX, description=f"1 to {INT_MAX}", extra=_column("INT NOT NULL"))]
    total_price: Annotated[
        Decimal,
        Meta(
            description="equals unit_price × quantity exactly",
            extra=_column("DECIMAL(10,2) NOT NULL"),
            extra_json_schema=_MONEY,
        ),
    ]
    order_timestamp: Annotated[
        str,
        Meta(
            description="`YYYY-MM-DDTHH:MM:SS`, a real date, UTC, no zone suffix",
            extra=_column("DATETIME NOT NULL"),
            extra_json_schema={"pattern": f"^{TIMESTAMP.pattern}$"},
        ),
    ]

    def row(self) -> tuple[object, ...]:
        """The eight columns as a database driver returns them (order_timestamp as a naive UTC datetime)."""
        return (*msgspec.structs.astuple(self)[:-1], datetime.fromisoformat(self.order_timestamp))


FIELDS: tuple[str, ...] = Order.__struct_fields__


def columns() -> dict[str, str]:
    """Column name to SQL type, in the table's order."""
    info = msgspec.inspect.type_info(Order)
    assert isinstance(info, msgspec.inspect.StructType)
    return {field.name: _extra(field.type)["column"] for field in info.fields}


def _extra(node: msgspec.inspect.Type) -> dict[str, str]:
    assert isinstance(node, msgspec.inspect.Metadata)
    return node.extra or {}


def decode(value: bytes | None, *, enforce_ranges: bool = False) -> Order:
    """Read one message value.

    Raises RecordRejected with the reason and a sentence of detail.
    """
    order, _ = read_exactly(value, enforce_ranges)
    return order


def _is_real_date(text: str) -> bool:
    try:
        date.fromisoformat(text)
    except ValueError:
        return False
    return True


def read_exactly(value: bytes | None, enforce_ranges: bool) -> tuple[Order, Sequence[str]]:
    """The contract, step by step: the order and the names of its unknown fields.

    Raises RecordRejected.
    """
    fields = _read_object(value)
    for name in FIELDS:
        if name not in fields:
            _reject(Reason.MISSING_FIELD, f"{name} is missing{_look_alike(name, fields)}")
        if fields[name] is None:
            _reject(Reason.NULL_FIELD, f"{name} is null")
    order = Order(
        customer_id=_integer(fields, "customer_id"),
        order_id=_text(fields, "order_id", Reason.INVALID_ORDER_ID),
        product_name=_text(fields, "product_name"),
        product_category=_text(fields, "product_category"),
        unit_price=_money(fields, "unit_price"),
        quantity=_integer(fields, "quantity"),
        total_price=_money(fields, "total_price"),
        order_timestamp=_text(fields, "order_timestamp", Reason.INVALID_TIMESTAMP),
    )
    if not ORDER_ID.fullmatch(order.order_id):
        _reject(Reason.INVALID_ORDER_ID, f"order_id is {_shown(order.order_id)}, not ORDER- and 6 to 44 digits")
    if not TIMESTAMP.fullmatch(order.order_timestamp) or not _is_real_date(order.order_timestamp[:10]):
        _reject(
            Reason.INVALID_TIMESTAMP,
            f"order_timestamp is {_shown(order.order_timestamp)}, not a real YYYY-MM-DDTHH:MM:SS without zone",
        )
    if order.unit_price * order.quantity != order.total_price:
        _reject(
            Reason.WRONG_TOTAL,
            f"total_price is {order.total_price}, but {order.unit_price} × {order.quantity}"
            f" = {order.unit_price * order.quantity}",
        )
    if enforce_ranges and (found := outside_ranges(order)):
        _reject(Reason.OUTSIDE_RANGES, f"{found} (ORDER_RANGES=enforce)")
    return order, [name for name in fields if name not in FIELDS]


def _read_object(value: bytes | None) -> dict[str, Any]:
    if value is None:
        _reject(Reason.NULL_VALUE, "the record has no value (a tombstone)")
    if len(value) > MAX_VALUE_BYTES:
        _reject(Reason.OVERSIZED_VALUE, f"the value has {len(value)} bytes; {MAX_VALUE_BYTES} are the most")
    if value.startswith(b"\xef\xbb\xbf"):
        _reject(Reason.BYTE_ORDER_MARK, "the value starts with a byte order mark")
    try:
        text = value.decode("utf-8")
    except UnicodeDecodeError as error:
        _reject(Reason.INVALID_UTF8, f"byte {error.start} is not UTF-8: {error.reason}")
    start = len(text) - len(text.lstrip(" \t\r\n"))
    if start == len(text):
        _reject(Reason.EMPTY_VALUE, "the value is empty" if not text else "the value is white space only")
    if _depth(text) > MAX_DEPTH:
        _reject(Reason.TOO_DEEP, f"the value is nested more than {MAX_DEPTH} levels deep")
    try:
        found, end = _EXACT.raw_decode(text, start)
    except json.JSONDecodeError as error:
        _reject(Reason.MALFORMED_JSON, f"character {error.pos}: {error.msg}")
    if rest := text[end:].strip(" \t\r\n"):
        _reject(Reason.TRAILING_DATA, f"after the JSON value, at character {end}, stands {_shown(rest)}")
    if not isinstance(found, dict):
        _reject(Reason.NOT_AN_OBJECT, f"the value is a JSON {_JSON_NAMES[type(found)]}, not an object")
    return found


def _depth(text: str) -> int:
    """How deep arrays and objects are nested. Asked before: the parser's own limit depends on its caller's stack."""
    if text.count("[") + text.count("{") <= MAX_DEPTH:
        return 0
    depth = deepest = 0
    for bracket in _BRACKETS.findall(_STRINGS.sub("", text)):
        depth += 1 if bracket in "[{" else -1
        deepest = max(deepest, depth)
    return deepest


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    fields = dict(pairs)
    if len(fields) != len(pairs):
        repeated = next(name for name, count in Counter(name for name, _ in pairs).items() if count > 1)
        _reject(Reason.DUPLICATE_KEY, f"the key {_shown(repeated)} stands twice")
    return fields


def _whole(digits: str) -> int:
    # Python refuses to read more than 4,300 digits; beyond 20 the exact value no longer matters.
    return int(digits[:20])


def _decimal(digits: str) -> Decimal:
    try:
        return Decimal(digits)
    except InvalidOperation:  # an exponent beyond Decimal's own range
        return Decimal("Infinity")


def _no_constant(name: str) -> NoReturn:
    _reject(Reason.MALFORMED_JSON, f"{name} is not JSON")


_EXACT = json.JSONDecoder(
    object_pairs_hook=_unique, parse_float=_decimal, parse_int=_whole, parse_constant=_no_constant
)
_JSON_NAMES: dict[type, str] = {
    type(None): "null",
    bool: "boolean",
    int: "number",
    Decimal: "number",
    str: "string",
    list: "array",
    dict: "object",
}


def _integer(fields: dict[str, Any], name: str) -> int:
    value = fields[name]
    if type(value) is not int:
        found = f"{_shown(str(value))}, with decimal point or exponent" if type(value) is Decimal else _kind(value)
        _reject(Reason.WRONG_TYPE, f"{name} is {found}, not an integer")
    if not 1 <= value <= INT_MAX:
        _reject(Reason.OUT_OF_RANGE, f"{name} is {value}, not from 1 to {INT_MAX}")
    return value


def _money(fields: dict[str, Any], name: str) -> Decimal:
    value = fields[name]
    if type(value) not in (int, Decimal):
        _reject(Reason.WRONG_TYPE, f"{name} is {_kind(value)}, not a number")
    amount = Decimal(value)
    if not 0 < amount < MONEY_LIMIT:
        _reject(Reason.OUT_OF_RANGE, f"{name} is {_shown(str(amount))}, not above 0 and below {MONEY_LIMIT}")
    in_cents = amount.quantize(CENT)
    if in_cents != amount:
        _reject(Reason.EXCESS_SCALE, f"{name} is {_shown(str(amount))}, which has more than two decimals")
    return in_cents


def _text(fields: dict[str, Any], name: str, unfit: Reason = Reason.INVALID_TEXT) -> str:
    value = fields[name]
    if type(value) is not str:
        _reject(Reason.WRONG_TYPE, f"{name} is {_kind(value)}, not a string")
    if (longest := TEXTS.get(name)) and not 1 <= len(value) <= longest:
        _reject(Reason.WRONG_LENGTH, f"{name} has {len(value)} characters, not 1 to {longest}")
    if "\0" in value:
        _reject(unfit, f"{name} holds a NUL character")
    if any("\ud800" <= character <= "\udfff" for character in value):
        _reject(unfit, f"{name} holds half of a surrogate pair")
    return value


def outside_ranges(order: Order) -> str:
    """What lies outside the generator's ranges, as a clause; empty if nothing does."""
    if order.customer_id not in CUSTOMER_IDS:
        return f"customer_id {order.customer_id} is not from {CUSTOMER_IDS.start} to {CUSTOMER_IDS.stop - 1}"
    if order.quantity not in QUANTITIES:
        return f"quantity {order.quantity} is not from {QUANTITIES.start} to {QUANTITIES.stop - 1}"
    if not LOWEST_PRICE <= order.unit_price <= HIGHEST_PRICE:
        return f"unit_price {order.unit_price} is not from {LOWEST_PRICE} to {HIGHEST_PRICE}"
    if CATEGORY_OF.get(order.product_name) != order.product_category:
        return f"{_shown(order.product_name)} in {_shown(order.product_category)} is not in the catalogue"
    return ""


def _kind(value: object) -> str:
    kind = _JSON_NAMES[type(value)]
    return f"the string {_shown(value)}" if isinstance(value, str) else f"a JSON {kind}"


def _look_alike(name: str, fields: dict[str, Any]) -> str:
    alike = next((found for found in fields if found.strip().lower() == name), None)
    return f"; {_shown(alike)} is another name" if alike else ""


def _shown(text: str) -> str:
    """At most 60 characters, in ASCII, so that a hostile text is harmless in a terminal or a log."""
    return ascii(text if len(text) <= 60 else text[:57] + "...")


def _reject(reason: Reason, detail: str) -> NoReturn:
    raise RecordRejected(reason, detail)
