"""Loads the contract of the settings: the default one, or one from a contract file.

A contract file is TOML that changes and extends the default contract. docs/contract.md describes the format.
"""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Mapping
from decimal import Decimal
from functools import lru_cache
from typing import Any

import msgspec

from orderflow.contract import patterns
from orderflow.contract.definition import (
    BIGINT_MAX,
    DEFAULT,
    INT_MAX,
    MAX_VALUE_BYTES,
    MAX_VARCHAR,
    OTHER_FIELDS,
    STANDARD_FIELDS,
    Contract,
    Field,
    Kind,
)
from orderflow.contract.exact_path import default_value
from orderflow.errors import ContractInvalid, RecordRejected, SettingInvalid
from orderflow.settings import Settings

_NAME = re.compile(r"[a-z_][a-z0-9_]{0,62}")
_HEADER = re.compile(r"\s*\[\s*([^\[\]]+?)\s*\]")
_KEY = re.compile(r"""\s*["']?([A-Za-z0-9_-]+)["']?\s*=""")
_STORED = "\0"  # begins a contract as JSON; a file's text has no NUL
RESERVED = (  # columns that no custom field can have
    *STANDARD_FIELDS,
    *("kafka_partition", "kafka_offset", "produced_at", "stored_at", OTHER_FIELDS),
    *("batch_index", "last_digit", "minute", "reason", "detail", "value"),  # of batches, and of orderflow.spark
    *("db_row_id", "db_trx_id", "db_roll_ptr", "fts_doc_id"),  # of InnoDB
)
_MAX_PATH_KEYS = 32
MAX_CUSTOM_FIELDS = 200
_MAX_PRECISION, _MAX_SCALE = 28, 18  # digits of a decimal
_ROW_BYTES = 65_535  # MySQL's limit for a row, without texts of type MEDIUMTEXT
_OTHER_COLUMNS_BYTES = 100  # numbers, times and lengths of the other columns, at most
_LONGEST_TEXT = 100_000  # characters
_LONGEST_IDS = 50  # characters: the quarantine's column order_id
_LONGEST_CATEGORY = 100  # characters: the rollup's column product_category

_COMMON = {"key", "required", "default", "examples", "comment", "type"}
_KIND_KEYS: dict[Kind, set[str]] = {
    Kind.STRING: {"min_length", "max_length", "pattern", "values"},
    Kind.INTEGER: {"minimum", "maximum", "json"},
    Kind.DECIMAL: {"precision", "scale", "minimum", "maximum", "json"},
    Kind.BOOLEAN: set(),
    Kind.TIMESTAMP: {"format", "digits", "json"},
    Kind.JSON: {"max_bytes"},
}
# The keys of the standard fields, and the types that they may have; the first one is the default.
_STANDARD_KEYS: dict[str, tuple[set[str], tuple[Kind, ...]]] = {
    "customer_id": ({"key", "type", "required", "default", "examples"}, (Kind.INTEGER, Kind.STRING)),
    "order_id": ({"key", "type", "examples"}, (Kind.STRING, Kind.INTEGER)),
    "product_name": ({"key", "required", "default", "fixed", "examples"}, (Kind.STRING,)),
    "product_category": ({"key", "required", "default", "fixed", "examples"}, (Kind.STRING,)),
    "unit_price": ({"key", "fixed"}, (Kind.DECIMAL,)),
    "quantity": ({"key", "fixed"}, (Kind.INTEGER,)),
    "total_price": ({"key", "total"}, (Kind.DECIMAL,)),
    "order_timestamp": ({"key"}, (Kind.TIMESTAMP,)),
}
_DIGITS = {"utc": 0, "rfc3339": 3, "epoch_ms": 3}  # after the second


def contract_of(settings: Settings) -> Contract:
    """Return the contract of these settings: that of ORDER_CONTRACT, or the default one.

    Raises ContractInvalid, SettingInvalid.
    """
    if settings.order_contract_text.startswith(_STORED):
        return _stored(settings.order_contract_text)
    if not settings.order_contract:
        return DEFAULT
    contract = read(settings.order_contract_text, settings.order_contract)
    if settings.order_ranges == "enforce" and not contract.is_default:
        raise SettingInvalid(
            "ORDER_RANGES=enforce applies only to the standard fields without ORDER_CONTRACT.",
            hint="Unset one of the two; `minimum`, `maximum` and `values` of the contract file limit the values.",
        )
    return contract


