"""Parses a message value as one JSON object in UTF-8, and names the reason if it is none."""

from __future__ import annotations

import json
import re
from collections import Counter
from decimal import Decimal, InvalidOperation
from typing import Any, NoReturn

from orderflow.contract.definition import MAX_DEPTH, MAX_VALUE_BYTES, Reason
from orderflow.errors import RecordRejected

MAX_INTEGER_DIGITS = 40  # more than a decimal of any contract
_STRINGS = re.compile(r'"(?:[^"\\]|\\.)*+"', re.DOTALL)
_BRACKETS = re.compile(r"[\[\]{}]")
_WHITE_SPACE = " \t\r\n"
_SHOWN_CHARACTERS = 60


class IntegerToken(str):
    """A JSON integer as it is written."""

    __slots__ = ()


class FractionToken(str):
    """A JSON number with a decimal point or an exponent, as it is written."""

    __slots__ = ()


def parse_object(value: bytes | None, *, keeps_spelling: bool) -> dict[str, Any]:
    """Return the object. With `keeps_spelling`, its numbers are tokens, as they are written.

    Raises RecordRejected.
    """
    if value is None:
        raise RecordRejected(Reason.NULL_VALUE, "the record has no value (a tombstone)")
    if len(value) > MAX_VALUE_BYTES:
        raise RecordRejected(Reason.OVERSIZED_VALUE, f"the value has {len(value)} bytes, more than {MAX_VALUE_BYTES}")
    if value.startswith(b"\xef\xbb\xbf"):
        raise RecordRejected(Reason.BYTE_ORDER_MARK, "the value starts with a byte order mark")
    try:
        text = value.decode("utf-8")
    except UnicodeDecodeError as error:
        raise RecordRejected(Reason.INVALID_UTF8, f"byte {error.start} is not UTF-8: {error.reason}") from None
    start = len(text) - len(text.lstrip(_WHITE_SPACE))
    if start == len(text):
        raise RecordRejected(
            Reason.EMPTY_VALUE, "the value is empty" if not text else "the value contains only white space"
        )
    if _depth(text) > MAX_DEPTH:
        raise RecordRejected(Reason.TOO_DEEP, f"the value is nested more than {MAX_DEPTH} levels deep")
    decoder = _SPELLING_DECODER if keeps_spelling else _DECODER
    try:
        parsed, end = decoder.raw_decode(text, start)
    except json.JSONDecodeError as error:
        raise RecordRejected(Reason.MALFORMED_JSON, f"character {error.pos}: {error.msg}") from None
    if trailing := text[end:].strip(_WHITE_SPACE):
        raise RecordRejected(
            Reason.TRAILING_DATA, f"the JSON value is followed by {quoted(trailing)} at character {end}"
        )
    if not isinstance(parsed, dict):
        raise RecordRejected(Reason.NOT_AN_OBJECT, f"the value is a JSON {_TYPE_NAMES[type(parsed)]}, not an object")
    return parsed


def parse_integer(digits: str) -> int:
    # Python refuses to parse more than 4,300 digits. Such a value is out of range, whatever its last digits.
    return int(digits[:MAX_INTEGER_DIGITS])


def parse_decimal(digits: str) -> Decimal:
    try:
        return Decimal(digits)
    except InvalidOperation:  # an exponent beyond Decimal's own range
        return Decimal("Infinity")


def parse_default(text: str) -> Any:
    """Return the JSON of a contract's default, with numbers as they are written."""
    return _SPELLING_DECODER.decode(text)


def compact_json(key: str, token: Any) -> str:
    """Return the token of this key as JSON without white space; number tokens are written as in the message.

    Raises RecordRejected.
    """
    if isinstance(token, dict):
        pairs = [f"{compact_json(key, name)}:{compact_json(key, value)}" for name, value in token.items()]
        return "{" + ",".join(pairs) + "}"
    if isinstance(token, list):
        return "[" + ",".join([compact_json(key, value) for value in token]) + "]"
    if type(token) is str and has_unpaired_surrogate(token):
        raise RecordRejected(Reason.INVALID_TEXT, f"{key} contains an unpaired surrogate")
    return token if type(token) in (IntegerToken, FractionToken) else json.dumps(token, ensure_ascii=False)


def has_unpaired_surrogate(text: str) -> bool:
    return not text.isascii() and any("\ud800" <= character <= "\udfff" for character in text)


def described_type(token: object) -> str:
    """Return the type of a token for a message: "a JSON number", or the string itself."""
    return f"the string {quoted(token)}" if type(token) is str else f"a JSON {_TYPE_NAMES[type(token)]}"


def quoted(text: str) -> str:
    """Quote at most 60 characters of the text in ASCII, so that a hostile text is harmless in a terminal or a log."""
    return ascii(text if len(text) <= _SHOWN_CHARACTERS else text[: _SHOWN_CHARACTERS - 3] + "...")


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
        raise RecordRejected(Reason.DUPLICATE_KEY, f"the key {quoted(repeated)} occurs more than once")
    return fields


def _reject_constant(name: str) -> NoReturn:
    raise RecordRejected(Reason.MALFORMED_JSON, f"{name} is not JSON")


_DECODER = json.JSONDecoder(
    object_pairs_hook=_reject_duplicate_keys,
    parse_float=parse_decimal,
    parse_int=parse_integer,
    parse_constant=_reject_constant,
)
_SPELLING_DECODER = json.JSONDecoder(
    object_pairs_hook=_reject_duplicate_keys,
    parse_float=FractionToken,
    parse_int=IntegerToken,
    parse_constant=_reject_constant,
)
_TYPE_NAMES: dict[type, str] = {
    type(None): "null",
    bool: "boolean",
    int: "number",
    Decimal: "number",
    IntegerToken: "number",
    FractionToken: "number",
    str: "string",
    list: "array",
    dict: "object",
}
