"""The exact path: checks one message against the contract step by step and names the reason of a rejection."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from datetime import date, datetime, timedelta
from decimal import Context, Decimal, InvalidOperation
from functools import cache
from typing import Any, NoReturn

import msgspec

from orderflow.contract.definition import (
    DEFAULT,
    EPOCH,
    LAST_MILLISECOND,
    MAX_DEPTH,
    MAX_VALUE_BYTES,
    MONEY_SCALE,
    PRINTABLE,
    STANDARD_FIELDS,
    Contract,
    Field,
    Keys,
    Kind,
    Order,
    Reason,
)
from orderflow.contract.patterns import matcher
from orderflow.errors import RecordRejected

# Returns which of the order's values is outside the accepted ranges, as a clause; empty if none is.
Ranges = Callable[[Order], str]

_STRINGS = re.compile(r'"(?:[^"\\]|\\.)*+"', re.DOTALL)
_BRACKETS = re.compile(r"[\[\]{}]")
_NUMBER = re.compile(r"-?(?:0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?")
_UTC = re.compile(r"([0-9]{4}-[0-9]{2}-[0-9]{2})T((?:[01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9])(?:\.([0-9]{1,9}))?")
_ZONE = re.compile(r"(?:[Zz]|([+-])([01][0-9]|2[0-3]):([0-5][0-9]))")
_RFC3339 = re.compile(_UTC.pattern.replace("T", "[Tt ]", 1) + f"({_ZONE.pattern})")
_VALUES_SHOWN = 10
_MAX_INTEGER_DIGITS = 40  # more than a decimal of any contract
_DIGITS_SHOWN = 20
_WIDE = Context(prec=_MAX_INTEGER_DIGITS)
_MISSING = object()


def decode(value: bytes | None, contract: Contract = DEFAULT, ranges: Ranges | None = None) -> Order:
    """Decode one message value.

    Raises RecordRejected with the reason and a sentence of detail.
    """
    order, _ = read_exactly(value, contract, ranges)
    return order


def read_exactly(
    value: bytes | None, contract: Contract = DEFAULT, ranges: Ranges | None = None
) -> tuple[Order, Sequence[str]]:
    """Decode one message value. Return the order and the names of its unknown fields, unless they are kept.

    Raises RecordRejected.
    """
    message = _read_object(value, _EXACT if not contract.keeps_json else _WITH_SPELLING)
    tokens = [_find(message, field) for field in contract.fields]
    if contract.total == "computed":
        tokens[_TOTAL] = _MISSING
    values: list[Any] = [
        _MISSING if token is _MISSING else _READERS[field.kind](field, token)
        for field, token in zip(contract.fields, tokens, strict=True)
    ]
    for index, field in enumerate(contract.fields):
        if values[index] is _MISSING:
            values[index] = default_value(field)
        elif check := _CHECKS.get(field.kind):
            values[index] = check(field, values[index])
    if contract.total == "computed":
        values[_TOTAL] = _computed_total(contract, *values[_TOTAL - 2 : _TOTAL])
    elif contract.total == "checked" and values[_TOTAL - 2] * values[_TOTAL - 1] != values[_TOTAL]:
        price, quantity, total = values[_TOTAL - 2 : _TOTAL + 1]
        _reject(Reason.WRONG_TOTAL, f"total_price is {total}, but {price} × {quantity} = {price * quantity}")
    custom_values, names = values[len(STANDARD_FIELDS) :], []
    rest = _rest(message, contract.keys)
    if contract.unknown_fields == "keep":
        custom_values.append(_as_text("a field that the contract does not name", rest) if rest else None)
    else:
        names = [*_rest_names(rest, contract.keys)]
    if names and contract.unknown_fields == "reject":
        _reject(Reason.UNKNOWN_FIELD, f"{_quote(names[0])} is not a field of the contract")
    order = Order(*values[: len(STANDARD_FIELDS)], _as_driver(contract, custom_values))  # type: ignore[call-arg]
    if ranges and (found := ranges(order)):
        _reject(Reason.OUTSIDE_RANGES, f"{found} (ORDER_RANGES=enforce)")
    return order, names


_TOTAL = STANDARD_FIELDS.index("total_price")


def _computed_total(contract: Contract, price: Decimal, quantity: int) -> Decimal:
    total, field = price * quantity, contract.fields[_TOTAL]
    if not field.lowest <= total <= field.highest:
        _reject(Reason.OUT_OF_RANGE, f"unit_price × quantity is {total}, not from {field.minimum} to {field.maximum}")
    return total


def _as_driver(contract: Contract, custom_values: list[Any]) -> tuple[object, ...]:
    """Return the values of the custom columns as a database driver does."""
    return tuple(
        datetime.fromisoformat(value) if field.kind is Kind.TIMESTAMP and value is not None else value
        for field, value in zip(contract.custom_columns, custom_values, strict=True)
    )


def _find(message: dict[str, Any], field: Field) -> Any:
    """Return the field's token in the message; _MISSING if it is optional and missing or null."""
    token: Any = message
    for depth, key in enumerate(field.path):
        if type(token) is not dict:
            _reject(Reason.WRONG_TYPE, f"{'.'.join(field.path[:depth])} is {_describe_type(token)}, not an object")
        holder, token = token, token.get(key, _MISSING)
        if token is None or token is _MISSING:
            if not field.required:
                return _MISSING
            shown = ".".join(field.path[: depth + 1])
            if token is None:
                _reject(Reason.NULL_FIELD, f"{shown} is null")
            _reject(Reason.MISSING_FIELD, f"{shown} is missing{_similar_key_hint(key, holder)}")
    return token if field.path else _MISSING