def with_contract(settings: Settings, contract: Contract) -> Settings:
    """Return these settings with another contract, which no file holds."""
    text = "" if contract == DEFAULT else _STORED + msgspec.json.encode(contract).decode()
    return msgspec.structs.replace(settings, order_contract="", order_contract_text=text)


@lru_cache(maxsize=16)
def _stored(text: str) -> Contract:
    return msgspec.json.decode(text.removeprefix(_STORED), type=Contract)


@lru_cache(maxsize=16)
def read(text: str, name: str) -> Contract:
    """Return the contract that this text of a file describes; `name` is the file's name in messages.

    Raises ContractInvalid, with the line and the fix.
    """
    try:
        document = tomllib.loads(text, parse_float=Decimal)
    except RecursionError:
        raise ContractInvalid(f"{name} has too many levels.", hint="docs/contract.md shows examples.") from None
    except tomllib.TOMLDecodeError as error:
        found = re.search(r" \(at line (\d+), column \d+\)| \(at end of document\)", str(error))
        line = found[1] if found and found[1] else len(text.splitlines())
        what = str(error).replace(found[0], "") if found else str(error)
        raise ContractInvalid(
            f"{name}, line {line}: this is not TOML: {what}.", hint="docs/contract.md shows examples."
        ) from None
    return _File(text, name).contract(document)


