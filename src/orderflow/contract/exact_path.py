"""The exact path: checks one message against the contract step by step and names the reason of a rejection."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Sequence
from datetime import date
from decimal import Decimal, InvalidOperation
from typing import Any, NoReturn

from orderflow.catalogue import CATEGORY_OF, CUSTOMER_IDS, HIGHEST_PRICE, LOWEST_PRICE, QUANTITIES
from orderflow.contract.definition import (
    CENT,
    FIELDS,
    INT_MAX,
    MAX_DEPTH,
    MAX_VALUE_BYTES,
    MONEY_LIMIT,
    ORDER_ID,
    TEXTS,
    TIMESTAMP,
    Order,
    Reason,
)
from orderflow.errors import RecordRejected

_STRINGS = re.compile(r'"(?:[^"\\]|\\.)*+"', re.DOTALL)
_BRACKETS = re.compile(r"[\[\]{}]")


def decode(value: bytes | None, *, enforce_ranges: bool = False) -> Order:
    """Decode one message value.

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
    """Decode one message value. Return the order and the names of its unknown fields.

    Raises RecordRejected.
    """
    fields = _read_object(value)
    for name in FIELDS:
        if name not in fields:
            _reject(Reason.MISSING_FIELD, f"{name} is missing{_similar_key_hint(name, fields)}")
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
        _reject(Reason.INVALID_ORDER_ID, f"order_id is {_quote(order.order_id)}, not ORDER- with 6 to 44 digits")
    if not TIMESTAMP.fullmatch(order.order_timestamp) or not _is_real_date(order.order_timestamp[:10]):
        _reject(
            Reason.INVALID_TIMESTAMP,
            f"order_timestamp is {_quote(order.order_timestamp)}, not a real YYYY-MM-DDTHH:MM:SS without zone",
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
        _reject(Reason.OVERSIZED_VALUE, f"the value has {len(value)} bytes, more than {MAX_VALUE_BYTES}")
    if value.startswith(b"\xef\xbb\xbf"):
        _reject(Reason.BYTE_ORDER_MARK, "the value starts with a byte order mark")
    try:
        text = value.decode("utf-8")
    except UnicodeDecodeError as error:
        _reject(Reason.INVALID_UTF8, f"byte {error.start} is not UTF-8: {error.reason}")
    start = len(text) - len(text.lstrip(" \t\r\n"))
    if start == len(text):
        _reject(Reason.EMPTY_VALUE, "the value is empty" if not text else "the value contains only white space")
    if _depth(text) > MAX_DEPTH:
        _reject(Reason.TOO_DEEP, f"the value is nested more than {MAX_DEPTH} levels deep")
    try:
        found, end = _EXACT.raw_decode(text, start)
    except json.JSONDecodeError as error:
        _reject(Reason.MALFORMED_JSON, f"character {error.pos}: {error.msg}")
    if rest := text[end:].strip(" \t\r\n"):
        _reject(Reason.TRAILING_DATA, f"the JSON value is followed by {_quote(rest)} at character {end}")
    if not isinstance(found, dict):
        _reject(Reason.NOT_AN_OBJECT, f"the value is a JSON {_JSON_NAMES[type(found)]}, not an object")
    return found


def _depth(text: str) -> int:
    """The nesting depth of arrays and objects. Checked before parsing: the parser's limit depends on the call stack."""
    if text.count("[") + text.count("{") <= MAX_DEPTH:
        return 0
    depth = deepest = 0
    for bracket in _BRACKETS.findall(_STRINGS.sub("", text)):
        depth += 1 if bracket in "[{" else -1
        deepest = max(deepest, depth)
    return deepest


def _reject_duplicate_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    fields = dict(pairs)
    if len(fields) != len(pairs):
        repeated = next(name for name, count in Counter(name for name, _ in pairs).items() if count > 1)
        _reject(Reason.DUPLICATE_KEY, f"the key {_quote(repeated)} occurs more than once")
    return fields


def _parse_integer(digits: str) -> int:
    # Python refuses to parse more than 4,300 digits. Beyond 20 digits the exact value does not matter.
    return int(digits[:20])


def _parse_decimal(digits: str) -> Decimal:
    try:
        return Decimal(digits)
    except InvalidOperation:  # an exponent beyond Decimal's own range
        return Decimal("Infinity")


def _reject_constant(name: str) -> NoReturn:
    _reject(Reason.MALFORMED_JSON, f"{name} is not JSON")


_EXACT = json.JSONDecoder(
    object_pairs_hook=_reject_duplicate_keys,
    parse_float=_parse_decimal,
    parse_int=_parse_integer,
    parse_constant=_reject_constant,
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
        found = (
            f"{_quote(str(value))}, with decimal point or exponent" if type(value) is Decimal else _describe_type(value)
        )
        _reject(Reason.WRONG_TYPE, f"{name} is {found}, not an integer")
    if not 1 <= value <= INT_MAX:
        _reject(Reason.OUT_OF_RANGE, f"{name} is {value}, not from 1 to {INT_MAX}")
    return value


def _money(fields: dict[str, Any], name: str) -> Decimal:
    value = fields[name]
    if type(value) not in (int, Decimal):
        _reject(Reason.WRONG_TYPE, f"{name} is {_describe_type(value)}, not a number")
    amount = Decimal(value)
    if not 0 < amount < MONEY_LIMIT:
        _reject(Reason.OUT_OF_RANGE, f"{name} is {_quote(str(amount))}, not above 0 and below {MONEY_LIMIT}")
    in_cents = amount.quantize(CENT)
    if in_cents != amount:
        _reject(Reason.EXCESS_SCALE, f"{name} is {_quote(str(amount))}, which has more than two decimals")
    return in_cents


def _text(fields: dict[str, Any], name: str, invalid_reason: Reason = Reason.INVALID_TEXT) -> str:
    value = fields[name]
    if type(value) is not str:
        _reject(Reason.WRONG_TYPE, f"{name} is {_describe_type(value)}, not a string")
    if (longest := TEXTS.get(name)) and not 1 <= len(value) <= longest:
        _reject(Reason.WRONG_LENGTH, f"{name} has {len(value)} characters, not 1 to {longest}")
    if "\0" in value:
        _reject(invalid_reason, f"{name} contains a NUL character")
    if any("\ud800" <= character <= "\udfff" for character in value):
        _reject(invalid_reason, f"{name} contains an unpaired surrogate")
    return value


def outside_ranges(order: Order) -> str:
    """Return which value is outside the generator's ranges, as a clause; empty if none is."""
    if order.customer_id not in CUSTOMER_IDS:
        return f"customer_id {order.customer_id} is not from {CUSTOMER_IDS.start} to {CUSTOMER_IDS.stop - 1}"
    if order.quantity not in QUANTITIES:
        return f"quantity {order.quantity} is not from {QUANTITIES.start} to {QUANTITIES.stop - 1}"
    if not LOWEST_PRICE <= order.unit_price <= HIGHEST_PRICE:
        return f"unit_price {order.unit_price} is not from {LOWEST_PRICE} to {HIGHEST_PRICE}"
    if CATEGORY_OF.get(order.product_name) != order.product_category:
        return f"{_quote(order.product_name)} in {_quote(order.product_category)} is not in the catalogue"
    return ""


def _describe_type(value: object) -> str:
    kind = _JSON_NAMES[type(value)]
    return f"the string {_quote(value)}" if isinstance(value, str) else f"a JSON {kind}"


def _similar_key_hint(name: str, fields: dict[str, Any]) -> str:
    similar = next((found for found in fields if found.strip().lower() == name), None)
    return f"; the key {_quote(similar)} is not the same name" if similar else ""


def _quote(text: str) -> str:
    """Quote at most 60 characters of the text in ASCII, so that a hostile text is harmless in a terminal or a log."""
    return ascii(text if len(text) <= 60 else text[:57] + "...")


def _reject(reason: Reason, detail: str) -> NoReturn:
    raise RecordRejected(reason, detail)