def _rest(message: dict[str, Any], keys: Keys) -> dict[str, Any]:
    """Return the part of the message that no field reads."""
    rest: dict[str, Any] = {}
    for key, value in message.items():
        if key not in keys:
            rest[key] = value
        elif (inner := keys[key]) and type(value) is dict and (found := _rest(value, inner)):
            rest[key] = found
    return rest


def _rest_names(rest: dict[str, Any], keys: Keys) -> Iterator[str]:
    for key, value in rest.items():
        if inner := keys.get(key):
            yield from (f"{key}.{name}" for name in _rest_names(value, inner))
        else:
            yield key


def _read_object(value: bytes | None, decoder: json.JSONDecoder) -> dict[str, Any]:
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
        found, end = decoder.raw_decode(text, start)
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
    # Python refuses to parse more than 4,300 digits. Such a value is out of range, whatever its last digits.
    return int(digits[:_MAX_INTEGER_DIGITS])


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


class _Integer(str):
    """A JSON integer as it is written."""

    __slots__ = ()


class _Fraction(str):
    """A JSON number with a decimal point or an exponent, as it is written."""

    __slots__ = ()


_WITH_SPELLING = json.JSONDecoder(
    object_pairs_hook=_reject_duplicate_keys,
    parse_float=_Fraction,
    parse_int=_Integer,
    parse_constant=_reject_constant,
)
_JSON_NAMES: dict[type, str] = {
    type(None): "null",
    bool: "boolean",
    int: "number",
    Decimal: "number",
    _Integer: "number",
    _Fraction: "number",
    str: "string",
    list: "array",
    dict: "object",
}
_EXPECTED_INTEGER = {"number": "an integer", "string": "an integer in a string", "any": "an integer"}
_EXPECTED_NUMBER = {"number": "a number", "string": "a number in a string", "any": "a number"}


def _number(field: Field, token: Any) -> Any:
    """Return a number as int, or as Decimal if it has a decimal point or an exponent; another token unchanged."""
    kind = type(token)
    if kind is str and field.json != "number" and (found := _NUMBER.fullmatch(token)):
        return _parse_integer(token) if found[1] is found[2] is None else _parse_decimal(token)
    if field.json == "string" and kind is not str:
        return _Integer(token) if kind in (int, Decimal) else token
    if kind is _Integer:
        return _parse_integer(token)
    return _parse_decimal(token) if kind is _Fraction else token


def _shown(field: Field, value: int) -> str:
    """Return the number for a message, with as many digits as its limits need."""
    return str(value)[: max(_DIGITS_SHOWN, len(str(field.minimum)) + 1, len(str(field.maximum)) + 1)]


def _read_integer(field: Field, token: Any) -> int | str:
    value = _number(field, token)
    if type(value) is not int:
        found = (
            f"{_quote(str(value))}, with decimal point or exponent" if type(value) is Decimal else _describe_type(value)
        )
        _reject(Reason.WRONG_TYPE, f"{field.key} is {found}, not {_EXPECTED_INTEGER[field.json]}")
    if not field.lowest <= value <= field.highest:
        _reject(
            Reason.OUT_OF_RANGE, f"{field.key} is {_shown(field, value)}, not from {field.minimum} to {field.maximum}"
        )
    return str(value) if field.name == "order_id" else value


