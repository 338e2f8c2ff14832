"""The contract: which fields an order has, where they are in a message, and which values are valid.

A contract is data. `DEFAULT` is the contract of the standard fields; a contract file changes and extends it. The
table's columns, both paths, Spark's columns and the exported schemas are made from it.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from functools import cached_property
from typing import Any, Literal

import msgspec
import pyarrow as pa

INT_MAX = 2**31 - 1  # MySQL's INT
BIGINT_MAX = 2**63 - 1
MONEY_SCALE = 2
MAX_VALUE_BYTES = 1024 * 1024  # about Kafka's default message.max.bytes
MAX_DEPTH = 64  # levels of arrays and objects in a message
PRINTABLE = re.compile(r"[!-~]+")  # the characters of an order_id: the primary key ignores spaces at its end
EPOCH = datetime(1970, 1, 1)  # noqa: DTZ001 - naive, UTC, as the server returns times
LAST_MILLISECOND = 253_402_300_799_999  # since 1970, of the year 9999
MAX_VARCHAR = 1_000  # characters; longer texts have the type MEDIUMTEXT
OTHER_FIELDS = "other_fields"  # the column of unknown_fields = "keep"
STANDARD_FIELDS = (
    *("customer_id", "order_id", "product_name", "product_category"),
    *("unit_price", "quantity", "total_price", "order_timestamp"),
)


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
    INVALID_VALUE = "invalid_value"  # a text that does not match the contract's pattern or allowed values
    INVALID_ORDER_ID = "invalid_order_id"
    INVALID_TIMESTAMP = "invalid_timestamp"
    OUT_OF_RANGE = "out_of_range"
    EXCESS_SCALE = "excess_scale"
    WRONG_TOTAL = "wrong_total"
    UNKNOWN_FIELD = "unknown_field"  # only with unknown_fields = "reject"
    OUTSIDE_RANGES = "outside_ranges"  # only with ORDER_RANGES=enforce
    CONFLICT = "conflict"  # the order_id is stored with other content
    REFUSED_BY_DATABASE = "refused_by_database"


class Kind(StrEnum):
    """The type of a field."""

    STRING = "string"
    INTEGER = "integer"
    DECIMAL = "decimal"
    BOOLEAN = "boolean"
    TIMESTAMP = "timestamp"
    JSON = "json"


Json = Literal["number", "string", "any"]
Format = Literal["utc", "rfc3339", "epoch_ms"]
Default = str | int | bool | None
# The keys of an object in a message: None for a field, the keys of an inner object otherwise.
Keys = dict[str, Any]


class Field(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, dict=True):
    """A field of the order. Only the attributes of its kind are used.

    `path` is the keys that lead to it in the message. An empty path means that every order has the value `default`.
    """

    name: str
    kind: Kind
    path: tuple[str, ...]
    required: bool = True
    default: Default = None  # as a message would have it; decimals as text
    json: Json = "number"  # how a message writes integers and decimals
    min_length: int = 0  # characters
    max_length: int = 255  # characters; for json, bytes
    pattern: str = ""  # of the whole text
    values: tuple[str, ...] = ()  # the allowed texts; empty: all
    minimum: int | str = 0  # of integers and decimals, inclusive
    maximum: int | str = INT_MAX
    precision: int = 10  # digits of a decimal
    scale: int = MONEY_SCALE  # digits after the decimal point; of a timestamp's seconds, too
    format: Format = "utc"
    examples: tuple[Default, ...] = ()
    comment: str = ""
    meaning: str = ""  # the pattern in words

    @property
    def key(self) -> str:
        """The path as one text, for messages."""
        return ".".join(self.path)

    @property
    def is_custom(self) -> bool:
        """Whether a contract file adds it to the standard fields."""
        return self.name not in STANDARD_FIELDS

    @property
    def is_nullable(self) -> bool:
        """Whether an order may lack it."""
        return not self.required and self.default is None

    @cached_property
    def lowest(self) -> Decimal:
        """`minimum` as a number."""
        return Decimal(self.minimum)

    @cached_property
    def highest(self) -> Decimal:
        """`maximum` as a number."""
        return Decimal(self.maximum)

    @cached_property
    def unit(self) -> Decimal:
        """The value of a decimal's last digit."""
        return Decimal(1).scaleb(-self.scale)

    @cached_property
    def type(self) -> str:
        """The SQL type of the column, without NOT NULL."""
        if self.name == "order_id":
            return f"VARCHAR({self.max_length}) CHARACTER SET ascii COLLATE ascii_bin"
        if self.kind is Kind.STRING:
            if self.max_length > MAX_VARCHAR:
                return "MEDIUMTEXT CHARACTER SET utf8mb4"
            return f"VARCHAR({self.max_length}) CHARACTER SET utf8mb4"
        if self.kind is Kind.INTEGER:
            return "INT" if self.lowest >= -INT_MAX - 1 and self.highest <= INT_MAX else "BIGINT"
        if self.kind is Kind.DECIMAL:
            return f"DECIMAL({self.precision},{self.scale})"
        if self.kind is Kind.BOOLEAN:
            return "TINYINT"
        if self.kind is Kind.TIMESTAMP:
            return f"DATETIME({self.scale})" if self.scale else "DATETIME"
        # A text, because MySQL's type JSON changes the order of keys and rounds numbers.
        return "MEDIUMTEXT CHARACTER SET utf8mb4"

    @property
    def column(self) -> str:
        """The SQL definition of the column. Custom columns may be NULL: earlier rows do not have them."""
        # The server's escapes in a text are those of SQL's backslashes and quotes.
        comment = self.comment.replace("\\", "\\\\").replace("'", "''")
        return f"{self.type}{' NULL' if self.is_custom else ' NOT NULL'}" + (f" COMMENT '{comment}'" if comment else "")

    @cached_property
    def rule(self) -> str:
        """Which values are valid, in words."""
        text = _RULES[self.kind](self)
        return text if self.required else f"{text}; optional"

    @cached_property
    def arrow(self) -> pa.DataType:
        """The type of its column in a batch. Timestamps are texts: YYYY-MM-DDTHH:MM:SS, and the digits of `scale`."""
        if self.name == "order_id":
            return pa.string()
        if self.kind is Kind.INTEGER:
            return pa.int32() if self.type == "INT" else pa.int64()
        if self.kind is Kind.DECIMAL:
            return pa.decimal128(self.precision, self.scale)
        return pa.int8() if self.kind is Kind.BOOLEAN else pa.string()