class _File:
    def __init__(self, text: str, name: str) -> None:
        self._lines, self._name = text.splitlines(), name

    def invalid(self, what: str, fix: str, table: str = "", key: str = "") -> ContractInvalid:
        """Return an error about a key of a table, with its line."""
        return ContractInvalid(f"{self._name}, line {self._line(table, key)}: {what}.", hint=fix)

    def _line(self, table: str, key: str) -> int:
        """Return the number of the line of a key, of its table, or of the first line."""
        current, found = "", 1
        for number, line in enumerate(self._lines, 1):
            if header := _HEADER.match(line):
                current = re.sub(r"[\s\"']", "", header[1])
                if current == table or (found == 1 and current.startswith(f"{table}.")):
                    found = number
            elif current == table and key and (given := _KEY.match(line)) and given[1] == key:
                return number
            elif table.startswith(f"{current}.") or not current:
                last = table.rpartition(".")[2]
                if (given := _KEY.match(line)) and given[1] in (last, key):
                    found = number
        return found

    def contract(self, document: dict[str, Any]) -> Contract:
        self._check_keys(document, {"unknown_fields", "fields", *STANDARD_FIELDS}, "")
        unknown = self._one_of(document, "", "unknown_fields", ("ignore", "keep", "reject"))
        total = "checked"
        fields = []
        for default in DEFAULT.fields:
            table = document.get(default.name, {})
            if not isinstance(table, dict):
                raise self.invalid(f"{default.name} is not a table", f"Write [{default.name}].", "", default.name)
            fields.append(self._standard_field(default, table))
            if default.name == "total_price":
                total = self._one_of(table, default.name, "total", ("checked", "computed", "as_sent"))
        custom_tables = document.get("fields", {})
        if not isinstance(custom_tables, dict):
            raise self.invalid("fields is not a table", "Write [fields.NAME] for each custom field.", "", "fields")
        if len(custom_tables) > MAX_CUSTOM_FIELDS:
            what = f"there are more than {MAX_CUSTOM_FIELDS} custom fields"
            raise self.invalid(what, "Keep some in one field of type json.", "fields")
        fields += [self._custom_field(name, table) for name, table in custom_tables.items()]
        if total == "computed":
            fields[STANDARD_FIELDS.index("total_price")] = msgspec.structs.replace(
                fields[STANDARD_FIELDS.index("total_price")], required=False
            )
        contract = Contract(fields=tuple(fields), unknown_fields=unknown, total=total)  # type: ignore[arg-type] # checked
        self._check_together(contract)
        return contract

    def _standard_field(self, default: Field, table: dict[str, Any]) -> Field:
        name = default.name
        allowed, kinds = _STANDARD_KEYS[name]
        kind = Kind(self._one_of(table, name, "type", [str(kind) for kind in kinds]))
        self._check_keys(table, allowed | (_KIND_KEYS[kind] - {"precision", "scale"}), name)
        base = default
        if kind is not default.kind:
            base = Field(name=name, kind=kind, path=default.path, min_length=1, max_length=50, maximum=BIGINT_MAX)
        if table.keys() & {"pattern", "max_length"}:
            base = msgspec.structs.replace(base, meaning="")
        return self._field(base, table, name)

    def _custom_field(self, name: str, table: Any) -> Field:
        where = f"fields.{name}"
        if not isinstance(table, dict):
            raise self.invalid(f"{where} is not a table", f"Write [{where}] and its keys below it.", where)
        if not _NAME.fullmatch(name):
            fix = "Use lower-case letters, digits and _; `key` names the field in the message."
            raise self.invalid(f"{name!a} cannot be a column", fix, where)
        if name in RESERVED:
            taken = (
                f"Write [{name}]."
                if name in STANDARD_FIELDS
                else "Choose another name; `key` names the field in the message."
            )
            raise self.invalid(f"{name} is a column of OrderFlow", taken, where)
        if "type" not in table:
            raise self.invalid(f"{name} has no type", f"Add type = one of {', '.join(Kind)}.", where)
        kind = Kind(self._one_of(table, where, "type", [str(kind) for kind in Kind]))
        self._check_keys(table, _COMMON | _KIND_KEYS[kind], where)
        lowest = -INT_MAX - 1 if kind is Kind.INTEGER else "0"
        base = Field(name=name, kind=kind, path=(name,), minimum=lowest, max_length=_DEFAULT_LENGTHS.get(kind, 0))
        if kind is Kind.DECIMAL:
            precision = self._number(table, where, "precision", 1, _MAX_PRECISION) or base.precision
            scale = self._number(table, where, "scale", 0, min(precision, _MAX_SCALE))
            scale = base.scale if scale is None else scale
            if scale > precision:
                raise self.invalid(f"scale {scale} exceeds precision {precision}", "Lower scale.", where, "scale")
            highest = (Decimal(10) ** precision - 1).scaleb(-scale)
            base = msgspec.structs.replace(base, precision=precision, scale=scale, maximum=f"{highest:f}")
        return self._field(base, table, where)

    def _limits(self, base: Field, table: dict[str, Any], where: str) -> dict[str, Any]:
        """Return the attributes that only fields of this kind have."""
        given: dict[str, Any] = {}
        kind = base.kind
        if "json" in table:
            given["json"] = self._one_of(table, where, "json", ("number", "string", "any"))
        if kind is Kind.TIMESTAMP:
            given["format"] = format_ = self._one_of(table, where, "format", tuple(_DIGITS))
            digits = self._number(table, where, "digits", 0, 6)
            given["scale"] = _DIGITS[format_] if digits is None else digits
            if "json" in table and format_ != "epoch_ms":
                raise self.invalid(
                    "json applies only to numbers", 'Remove json, or set format = "epoch_ms".', where, "json"
                )
        if kind is Kind.STRING:
            longest = {"order_id": _LONGEST_IDS, "product_category": _LONGEST_CATEGORY, "customer_id": 255}
            given |= self._given(table, where, "min_length", 0, _LONGEST_TEXT)
            given |= self._given(table, where, "max_length", 1, longest.get(base.name, _LONGEST_TEXT))
            if "pattern" in table:
                given["pattern"] = self._pattern(table, where)
            if "values" in table:
                given["values"] = self._texts(table, where, "values")
        if kind is Kind.JSON and (most := self._number(table, where, "max_bytes", 1, MAX_VALUE_BYTES)):
            given["max_length"] = most
        if kind in (Kind.INTEGER, Kind.DECIMAL):
            for key in ("minimum", "maximum"):
                if key in table:
                    given[key] = self._bound(base, table, where, key)
        return given

    def _field(self, base: Field, table: dict[str, Any], where: str) -> Field:
        """Return the field with the keys of its table."""
        given = self._limits(base, table, where)
        if "key" in table:
            given["path"] = self._path_of(table["key"], where)
        if "required" in table:
            given["required"] = self._of_type(table, where, "required", bool, "true or false")
        if "comment" in table:
            given["comment"] = comment = self._of_type(table, where, "comment", str, "a text")
            if len(comment) > 1024 or re.search(r"[\\\x00-\x1f%]", comment):
                fix = "Use at most 1,024 characters of one line, without backslash and percent sign."
                raise self.invalid("the comment cannot be a column's comment", fix, where, "comment")
        for key in ("default", "fixed"):
            if key in table:
                given["default"] = self._value(base, table, where, key)
                given["required"] = False
        if "default" in table and table.get("required"):
            raise self.invalid("a required field has no default", "Remove required or default.", where, "required")
        if "fixed" in table:
            if table.keys() & {"key", "default", "required"}:
                fix = "Keep only fixed, if every order has this value."
                raise self.invalid("fixed excludes key, default and required", fix, where, "fixed")
            given["path"] = ()
        if "examples" in table:
            given["examples"] = self._examples(base, table, where)
        field = msgspec.structs.replace(base, **given)
        self._check_field(field, table, where)
        return field

    def _check_field(self, field: Field, table: Mapping[str, Any], where: str) -> None:
        if field.min_length > field.max_length and field.kind is Kind.STRING:
            raise self.invalid("min_length exceeds max_length", "Lower min_length.", where, "min_length")
        if field.kind in (Kind.INTEGER, Kind.DECIMAL) and field.lowest > field.highest:
            raise self.invalid("minimum exceeds maximum", "Lower minimum.", where, "minimum")
        if not field.is_custom and not field.required and field.default is None and field.name != "total_price":
            fix = "Add default: the value of an order without this field. Its column must not be NULL."
            raise self.invalid(f"{field.name} is optional and has no default", fix, where, "required")
        default = "default" if "default" in table else "fixed"
        for key, values in ((default, (field.default,)), ("examples", field.examples), ("values", field.values)):
            for value in values:
                try:
                    default_value(msgspec.structs.replace(field, default=value))
                except RecordRejected as rejected:
                    named = key if key == default else f"a value of {key}"
                    what = f"{named} {rejected.message.removeprefix('default ')}"
                    raise self.invalid(what, f"Change {key}, or the field's limits.", where, key) from None

    def _check_together(self, contract: Contract) -> None:
        paths = [field.path for field in contract.fields if field.path]
        for field in contract.fields:
            where = f"fields.{field.name}" if field.is_custom else field.name
            for path in paths:
                if path == field.path[: len(path)] != field.path:
                    fix = "Read the object as JSON, or its keys, but not both."
                    what = f"{'.'.join(path)} is a field, and an object that holds fields"
                    raise self.invalid(what, fix, where, "key")
        size = _OTHER_COLUMNS_BYTES + sum(_row_bytes(field) for field in contract.columns)
        if size > _ROW_BYTES:
            fix = f"Lower max_length of some, or set it above {MAX_VARCHAR}: such texts are stored outside of the row."
            raise self.invalid(f"a row would have up to {size:,} bytes, and MySQL allows {_ROW_BYTES:,}", fix, "fields")

    def _check_keys(self, table: Mapping[str, Any], allowed: set[str], where: str) -> None:
        for key in table.keys() - allowed:
            place = f" in [{where}]" if where else ""
            raise self.invalid(f"the key {key!a} is unknown{place}", f"Use: {', '.join(sorted(allowed))}.", where, key)

    def _of_type(self, table: Mapping[str, Any], where: str, key: str, kind: type, expected: str) -> Any:
        if type(table[key]) is not kind:
            raise self.invalid(f"{key} is {_shown(table[key])}, not {expected}", f"Write {expected}.", where, key)
        return table[key]

    def _one_of(self, table: Mapping[str, Any], where: str, key: str, allowed: tuple[str, ...] | list[str]) -> str:
        """Return the text of this key; the first of the allowed ones if it is missing."""
        found = table.get(key, allowed[0])
        if found not in allowed:
            raise self.invalid(f"{key} is {_shown(found)}", f"Use one of: {', '.join(allowed)}.", where, key)
        return str(found)

    def _number(self, table: Mapping[str, Any], where: str, key: str, lowest: int, highest: int) -> int | None:
        if key not in table:
            return None
        found = self._of_type(table, where, key, int, "an integer")
        if not lowest <= found <= highest:
            raise self.invalid(f"{key} is {found}", f"Use a number from {lowest:,} to {highest:,}.", where, key)
        return int(found)

    def _given(self, table: Mapping[str, Any], where: str, key: str, lowest: int, highest: int) -> dict[str, int]:
        found = self._number(table, where, key, lowest, highest)
        return {} if found is None else {key: found}

    def _bound(self, base: Field, table: Mapping[str, Any], where: str, key: str) -> int | str:
        found = table[key]
        if base.kind is Kind.INTEGER:
            # The rollup's BIGINT can then hold the sum of any number of orders.
            highest = INT_MAX if base.name == "quantity" else BIGINT_MAX
            return int(self._number(table, where, key, -highest - 1, highest) or 0)
        try:
            number = Decimal(found) if type(found) in (int, Decimal, str) else Decimal("NaN")
            is_exact = number == number.quantize(base.unit)
        except ArithmeticError:
            is_exact = False
        if not is_exact:
            fix = f"Write a number with at most {base.scale} decimals."
            raise self.invalid(f"{key} is {found}", fix, where, key)
        if len(number.quantize(base.unit).as_tuple().digits) > base.precision:
            fix = f"Write a number of at most {base.precision} digits" + (
                ", or raise precision." if base.is_custom else "."
            )
            raise self.invalid(f"{key} is {_shown(found)}, which has too many digits", fix, where, key)
        return str(number.quantize(base.unit))

    def _path_of(self, key: object, where: str) -> tuple[str, ...]:
        path = key.split(".") if isinstance(key, str) else key
        if (
            not isinstance(path, list)
            or not 0 < len(path) <= _MAX_PATH_KEYS
            or not all(isinstance(part, str) and part for part in path)
        ):
            fix = 'Write "orderId", "customer.id" for a key of an object, or ["a.b"] for a key with a dot.'
            raise self.invalid(f"key is {_shown(key)}", fix, where, "key")
        return tuple(path)

    def _pattern(self, table: Mapping[str, Any], where: str) -> str:
        pattern = str(self._of_type(table, where, "pattern", str, "a text"))
        try:
            patterns.check(pattern)
        except ValueError as error:
            fix = "Write a regular expression of characters, classes such as [0-9], groups and repetitions."
            raise self.invalid(f"the pattern {pattern} cannot be used: {error}", fix, where, "pattern") from None
        return pattern

    def _texts(self, table: Mapping[str, Any], where: str, key: str) -> tuple[str, ...]:
        found = table[key]
        if not isinstance(found, list) or not found or not all(isinstance(value, str) for value in found):
            raise self.invalid(
                f"{key} is {_shown(found)}", f'Write a list of texts: {key} = ["web", "store"].', where, key
            )
        return tuple(found)

    def _value(self, base: Field, table: Mapping[str, Any], where: str, key: str) -> str | int | bool:
        """Return a value as a message would have it."""
        found = table[key]
        wanted: dict[Kind, tuple[type, ...]] = {Kind.INTEGER: (int, str), Kind.DECIMAL: (int, Decimal, str)}
        if type(found) not in wanted.get(base.kind, (bool,) if base.kind is Kind.BOOLEAN else (str, int)):
            raise self.invalid(f"{key} is {_shown(found)}", f"Write a value of the type {base.kind}.", where, key)
        if base.kind is Kind.JSON:
            try:
                json.loads(str(found))
            except (ValueError, RecursionError):
                raise self.invalid(f"{key} is {_shown(found)}, not JSON", f"Write {key} = '[]'.", where, key) from None
        return str(found) if isinstance(found, Decimal) else found

    def _examples(self, base: Field, table: Mapping[str, Any], where: str) -> tuple[Any, ...]:
        found = table["examples"]
        if not isinstance(found, list) or not found:
            raise self.invalid(f"examples is {_shown(found)}", "Write a list of values.", where, "examples")
        return tuple(self._value(base, {"examples": value}, where, "examples") for value in found)


def _shown(value: object) -> str:
    """Return a value of a TOML file as it is written there; dates in Python's notation."""
    if isinstance(value, bool):
        return str(value).lower()
    return repr(value) if isinstance(value, (str, list, dict)) else str(value)


_DEFAULT_LENGTHS = {Kind.STRING: 255, Kind.JSON: 65_536}


def _row_bytes(field: Field) -> int:
    """Return how many bytes the column may take in a row."""
    if "VARCHAR" in field.type:
        return field.max_length * (1 if "ascii" in field.type else 4) + 2
    return 16