def _read_decimal(field: Field, token: Any) -> Decimal:
    value = _number(field, token)
    if type(value) not in (int, Decimal):
        _reject(Reason.WRONG_TYPE, f"{field.key} is {_describe_type(value)}, not {_EXPECTED_NUMBER[field.json]}")
    amount = Decimal(value)
    # The nearest valid values outside the range. A value between one of these and the range has too many decimals, so
    # EXCESS_SCALE is reported.
    below, above = field.lowest - field.unit, field.highest + field.unit
    if not below < amount < above:
        limits = f"above {below.normalize():f} and below {above.normalize():f}"
        shown = _shown(field, value) if type(value) is int else str(amount)
        _reject(Reason.OUT_OF_RANGE, f"{field.key} is {_quote(shown)}, not {limits}")
    exact = amount.quantize(field.unit, context=_WIDE)
    if exact != amount:
        decimals = "two decimals" if field.scale == MONEY_SCALE else f"{field.scale} decimals"
        _reject(Reason.EXCESS_SCALE, f"{field.key} is {_quote(str(amount))}, which has more than {decimals}")
    return exact


def _read_boolean(field: Field, token: Any) -> int:
    if type(token) is not bool:
        _reject(Reason.WRONG_TYPE, f"{field.key} is {_describe_type(token)}, not true or false")
    return int(token)


def _read_text(field: Field, token: Any) -> str:
    if type(token) is not str:
        _reject(Reason.WRONG_TYPE, f"{field.key} is {_describe_type(token)}, not a string")
    # The length of an order_id is checked with its pattern, and that of a timestamp by its format.
    has_length = field.kind is Kind.STRING and field.name != "order_id"
    if has_length and not field.min_length <= len(token) <= field.max_length:
        length = f"{field.min_length} to {field.max_length}"
        _reject(Reason.WRONG_LENGTH, f"{field.key} has {len(token)} characters, not {length}")
    reason = _INVALID_TEXT.get(field.name) or _INVALID_TEXT.get(field.kind, Reason.INVALID_TEXT)
    if "\0" in token:
        _reject(reason, f"{field.key} contains a NUL character")
    if _has_surrogate(token):
        _reject(reason, f"{field.key} contains an unpaired surrogate")
    return token


_INVALID_TEXT: dict[str, Reason] = {
    "order_id": Reason.INVALID_ORDER_ID,
    Kind.TIMESTAMP: Reason.INVALID_TIMESTAMP,
}


def _has_surrogate(text: str) -> bool:
    return not text.isascii() and any("\ud800" <= character <= "\udfff" for character in text)


def _read_time(field: Field, token: Any) -> Any:
    if field.format != "epoch_ms":
        return _read_text(field, token)
    value = _number(field, token)
    if type(value) is not int:
        _reject(Reason.WRONG_TYPE, f"{field.key} is {_describe_type(value)}, not {_EXPECTED_INTEGER[field.json]}")
    if not 0 <= value <= LAST_MILLISECOND:
        limits = f"0 to {LAST_MILLISECOND} milliseconds"
        _reject(Reason.OUT_OF_RANGE, f"{field.key} is {_shown(field, value)}, not from {limits}")
    return value


def _read_json(field: Field, token: Any) -> str:
    text = _as_text(field.key, token)
    if (size := len(text.encode())) > field.max_length:
        _reject(Reason.WRONG_LENGTH, f"{field.key} has {size} bytes of JSON, more than {field.max_length}")
    return text


def _as_text(key: str, token: Any) -> str:
    """Return the token as JSON without white space; numbers are written as in the message."""
    if isinstance(token, dict):
        return "{" + ",".join([f"{_as_text(key, name)}:{_as_text(key, value)}" for name, value in token.items()]) + "}"
    if isinstance(token, list):
        return "[" + ",".join([_as_text(key, value) for value in token]) + "]"
    if type(token) is str and _has_surrogate(token):
        _reject(Reason.INVALID_TEXT, f"{key} contains an unpaired surrogate")
    return token if type(token) in (_Integer, _Fraction) else json.dumps(token, ensure_ascii=False)


_READERS: dict[Kind, Callable[[Field, Any], Any]] = {
    Kind.STRING: _read_text,
    Kind.INTEGER: _read_integer,
    Kind.DECIMAL: _read_decimal,
    Kind.BOOLEAN: _read_boolean,
    Kind.TIMESTAMP: _read_time,
    Kind.JSON: _read_json,
}