def _text_rule(field: Field) -> str:
    if field.meaning:
        return field.meaning
    least = max(1, field.min_length) if field.name == "order_id" else field.min_length
    length = f"{least} to {field.max_length} characters"
    pattern = f", `{field.pattern}`" if field.pattern else ""
    return length + pattern + (f", one of {', '.join(field.values)}" if field.values else "")


def _decimal_rule(field: Field) -> str:
    decimals = "two decimals" if field.scale == MONEY_SCALE else f"{field.scale} decimals"
    limits = "above 0" if field.lowest == field.unit else f"{field.minimum} to {field.maximum}"
    return f"{limits}, exact, at most {decimals}"


def _time_rule(field: Field) -> str:
    if field.format == "utc":
        return "`YYYY-MM-DDTHH:MM:SS`, a real date, UTC, no zone suffix"
    return "date and time with zone (RFC 3339)" if field.format == "rfc3339" else "milliseconds since 1970 UTC"


_RULES: dict[Kind, Callable[[Field], str]] = {
    Kind.STRING: _text_rule,
    Kind.INTEGER: lambda field: f"{field.minimum} to {field.maximum}",
    Kind.DECIMAL: _decimal_rule,
    Kind.BOOLEAN: lambda field: "true or false",
    Kind.TIMESTAMP: _time_rule,
    Kind.JSON: lambda field: f"any JSON of at most {field.max_length} bytes",
}


class Order(msgspec.Struct, frozen=True, gc=False):
    """One order: the standard fields, and the values of the contract's custom columns."""

    customer_id: int | str
    order_id: str
    product_name: str
    product_category: str
    unit_price: Decimal
    quantity: int
    total_price: Decimal
    order_timestamp: str  # UTC, without zone
    custom_values: tuple[object, ...] = ()  # as a database driver returns them

    def row(self) -> tuple[object, ...]:
        """Return the columns as a database driver does (order_timestamp as a naive UTC datetime)."""
        *values, custom_values = msgspec.structs.astuple(self)
        return (*values[:-1], datetime.fromisoformat(self.order_timestamp), *custom_values)


