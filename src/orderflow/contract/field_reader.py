"""Reads the value of one field from its JSON token, and checks it. Part of the exact path.

Reading converts the token and checks its type, range and length. Checking compares a text with its pattern and allowed
values, and a time with its format. The order in which fields are read and checked decides which reason is reported.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import date, datetime, timedelta
from decimal import Context, Decimal
from functools import cache
from typing import Any

import msgspec

from orderflow.contract.definition import EPOCH, LAST_MILLISECOND, MONEY_SCALE, PRINTABLE, Field, Kind, Reason
from orderflow.contract.message_json import (
    MAX_INTEGER_DIGITS,
    FractionToken,
    IntegerToken,
    compact_json,
    described_type,
    has_unpaired_surrogate,
    parse_decimal,
    parse_default,
    parse_integer,
    quoted,
)
from orderflow.contract.patterns import matcher
from orderflow.errors import RecordRejected

_NUMBER = re.compile(r"-?(?:0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?")
_UTC = re.compile(r"([0-9]{4}-[0-9]{2}-[0-9]{2})T((?:[01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9])(?:\.([0-9]{1,9}))?")
_ZONE = re.compile(r"(?:[Zz]|([+-])([01][0-9]|2[0-3]):([0-5][0-9]))")
_RFC3339 = re.compile(_UTC.pattern.replace("T", "[Tt ]", 1) + f"({_ZONE.pattern})")
_SHOWN_VALUES = 10
_SHOWN_DIGITS = 20
_WIDE_CONTEXT = Context(prec=MAX_INTEGER_DIGITS)
_EXPECTED_INTEGER = {"number": "an integer", "string": "an integer in a string", "any": "an integer"}
_EXPECTED_NUMBER = {"number": "a number", "string": "a number in a string", "any": "a number"}
_EXPECTED_TIME = {"utc": "YYYY-MM-DDTHH:MM:SS without zone", "rfc3339": "date and time with a zone, as in RFC 3339"}
_TEXT_REASONS: dict[str, Reason] = {  # for NUL and unpaired surrogates, by the field's name or kind
    "order_id": Reason.INVALID_ORDER_ID,
    Kind.TIMESTAMP: Reason.INVALID_TIMESTAMP,
}


@cache
def default_value(field: Field) -> Any:
    """Return the value of an order that lacks this field.

    Raises RecordRejected if the contract's default is not a valid value.
    """
    if field.default is None:
        return None
    any_json = msgspec.structs.replace(field, json="any", path=("default",))
    token = parse_default(str(field.default)) if field.kind is Kind.JSON else field.default
    value = READERS[field.kind](any_json, token)
    check = CHECKS.get(field.kind)
    return check(any_json, value) if check else value


def _read_number(field: Field, token: Any) -> Any:
    """Return a number as int, or as Decimal if it has a decimal point or an exponent.

    A token that is not a number is returned unchanged; so is a number where the field requires a string with a number.
    """
    token_type = type(token)
    if token_type is str and field.json != "number" and (number := _NUMBER.fullmatch(token)):
        return parse_integer(token) if number[1] is number[2] is None else parse_decimal(token)
    if field.json == "string" and token_type is not str:
        return IntegerToken(token) if token_type in (int, Decimal) else token  # described_type calls it a number
    if token_type is IntegerToken:
        return parse_integer(token)
    return parse_decimal(token) if token_type is FractionToken else token


def _shortened(field: Field, value: int) -> str:
    """Return the number for a message, shortened unless the field's limits are as long."""
    return str(value)[: max(_SHOWN_DIGITS, len(str(field.minimum)) + 1, len(str(field.maximum)) + 1)]


def _read_integer(field: Field, token: Any) -> int | str:
    value = _read_number(field, token)
    if type(value) is not int:
        described = (
            f"{quoted(str(value))}, with decimal point or exponent" if type(value) is Decimal else described_type(value)
        )
        raise RecordRejected(Reason.WRONG_TYPE, f"{field.key} is {described}, not {_EXPECTED_INTEGER[field.json]}")
    if not field.lowest <= value <= field.highest:
        limits = f"{field.minimum} to {field.maximum}"
        raise RecordRejected(Reason.OUT_OF_RANGE, f"{field.key} is {_shortened(field, value)}, not from {limits}")
    return str(value) if field.name == "order_id" else value


def _read_decimal(field: Field, token: Any) -> Decimal:
    value = _read_number(field, token)
    if type(value) not in (int, Decimal):
        raise RecordRejected(
            Reason.WRONG_TYPE, f"{field.key} is {described_type(value)}, not {_EXPECTED_NUMBER[field.json]}"
        )
    amount = Decimal(value)
    # The nearest valid values outside the range. A value between one of these and the range has too many decimals, so
    # EXCESS_SCALE is reported.
    below, above = field.lowest - field.unit, field.highest + field.unit
    if not below < amount < above:
        limits = f"above {below.normalize():f} and below {above.normalize():f}"
        digits = _shortened(field, value) if type(value) is int else str(amount)
        raise RecordRejected(Reason.OUT_OF_RANGE, f"{field.key} is {quoted(digits)}, not {limits}")
    exact = amount.quantize(field.unit, context=_WIDE_CONTEXT)
    if exact != amount:
        decimals = "two decimals" if field.scale == MONEY_SCALE else f"{field.scale} decimals"
        raise RecordRejected(
            Reason.EXCESS_SCALE, f"{field.key} is {quoted(str(amount))}, which has more than {decimals}"
        )
    return exact


def _read_boolean(field: Field, token: Any) -> int:
    if type(token) is not bool:
        raise RecordRejected(Reason.WRONG_TYPE, f"{field.key} is {described_type(token)}, not true or false")
    return int(token)