def _check_text(field: Field, text: str) -> str:
    shortest = max(field.min_length, 1)
    if field.name == "order_id" and not (shortest <= len(text) <= field.max_length and PRINTABLE.fullmatch(text)):
        expected = f"{shortest} to {field.max_length} printable ASCII characters without spaces"
        _reject(Reason.INVALID_ORDER_ID, f"{field.key} is {_quote(text)}, not {field.meaning or expected}")
    if field.pattern and not matcher(field.pattern)(text):
        reason = Reason.INVALID_ORDER_ID if field.name == "order_id" else Reason.INVALID_VALUE
        _reject(reason, f"{field.key} is {_quote(text)}, not {field.meaning or f'of the pattern {field.pattern}'}")
    if field.values and text not in field.values:
        shown = ", ".join(field.values[:_VALUES_SHOWN]) + ", …" * (len(field.values) > _VALUES_SHOWN)
        _reject(Reason.INVALID_VALUE, f"{field.key} is {_quote(text)}, not one of {shown}")
    return text


def _check_time(field: Field, value: Any) -> str:
    """Return the time in UTC, with as many digits after the second as the column has."""
    if field.format == "epoch_ms":
        moment = (EPOCH + timedelta(milliseconds=value)).isoformat(timespec="milliseconds")
        return _with_fraction(field, moment[:19], moment[20:])
    found = (_UTC if field.format == "utc" else _RFC3339).fullmatch(value)
    fraction = found and found[3]
    if not found or not _is_real_date(found[1]) or (fraction and not field.scale and field.format == "utc"):
        expected = _SHAPES[field.format]
        _reject(Reason.INVALID_TIMESTAMP, f"{field.key} is {_quote(value)}, not a real {expected}")
    second = f"{found[1]}T{found[2]}"
    if field.format == "rfc3339":
        try:
            second = (datetime.fromisoformat(second) - _offset(found)).isoformat()
        except OverflowError:
            _reject(Reason.INVALID_TIMESTAMP, f"{field.key} is {_quote(value)}, in UTC not of the years 1 to 9999")
    return _with_fraction(field, second, fraction or "")


def _offset(found: re.Match[str]) -> timedelta:
    """Return how much the zone is ahead of UTC."""
    sign, hours, minutes = found.group(5, 6, 7)
    if not sign:
        return timedelta()
    return timedelta(hours=int(hours), minutes=int(minutes)) * (-1 if sign == "-" else 1)


def _with_fraction(field: Field, second: str, fraction: str) -> str:
    if fraction[field.scale :].strip("0"):
        shown = f"{second}.{fraction}"
        _reject(Reason.EXCESS_SCALE, f"{field.key} is {shown}, which has more than {field.scale} digits of a second")
    return f"{second}.{fraction[: field.scale].ljust(field.scale, '0')}" if field.scale else second


def _is_real_date(text: str) -> bool:
    try:
        date.fromisoformat(text)
    except ValueError:
        return False
    return True


_SHAPES = {"utc": "YYYY-MM-DDTHH:MM:SS without zone", "rfc3339": "date and time with a zone, as in RFC 3339"}
_CHECKS: dict[Kind, Callable[[Field, Any], Any]] = {Kind.STRING: _check_text, Kind.TIMESTAMP: _check_time}


@cache
def default_value(field: Field) -> Any:
    """Return the value of an order that lacks this field.

    Raises RecordRejected if the contract's default is not a valid value.
    """
    if field.default is None:
        return None
    lenient = msgspec.structs.replace(field, json="any", path=("default",))
    token = _WITH_SPELLING.decode(str(field.default)) if field.kind is Kind.JSON else field.default
    value = _READERS[field.kind](lenient, token)
    check = _CHECKS.get(field.kind)
    return check(lenient, value) if check else value


def _describe_type(value: object) -> str:
    kind = _JSON_NAMES[type(value)]
    return f"the string {_quote(value)}" if type(value) is str else f"a JSON {kind}"


def _similar_key_hint(name: str, fields: dict[str, Any]) -> str:
    similar = next((found for found in fields if found.strip().lower() == name.lower()), None)
    return f"; the key {_quote(similar)} is not the same name" if similar else ""


def _quote(text: str) -> str:
    """Quote at most 60 characters of the text in ASCII, so that a hostile text is harmless in a terminal or a log."""
    return ascii(text if len(text) <= 60 else text[:57] + "...")


def _reject(reason: Reason, detail: str) -> NoReturn:
    raise RecordRejected(reason, detail)