class Contract(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, dict=True):
    """The contract of the orders. `fields` begins with the standard fields; custom fields follow.

    `total` is how total_price is read: checked against unit_price × quantity, computed from them, or as sent.
    """

    fields: tuple[Field, ...]
    unknown_fields: Literal["ignore", "keep", "reject"] = "ignore"
    total: Literal["checked", "computed", "as_sent"] = "checked"

    @cached_property
    def columns(self) -> tuple[Field, ...]:
        """The fields, and the column for unknown fields if they are kept."""
        return (*self.fields, _OTHER_FIELDS) if self.unknown_fields == "keep" else self.fields

    @cached_property
    def custom_columns(self) -> tuple[Field, ...]:
        """The columns after the standard fields."""
        return self.columns[len(STANDARD_FIELDS) :]

    @cached_property
    def names(self) -> tuple[str, ...]:
        """The names of the columns, in the table's order."""
        return tuple(field.name for field in self.columns)

    @cached_property
    def by_name(self) -> dict[str, Field]:
        """The columns by name."""
        return {field.name: field for field in self.columns}

    @cached_property
    def schema(self) -> pa.Schema:
        """The columns of a decoded batch. A batch_index is a position in the batch."""
        return pa.schema([*((field.name, field.arrow) for field in self.columns), ("batch_index", pa.int64())])

    @cached_property
    def keys(self) -> Keys:
        """The keys of a message that the fields read."""
        keys: Keys = {}
        for field in self.fields:
            inner = keys
            for key in field.path[:-1]:
                inner = inner.setdefault(key, {})
            if field.path:
                inner[field.path[-1]] = None
        return keys

    @cached_property
    def keeps_json(self) -> bool:
        """Whether a column holds JSON, whose numbers are kept as they are written."""
        return any(field.kind is Kind.JSON for field in self.columns)

    @cached_property
    def times(self) -> tuple[str, ...]:
        """The names of the timestamps."""
        return tuple(field.name for field in self.columns if field.kind is Kind.TIMESTAMP)

    @cached_property
    def free_texts(self) -> tuple[str, ...]:
        """The names of the columns whose texts may have any character, such as a backslash."""
        kinds = (Kind.STRING, Kind.JSON)
        return tuple(
            field.name
            for field in self.columns
            if field.kind in kinds and (field.name != "order_id" or field.pattern != ORDER_ID_PATTERN)
        )

    @cached_property
    def without_documentation(self) -> Contract:
        """This contract without comments and examples. They do not decide whether a record is accepted."""
        fields = [msgspec.structs.replace(field, comment="", examples=()) for field in self.fields]
        return msgspec.structs.replace(self, fields=tuple(fields))

    @property
    def is_default(self) -> bool:
        """Whether it is the contract of the standard fields."""
        return self.without_documentation == DEFAULT

    @property
    def has_categories(self) -> bool:
        """Whether the orders differ in their category."""
        return bool(self.by_name["product_category"].path)

    def align(self, order: Order, contract: Contract) -> Order:
        """Return the order, read by this contract, with the custom columns of another one; new columns are NULL."""
        if self.custom_columns == contract.custom_columns:
            return order
        values = dict(zip((field.name for field in self.custom_columns), order.custom_values, strict=True))
        custom_values = tuple(values.get(field.name) for field in contract.custom_columns)
        return msgspec.structs.replace(order, custom_values=custom_values)


def _amount(name: str) -> Field:
    return Field(name=name, path=(name,), kind=Kind.DECIMAL, minimum="0.01", maximum="99999999.99")


def _whole(name: str) -> Field:
    return Field(name=name, path=(name,), kind=Kind.INTEGER, minimum=1)


def _text(name: str, longest: int) -> Field:
    return Field(name=name, path=(name,), kind=Kind.STRING, min_length=1, max_length=longest)


ORDER_ID_PATTERN = "ORDER-[0-9]{6,44}"
DEFAULT = Contract(
    fields=(
        _whole("customer_id"),
        Field(
            name="order_id",
            path=("order_id",),
            kind=Kind.STRING,
            max_length=50,
            pattern=ORDER_ID_PATTERN,
            meaning="ORDER- with 6 to 44 digits",
        ),
        _text("product_name", 255),
        _text("product_category", 100),
        _amount("unit_price"),
        _whole("quantity"),
        _amount("total_price"),
        Field(name="order_timestamp", path=("order_timestamp",), kind=Kind.TIMESTAMP, scale=0),
    )
)
_OTHER_FIELDS = Field(
    name=OTHER_FIELDS,
    path=(),
    kind=Kind.JSON,
    required=False,
    max_length=MAX_VALUE_BYTES,
    comment="the fields that the contract does not name",
)