def _read_text(field: Field, token: Any) -> str:
    if type(token) is not str:
        raise RecordRejected(Reason.WRONG_TYPE, f"{field.key} is {described_type(token)}, not a string")
    # The length of an order_id is checked with its pattern, and that of a timestamp by its format.
    has_length = field.kind is Kind.STRING and field.name != "order_id"
    if has_length and not field.min_length <= len(token) <= field.max_length:
        lengths = f"{field.min_length} to {field.max_length}"
        raise RecordRejected(Reason.WRONG_LENGTH, f"{field.key} has {len(token)} characters, not {lengths}")
    reason = _TEXT_REASONS.get(field.name) or _TEXT_REASONS.get(field.kind, Reason.INVALID_TEXT)
    if "\0" in token:
        raise RecordRejected(reason, f"{field.key} contains a NUL character")
    if has_unpaired_surrogate(token):
        raise RecordRejected(reason, f"{field.key} contains an unpaired surrogate")
    return token


def _read_time(field: Field, token: Any) -> Any:
    if field.format != "epoch_ms":
        return _read_text(field, token)
    value = _read_number(field, token)
    if type(value) is not int:
        raise RecordRejected(
            Reason.WRONG_TYPE, f"{field.key} is {described_type(value)}, not {_EXPECTED_INTEGER[field.json]}"
        )
    if not 0 <= value <= LAST_MILLISECOND:
        limits = f"0 to {LAST_MILLISECOND} milliseconds"
        raise RecordRejected(Reason.OUT_OF_RANGE, f"{field.key} is {_shortened(field, value)}, not from {limits}")
    return value


def _read_json(field: Field, token: Any) -> str:
    text = compact_json(field.key, token)
    if (size := len(text.encode())) > field.max_length:
        raise RecordRejected(Reason.WRONG_LENGTH, f"{field.key} has {size} bytes of JSON, more than {field.max_length}")
    return text


def _check_text(field: Field, text: str) -> str:
    shortest = max(field.min_length, 1)
    if field.name == "order_id" and not (shortest <= len(text) <= field.max_length and PRINTABLE.fullmatch(text)):
        expected = f"{shortest} to {field.max_length} printable ASCII characters without spaces"
        raise RecordRejected(Reason.INVALID_ORDER_ID, f"{field.key} is {quoted(text)}, not {field.meaning or expected}")
    if field.pattern and not matcher(field.pattern)(text):
        reason = Reason.INVALID_ORDER_ID if field.name == "order_id" else Reason.INVALID_VALUE
        expected = field.meaning or f"of the pattern {field.pattern}"
        raise RecordRejected(reason, f"{field.key} is {quoted(text)}, not {expected}")
    if field.values and text not in field.values:
        values = ", ".join(field.values[:_SHOWN_VALUES]) + ", …" * (len(field.values) > _SHOWN_VALUES)
        raise RecordRejected(Reason.INVALID_VALUE, f"{field.key} is {quoted(text)}, not one of {values}")
    return text


def _check_time(field: Field, value: Any) -> str:
    """Return the time in UTC, with as many digits after the second as the column has."""
    if field.format == "epoch_ms":
        moment = (EPOCH + timedelta(milliseconds=value)).isoformat(timespec="milliseconds")
        return _with_fraction(field, moment[:19], moment[20:])
    time = (_UTC if field.format == "utc" else _RFC3339).fullmatch(value)
    fraction = time and time[3]
    if not time or not _is_real_date(time[1]) or (fraction and not field.scale and field.format == "utc"):
        raise RecordRejected(
            Reason.INVALID_TIMESTAMP, f"{field.key} is {quoted(value)}, not a real {_EXPECTED_TIME[field.format]}"
        )
    second = f"{time[1]}T{time[2]}"
    if field.format == "rfc3339":
        try:
            second = (datetime.fromisoformat(second) - _utc_offset(time)).isoformat()
        except OverflowError:
            raise RecordRejected(
                Reason.INVALID_TIMESTAMP, f"{field.key} is {quoted(value)}, in UTC not of the years 1 to 9999"
            ) from None
    return _with_fraction(field, second, fraction or "")


def _utc_offset(time: re.Match[str]) -> timedelta:
    """Return how much the zone is ahead of UTC."""
    sign, hours, minutes = time.group(5, 6, 7)
    if not sign:
        return timedelta()
    return timedelta(hours=int(hours), minutes=int(minutes)) * (-1 if sign == "-" else 1)


def _with_fraction(field: Field, second: str, fraction: str) -> str:
    if fraction[field.scale :].strip("0"):
        raise RecordRejected(
            Reason.EXCESS_SCALE,
            f"{field.key} is {second}.{fraction}, which has more than {field.scale} digits of a second",
        )
    return f"{second}.{fraction[: field.scale].ljust(field.scale, '0')}" if field.scale else second


def _is_real_date(text: str) -> bool:
    try:
        date.fromisoformat(text)
    except ValueError:
        return False
    return True


# Each returns the value of a token. Raises RecordRejected.
READERS: dict[Kind, Callable[[Field, Any], Any]] = {
    Kind.STRING: _read_text,
    Kind.INTEGER: _read_integer,
    Kind.DECIMAL: _read_decimal,
    Kind.BOOLEAN: _read_boolean,
    Kind.TIMESTAMP: _read_time,
    Kind.JSON: _read_json,
}
# Each returns the checked value as it is stored. Raises RecordRejected. Other kinds need no check.
CHECKS: dict[Kind, Callable[[Field, Any], Any]] = {Kind.STRING: _check_text, Kind.TIMESTAMP: _check_time}
