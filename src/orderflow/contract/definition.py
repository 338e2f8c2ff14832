"""The definition of an order. The table's columns and the exported contract are generated from it."""

from __future__ import annotations

import re
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from typing import Annotated

import msgspec
from msgspec import Meta

INT_MAX = 2**31 - 1  # MySQL's INT
CENT = Decimal("0.01")
MONEY_LIMIT = Decimal(10) ** 8  # amounts in DECIMAL(10,2) are below this
TEXTS = {"product_name": 255, "product_category": 100}  # free texts and their maximum number of characters
MAX_VALUE_BYTES = 1024 * 1024  # about Kafka's default message.max.bytes

MAX_DEPTH = 64  # levels of arrays and objects, in unknown fields

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


# The part of the amount rules in `read_exactly` that JSON Schema can express.
# Without multipleOf 0.01: validators that use floats would reject 1.1.
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
    """One order, with the fields of the message and of the table's row."""

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
        """Return the eight columns as a database driver does (order_timestamp as a naive UTC datetime)."""
        return (*msgspec.structs.astuple(self)[:-1], datetime.fromisoformat(self.order_timestamp))


FIELDS: tuple[str, ...] = Order.__struct_fields__


def columns() -> dict[str, str]:
    """Return SQL types by column name, in the table's order."""
    info = msgspec.inspect.type_info(Order)
    assert isinstance(info, msgspec.inspect.StructType)
    return {field.name: _extra(field.type)["column"] for field in info.fields}


def _extra(node: msgspec.inspect.Type) -> dict[str, str]:
    assert isinstance(node, msgspec.inspect.Metadata)
    return node.extra or {}
