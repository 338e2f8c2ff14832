"""Reads the table of one field of a contract file: the keys that each field has, and those of its type."""

from __future__ import annotations

import json
import re
from decimal import Decimal
from typing import Any

import msgspec

from orderflow.contract import patterns
from orderflow.contract.definition import BIGINT_MAX, INT_MAX, MAX_VALUE_BYTES, Field, Kind
from orderflow.contract.field_reader import default_value
from orderflow.contract.toml_table import TomlTable, toml_value
from orderflow.errors import RecordRejected

KIND_KEYS: dict[Kind, set[str]] = {
    Kind.STRING: {"min_length", "max_length", "pattern", "values"},
    Kind.INTEGER: {"minimum", "maximum", "json"},
    Kind.DECIMAL: {"precision", "scale", "minimum", "maximum", "json"},
    Kind.BOOLEAN: set(),
    Kind.TIMESTAMP: {"format", "digits", "json"},
    Kind.JSON: {"max_bytes"},
}
_DEFAULT_DIGITS = {"utc": 0, "rfc3339": 3, "epoch_ms": 3}  # after the second, by format
_MAX_PATH_KEYS = 32
_MAX_PRECISION, _MAX_SCALE = 28, 18  # digits of a decimal
_MAX_LENGTH = 100_000  # characters
_MAX_LENGTHS = {  # characters
    "order_id": 50,  # the quarantine's column order_id
    "product_category": 100,  # the rollup's column product_category
    "customer_id": 255,
}
_VALUE_TYPES: dict[Kind, tuple[type, ...]] = {
    Kind.STRING: (str, int),
    Kind.INTEGER: (int, str),
    Kind.DECIMAL: (int, Decimal, str),
    Kind.BOOLEAN: (bool,),
    Kind.TIMESTAMP: (str, int),
    Kind.JSON: (str, int),
}


def read_field(base: Field, table: TomlTable) -> Field:
    """Return the field that the table describes; `base` has the values of missing keys. Raises ContractInvalid."""
    entries = table.entries
    attributes = _attributes_of_kind(base, table)
    if "key" in entries:
        attributes["path"] = _path(table)
    if "required" in entries:
        attributes["required"] = table.typed("required", bool, "true or false")
    if "comment" in entries:
        attributes["comment"] = comment = table.typed("comment", str, "a text")
        if len(comment) > 1024 or re.search(r"[\\\x00-\x1f%]", comment):
            fix = "Use at most 1,024 characters of one line, without backslash and percent sign."
            raise table.error("the comment cannot be a column's comment", fix, "comment")
    for key in ("default", "fixed"):
        if key in entries:
            attributes["default"] = _value(base, table, key, entries[key])
            attributes["required"] = False
    if "default" in entries and entries.get("required"):
        raise table.error("a required field has no default", "Remove required or default.", "required")
    if "fixed" in entries:
        if entries.keys() & {"key", "default", "required"}:
            fix = "Keep only fixed, if every order has this value."
            raise table.error("fixed excludes key, default and required", fix, "fixed")
        attributes["path"] = ()
    if "examples" in entries:
        attributes["examples"] = _examples(base, table)
    field = msgspec.structs.replace(base, **attributes)
    _check_field(field, table)
    return field


def with_precision(base: Field, table: TomlTable) -> Field:
    """Return the decimal field with the table's precision and scale, and the limits that follow from them."""
    precision = table.integer("precision", 1, _MAX_PRECISION) or base.precision
    scale = table.integer("scale", 0, min(precision, _MAX_SCALE))
    scale = base.scale if scale is None else scale
    if scale > precision:
        raise table.error(f"scale {scale} exceeds precision {precision}", "Lower scale.", "scale")
    highest = (Decimal(10) ** precision - 1).scaleb(-scale)
    return msgspec.structs.replace(base, precision=precision, scale=scale, maximum=f"{highest:f}")


def _attributes_of_kind(base: Field, table: TomlTable) -> dict[str, Any]:
    """Return the attributes that only fields of this kind have."""
    attributes: dict[str, Any] = {}
    entries, kind = table.entries, base.kind
    if "json" in entries:
        attributes["json"] = table.one_of("json", ("number", "string", "any"))
    if kind is Kind.TIMESTAMP:
        attributes["format"] = format_ = table.one_of("format", tuple(_DEFAULT_DIGITS))
        digits = table.integer("digits", 0, 6)
        attributes["scale"] = _DEFAULT_DIGITS[format_] if digits is None else digits
        if "json" in entries and format_ != "epoch_ms":
            raise table.error("json applies only to numbers", 'Remove json, or set format = "epoch_ms".', "json")
    if kind is Kind.STRING:
        for key, lowest, highest in (
            ("min_length", 0, _MAX_LENGTH),
            ("max_length", 1, _MAX_LENGTHS.get(base.name, _MAX_LENGTH)),
        ):
            if (length := table.integer(key, lowest, highest)) is not None:
                attributes[key] = length
        if "pattern" in entries:
            attributes["pattern"] = _pattern(table)
        if "values" in entries:
            attributes["values"] = table.texts("values")
    if kind is Kind.JSON and (max_bytes := table.integer("max_bytes", 1, MAX_VALUE_BYTES)):
        attributes["max_length"] = max_bytes
    if kind in (Kind.INTEGER, Kind.DECIMAL):
        for key in ("minimum", "maximum"):
            if key in entries:
                attributes[key] = _limit(base, table, key)
    return attributes


