"""The contract: which fields an order has, where they are in a message, and which values are valid.

A contract is data. `DEFAULT` is the contract of the standard fields; a contract file changes and extends it. From the
contract follow both decoders (`fast_path`, `exact_path`), the columns of MySQL and Spark, and the exported schemas.
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
EPOCH = datetime(1970, 1, 1)  # noqa: DTZ001 - UTC, without time zone, like the times that a database driver returns
LAST_MILLISECOND = 253_402_300_799_999  # of the year 9999, in milliseconds since 1970
MAX_VARCHAR = 1_000  # characters; longer texts have the type MEDIUMTEXT
OTHER_FIELDS = "other_fields"  # the column that stores unknown fields, with unknown_fields = "keep"
STANDARD_FIELDS = (
    *("customer_id", "order_id", "product_name", "product_category"),
    *("unit_price", "quantity", "total_price", "order_timestamp"),
)


class Reason(StrEnum):
    """The reason why a record is in the quarantine."""

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
    INVALID_VALUE = "invalid_value"  # a text that does not match the field's pattern or allowed values
    INVALID_ORDER_ID = "invalid_order_id"
    INVALID_TIMESTAMP = "invalid_timestamp"
    OUT_OF_RANGE = "out_of_range"
    EXCESS_SCALE = "excess_scale"
    WRONG_TOTAL = "wrong_total"
    UNKNOWN_FIELD = "unknown_field"  # only with unknown_fields = "reject"
    OUTSIDE_RANGES = "outside_ranges"  # only with ORDER_RANGES=enforce
    CONFLICT = "conflict"  # an order with the same order_id and other content is stored
    REFUSED_BY_DATABASE = "refused_by_database"


class Kind(StrEnum):
    """The type of a field."""

    STRING = "string"
    INTEGER = "integer"
    DECIMAL = "decimal"
    BOOLEAN = "boolean"
    TIMESTAMP = "timestamp"
    JSON = "json"


JsonForm = Literal["number", "string", "any"]
TimeFormat = Literal["utc", "rfc3339", "epoch_ms"]
DefaultValue = str | int | bool | None
# The keys that fields read, as nested dicts: the key of a field maps to None, the key of an object to the keys in it.
KeyTree = dict[str, Any]


class Field(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, dict=True):
    """A field of the order. An attribute that does not apply to the field's kind is ignored.

    `path` is the sequence of keys that leads to the field in a message: ("customer", "id"). With an empty path, no
    message has the field, and every order has the value `default`.
    """

    name: str
    kind: Kind
    path: tuple[str, ...]
    required: bool = True
    default: DefaultValue = None  # in the form of a message; decimals as text
    json: JsonForm = "number"  # the JSON type of integers and decimals in a message
    min_length: int = 0  # characters
    max_length: int = 255  # characters; for json, bytes
    pattern: str = ""  # that the whole text must match
    values: tuple[str, ...] = ()  # the allowed texts; empty: all
    minimum: int | str = 0  # of integers and decimals, inclusive
    maximum: int | str = INT_MAX
    precision: int = 10  # digits of a decimal
    scale: int = MONEY_SCALE  # digits after the decimal point, of decimals and of a timestamp's seconds
    format: TimeFormat = "utc"
    examples: tuple[DefaultValue, ...] = ()
    comment: str = ""
    meaning: str = ""  # describes the pattern, for messages

    @property
    def key(self) -> str:
        """The path with dots, for messages: "customer.id"."""
        return ".".join(self.path)

    @property
    def is_custom(self) -> bool:
        """Whether the field is not one of the standard fields: a contract file defines it."""
        return self.name not in STANDARD_FIELDS

    @property
    def is_nullable(self) -> bool:
        """Whether an order without the field is valid and stored as NULL."""
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
        """The smallest positive value of a decimal: 0.01 with two decimals."""
        return Decimal(1).scaleb(-self.scale)

    @cached_property
    def sql_type(self) -> str:
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
    def sql_definition(self) -> str:
        """The column in a CREATE TABLE statement. Custom columns may be NULL: rows may be older than the column."""
        comment = self.comment.replace("\\", "\\\\").replace("'", "''")
        return f"{self.sql_type}{' NULL' if self.is_custom else ' NOT NULL'}" + (
            f" COMMENT '{comment}'" if comment else ""
        )

    @cached_property
    def rule(self) -> str:
        """Describes the valid values, for help and schemas."""
        text = _RULES[self.kind](self)
        return text if self.required else f"{text}; optional"

    @cached_property
    def arrow_type(self) -> pa.DataType:
        """The type of its Arrow column. Timestamps are texts: YYYY-MM-DDTHH:MM:SS, with `scale` digits of a second."""
        if self.name == "order_id":
            return pa.string()
        if self.kind is Kind.INTEGER:
            return pa.int32() if self.sql_type == "INT" else pa.int64()
        if self.kind is Kind.DECIMAL:
            return pa.decimal128(self.precision, self.scale)
        return pa.int8() if self.kind is Kind.BOOLEAN else pa.string()


def _text_rule(field: Field) -> str:
    if field.meaning:
        return field.meaning
    shortest = max(1, field.min_length) if field.name == "order_id" else field.min_length
    length = f"{shortest} to {field.max_length} characters"
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
    custom_values: tuple[object, ...] = ()  # with the types that a database driver returns

    def row(self) -> tuple[object, ...]:
        """Return the values as a database driver does: order_timestamp is a datetime in UTC, without time zone."""
        *values, custom_values = msgspec.structs.astuple(self)
        return (*values[:-1], datetime.fromisoformat(self.order_timestamp), *custom_values)


class Contract(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, dict=True):
    """The contract of the orders. `fields` begins with the standard fields; custom fields follow.

    `total` defines how total_price is determined: checked against unit_price × quantity, computed as that product, or
    stored as it was sent.
    """

    fields: tuple[Field, ...]
    unknown_fields: Literal["ignore", "keep", "reject"] = "ignore"
    total: Literal["checked", "computed", "as_sent"] = "checked"

    @cached_property
    def columns(self) -> tuple[Field, ...]:
        """The columns of the orders table: the fields, and the column of unknown fields if the contract keeps these."""
        return (*self.fields, _OTHER_FIELDS) if self.unknown_fields == "keep" else self.fields

    @cached_property
    def custom_columns(self) -> tuple[Field, ...]:
        """The columns after those of the standard fields."""
        return self.columns[len(STANDARD_FIELDS) :]

    @cached_property
    def column_names(self) -> tuple[str, ...]:
        """The names of the columns, in order."""
        return tuple(field.name for field in self.columns)

    @cached_property
    def by_name(self) -> dict[str, Field]:
        """The columns by name."""
        return {field.name: field for field in self.columns}

    @cached_property
    def arrow_schema(self) -> pa.Schema:
        """The columns of a decoded batch. `batch_index` is the position of the order's message in the batch."""
        return pa.schema([*((field.name, field.arrow_type) for field in self.columns), ("batch_index", pa.int64())])

    @cached_property
    def key_tree(self) -> KeyTree:
        """The keys of a message that fields read; all others are unknown fields."""
        tree: KeyTree = {}
        for field in self.fields:
            branch = tree
            for key in field.path[:-1]:
                branch = branch.setdefault(key, {})
            if field.path:
                branch[field.path[-1]] = None
        return tree

    @cached_property
    def has_json_column(self) -> bool:
        """Whether a column holds JSON, in which numbers must keep the notation of the message (1.0, not 1)."""
        return any(field.kind is Kind.JSON for field in self.columns)

    @cached_property
    def time_columns(self) -> tuple[str, ...]:
        """The names of the timestamp columns."""
        return tuple(field.name for field in self.columns if field.kind is Kind.TIMESTAMP)

    @cached_property
    def free_text_columns(self) -> tuple[str, ...]:
        """The names of the text columns that may contain any character, such as a backslash."""
        kinds = (Kind.STRING, Kind.JSON)
        return tuple(
            field.name
            for field in self.columns
            if field.kind in kinds and (field.name != "order_id" or field.pattern != ORDER_ID_PATTERN)
        )

    @cached_property
    def without_documentation(self) -> Contract:
        """This contract without comments and examples, which do not affect the validity of a record."""
        fields = [msgspec.structs.replace(field, comment="", examples=()) for field in self.fields]
        return msgspec.structs.replace(self, fields=tuple(fields))

    @property
    def is_default(self) -> bool:
        """Whether it is the default contract, apart from comments and examples."""
        return self.without_documentation == DEFAULT

    @property
    def has_categories(self) -> bool:
        """Whether messages have a category; otherwise all orders have the same one."""
        return bool(self.by_name["product_category"].path)

    def align(self, order: Order, target: Contract) -> Order:
        """Return an order of this contract with the custom columns of `target`: NULL where this contract has none."""
        if self.custom_columns == target.custom_columns:
            return order
        values = dict(zip((field.name for field in self.custom_columns), order.custom_values, strict=True))
        custom_values = tuple(values.get(field.name) for field in target.custom_columns)
        return msgspec.structs.replace(order, custom_values=custom_values)


def _amount_field(name: str) -> Field:
    return Field(name=name, path=(name,), kind=Kind.DECIMAL, minimum="0.01", maximum="99999999.99")


def _count_field(name: str) -> Field:
    return Field(name=name, path=(name,), kind=Kind.INTEGER, minimum=1)


def _text_field(name: str, max_length: int) -> Field:
    return Field(name=name, path=(name,), kind=Kind.STRING, min_length=1, max_length=max_length)


ORDER_ID_PATTERN = "ORDER-[0-9]{6,44}"
DEFAULT = Contract(
    fields=(
        _count_field("customer_id"),
        Field(
            name="order_id",
            path=("order_id",),
            kind=Kind.STRING,
            max_length=50,
            pattern=ORDER_ID_PATTERN,
            meaning="ORDER- with 6 to 44 digits",
        ),
        _text_field("product_name", 255),
        _text_field("product_category", 100),
        _amount_field("unit_price"),
        _count_field("quantity"),
        _amount_field("total_price"),
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