def _limit(base: Field, table: TomlTable, key: str) -> int | str:
    if base.kind is Kind.INTEGER:
        # The rollup's BIGINT can then hold the sum of any number of orders.
        highest = INT_MAX if base.name == "quantity" else BIGINT_MAX
        return table.integer(key, -highest - 1, highest) or 0
    value = table.entries[key]
    try:
        number = Decimal(value) if type(value) in (int, Decimal, str) else Decimal("NaN")
        is_exact = number == number.quantize(base.unit)
    except ArithmeticError:
        is_exact = False
    if not is_exact:
        raise table.error(f"{key} is {value}", f"Write a number with at most {base.scale} decimals.", key)
    if len(number.quantize(base.unit).as_tuple().digits) > base.precision:
        fix = f"Write a number of at most {base.precision} digits" + (
            ", or raise precision." if base.is_custom else "."
        )
        raise table.error(f"{key} is {toml_value(value)}, which has too many digits", fix, key)
    return str(number.quantize(base.unit))


def _path(table: TomlTable) -> tuple[str, ...]:
    key = table.entries["key"]
    path = key.split(".") if isinstance(key, str) else key
    if (
        not isinstance(path, list)
        or not 0 < len(path) <= _MAX_PATH_KEYS
        or not all(isinstance(name, str) and name for name in path)
    ):
        fix = 'Write "orderId", "customer.id" for a key of an object, or ["a.b"] for a key with a dot.'
        raise table.error(f"key is {toml_value(key)}", fix, "key")
    return tuple(path)


def _pattern(table: TomlTable) -> str:
    pattern = str(table.typed("pattern", str, "a text"))
    try:
        patterns.check(pattern)
    except ValueError as error:
        fix = "Write a regular expression of characters, classes such as [0-9], groups and repetitions."
        raise table.error(f"the pattern {pattern} cannot be used: {error}", fix, "pattern") from None
    return pattern


def _value(base: Field, table: TomlTable, key: str, value: Any) -> str | int | bool:
    """Return a value of this key as a message would have it."""
    if type(value) not in _VALUE_TYPES[base.kind]:
        raise table.error(f"{key} is {toml_value(value)}", f"Write a value of the type {base.kind}.", key)
    if base.kind is Kind.JSON:
        try:
            json.loads(str(value))
        except (ValueError, RecursionError):
            raise table.error(f"{key} is {toml_value(value)}, not JSON", f"Write {key} = '[]'.", key) from None
    return str(value) if isinstance(value, Decimal) else value


def _examples(base: Field, table: TomlTable) -> tuple[str | int | bool, ...]:
    examples = table.entries["examples"]
    if not isinstance(examples, list) or not examples:
        raise table.error(f"examples is {toml_value(examples)}", "Write a list of values.", "examples")
    return tuple(_value(base, table, "examples", example) for example in examples)


def _check_field(field: Field, table: TomlTable) -> None:
    if field.min_length > field.max_length and field.kind is Kind.STRING:
        raise table.error("min_length exceeds max_length", "Lower min_length.", "min_length")
    if field.kind in (Kind.INTEGER, Kind.DECIMAL) and field.lowest > field.highest:
        raise table.error("minimum exceeds maximum", "Lower minimum.", "minimum")
    if not field.is_custom and not field.required and field.default is None and field.name != "total_price":
        fix = "Add default: the value of an order without this field. Its column must not be NULL."
        raise table.error(f"{field.name} is optional and has no default", fix, "required")
    default_key = "default" if "default" in table.entries else "fixed"
    for key, values in ((default_key, (field.default,)), ("examples", field.examples), ("values", field.values)):
        for value in values:
            try:
                default_value(msgspec.structs.replace(field, default=value))
            except RecordRejected as rejected:
                subject = key if key == default_key else f"a value of {key}"
                problem = f"{subject} {rejected.message.removeprefix('default ')}"
                raise table.error(problem, f"Change {key}, or the field's limits.", key) from None
