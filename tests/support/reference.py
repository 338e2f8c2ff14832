"""A slow, independent implementation of the contract. Both paths must agree with it for any bytes.

`read` implements the contract of the standard fields without reading its definition. `row` reads by any contract.
Decimals are counts of their last digit, so nothing is rounded.
"""

from __future__ import annotations

import json
import re
from datetime import datetime, timedelta
from decimal import Decimal, InvalidOperation
from typing import NamedTuple

from orderflow.contract.definition import Contract, Field, Kind, Order


class ReferenceOrder(NamedTuple):
    """The standard fields, with amounts in cents."""

    customer_id: int
    order_id: str
    product_name: str
    product_category: str
    unit_cents: int
    quantity: int
    total_cents: int
    order_timestamp: str


class Refused(Exception):
    """The value is not an order."""


class Whole(str):
    """The text of a JSON number that is written as an integer."""


class Fraction(str):
    """The text of a JSON number with a decimal point or an exponent."""


def read(value: bytes | None) -> ReferenceOrder | None:
    """Return the order that the value holds; None if it breaks the contract."""
    try:
        return _order(value)
    except (Refused, RecursionError):
        return None


def by_value(order: Order) -> ReferenceOrder:
    """Convert the decoder's order into this module's form."""
    unit_cents, total_cents = order.unit_price * 100, order.total_price * 100
    assert unit_cents == int(unit_cents) and total_cents == int(total_cents)
    assert isinstance(order.customer_id, int)
    return ReferenceOrder(
        order.customer_id,
        order.order_id,
        order.product_name,
        order.product_category,
        int(unit_cents),
        order.quantity,
        int(total_cents),
        order.order_timestamp,
    )


class Row(NamedTuple):
    """The values by column. Decimals count their last digit, times are texts in UTC, and booleans are 0 and 1."""

    values: dict[str, object]
    unknown: list[str]  # empty if the contract keeps them


def row(value: bytes | None, contract: Contract) -> Row | None:
    """Return the columns of the order that the value holds; None if it breaks the contract."""
    try:
        return _row(value, contract)
    except (Refused, RecursionError):
        return None


def by_column(order: Order, unknown: list[str], contract: Contract) -> Row:
    """Convert the decoder's order into this module's form."""
    values = [getattr(order, field.name) for field in contract.fields[:8]] + [*order.custom_values]
    return Row(
        {field.name: _plain(value, field) for field, value in zip(contract.columns, values, strict=True)}, unknown
    )


def _plain(value: object, field: Field) -> object:
    if isinstance(value, Decimal):
        sign, digits, exponent = value.as_tuple()
        assert exponent == -field.scale
        return int("".join(map(str, digits))) * (-1 if sign else 1)
    if isinstance(value, datetime):
        return value.isoformat("T", "microseconds")[: 20 + field.scale if field.scale else 19]
    return value


def _order(value: bytes | None) -> ReferenceOrder:
    message = _message(value)
    order = ReferenceOrder(
        _integer(message.get("customer_id")),
        _text(message.get("order_id"), 50),
        _text(message.get("product_name"), 255),
        _text(message.get("product_category"), 100),
        _cents(message.get("unit_price")),
        _integer(message.get("quantity")),
        _cents(message.get("total_price")),
        _text(message.get("order_timestamp"), 19),
    )
    digits = order.order_id.removeprefix("ORDER-")
    _require(digits != order.order_id and len(digits) >= 6 and set(digits) <= set("0123456789"))
    try:
        time = datetime.strptime(order.order_timestamp, "%Y-%m-%dT%H:%M:%S")  # noqa: DTZ007 - UTC by contract
    except ValueError as error:
        raise Refused from error
    _require(time.isoformat() == order.order_timestamp)
    _require(order.unit_cents * order.quantity == order.total_cents)
    return order


def _message(value: bytes | None) -> dict[str, object]:
    _require(value is not None and len(value) <= 1024 * 1024)
    assert value is not None
    try:
        message = _loads(value.decode("utf-8"))  # json.loads guesses the encoding of bytes
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise Refused from error
    _require(type(message) is dict and _levels(message) <= 64)
    assert isinstance(message, dict)
    return message


def _require(is_met: bool) -> None:
    if not is_met:
        raise Refused


def _levels(value: object) -> int:
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else None
    return 0 if inner is None else 1 + max(map(_levels, inner), default=0)


def _object(pairs: list[tuple[str, object]]) -> dict[str, object]:
    _require(len({name for name, _ in pairs}) == len(pairs))
    return dict(pairs)


def _constant(name: str) -> None:
    raise Refused(name)


def _integer(token: object) -> int:
    _require(type(token) is Whole)
    number = int(str(token)[:12])  # ten digits are already too many, and Python refuses to read thousands
    _require(1 <= number <= 2147483647)
    return number


def _text(token: object, longest: int) -> str:
    _require(type(token) is str)
    assert isinstance(token, str)
    _require(1 <= len(token) <= longest and "\0" not in token)
    _require(not any(0xD800 <= ord(character) <= 0xDFFF for character in token))
    return token


def _cents(token: object) -> int:
    _require(type(token) in (Whole, Fraction))
    try:
        amount = Decimal(str(token))
    except InvalidOperation as error:  # the exponent has many digits: the number is far above or below any amount
        raise Refused from error
    _require(Decimal("0.01") <= amount <= Decimal("99999999.99"))
    whole, _, fraction = f"{amount:f}".partition(".")
    _require(fraction[2:].strip("0") == "")
    return int(whole) * 100 + int(fraction[:2].ljust(2, "0"))


def _row(value: bytes | None, contract: Contract) -> Row:
    message = _message(value)
    values: dict[str, object] = {}
    for field in contract.fields:
        token = _token(message, field)
        if field.name == "total_price" and contract.total == "computed":
            token = None
        values[field.name] = _default(field) if token is None else _value(field, token, field.json)
    if contract.total != "as_sent":
        total, limits = values["unit_price"] * values["quantity"], contract.by_name["total_price"]  # type: ignore[operator]
        _require(_scaled(str(limits.minimum), 2) <= total <= _scaled(str(limits.maximum), 2))
        _require(contract.total == "computed" or total == values["total_price"])
        values["total_price"] = total
    paths = {field.path for field in contract.fields}
    others = _others(message, paths, ())
    names = _names(others, paths, ())
    _require(contract.unknown_fields != "reject" or not names)
    if contract.unknown_fields == "keep":
        values["other_fields"], names = _written(others) if others else None, []
    return Row(values, names)


def _token(message: dict[str, object], field: Field) -> object:
    """Return the field's token; None if the field is optional and missing."""
    token: object = message if field.path else None
    for key in field.path:
        _require(isinstance(token, dict))
        assert isinstance(token, dict)
        token = token.get(key)
        if token is None:
            _require(not field.required)
            break
    return token


def _others(message: dict[str, object], paths: set[tuple[str, ...]], parents: tuple[str, ...]) -> dict[str, object]:
    """Return the part of the message without the fields at these paths."""
    others: dict[str, object] = {}
    for key, value in message.items():
        path = (*parents, key)
        if not _is_above(path, paths):
            if path not in paths:
                others[key] = value
        elif isinstance(value, dict) and (inner := _others(value, paths, path)):
            others[key] = inner
    return others


def _is_above(path: tuple[str, ...], paths: set[tuple[str, ...]]) -> bool:
    return any(len(path) < len(longer) and longer[: len(path)] == path for longer in paths)


def _names(others: dict[str, object], paths: set[tuple[str, ...]], parents: tuple[str, ...]) -> list[str]:
    names: list[str] = []
    for key, value in others.items():
        path = (*parents, key)
        if _is_above(path, paths):
            assert isinstance(value, dict)
            names += _names(value, paths, path)
        else:
            names.append(".".join(path))
    return names


def _loads(text: str) -> object:
    return json.loads(
        text,
        object_pairs_hook=_object,
        parse_int=Whole,
        parse_float=Fraction,
        parse_constant=_constant,
    )


def _default(field: Field) -> object:
    token: object = field.default
    if field.kind is Kind.JSON and token is not None:
        return _value(field, _loads(str(token)), "any")
    if token is None or isinstance(token, bool):
        return token if token is None else int(token)
    return _value(field, Whole(token) if isinstance(token, int) else token, "any")


def _value(field: Field, token: object, json_form: str) -> object:
    if field.kind is Kind.BOOLEAN:
        _require(isinstance(token, bool))
        return int(token)  # type: ignore[call-overload]
    if field.kind is Kind.JSON:
        text = _written(token)
        _require(len(text.encode()) <= field.max_length)
        return text
    if field.kind is Kind.STRING:
        return _valid_text(field, token)
    if field.kind is Kind.TIMESTAMP and field.format != "epoch_ms":
        return _time(field, token)
    text = _number(token, json_form)
    if field.kind is Kind.DECIMAL:
        count = _scaled(text, field.scale)
        _require(_scaled(str(field.minimum), field.scale) <= count <= _scaled(str(field.maximum), field.scale))
        return count
    _require(text.removeprefix("-").isdigit() and len(text) < 1000)
    number = int(text)
    if field.kind is Kind.TIMESTAMP:
        _require(0 <= number <= 253402300799999)
        moment = datetime(1970, 1, 1) + timedelta(seconds=number // 1000)  # noqa: DTZ001 - UTC
        return _with_digits(field, moment, f"{number % 1000:03}")
    _require(int(field.minimum) <= number <= int(field.maximum))
    return str(number) if field.name == "order_id" else number


def _number(token: object, json_form: str) -> str:
    """Return a number as it is written."""
    is_number = isinstance(token, (Whole, Fraction))
    _require(is_number if json_form == "number" else not is_number if json_form == "string" else True)
    text = str(token) if isinstance(token, str) else ""
    _require(re.fullmatch(r"-?(0|[1-9]\d*)(\.\d+)?([eE][-+]?\d+)?", text, re.ASCII) is not None)
    return text


def _scaled(text: str, scale: int) -> int:
    """Return a number as a count of its last digit. Refuse one with more digits, or above any decimal."""
    plain, _, exponent = text.lower().partition("e")
    _require(len(exponent) <= 17)  # Decimal refuses more
    whole, _, fraction = plain.removeprefix("-").partition(".")
    digits = (whole + fraction).rstrip("0")
    zeros = int(exponent or 0) - len(fraction) + len(whole + fraction) - len(digits) + scale
    digits = digits.lstrip("0")
    if not digits:
        return 0
    _require(zeros >= 0 and len(digits) + zeros < 100)
    power: int = 10**zeros
    return int(digits) * power * (-1 if plain.startswith("-") else 1)


def _valid_text(field: Field, token: object) -> str:
    _require(type(token) is str)
    assert isinstance(token, str)
    _require(field.min_length <= len(token) <= field.max_length)
    _require(not any(character == "\0" or 0xD800 <= ord(character) <= 0xDFFF for character in token))
    if field.name == "order_id":
        _require(token != "" and all(33 <= ord(character) <= 126 for character in token))
    _require(not field.pattern or re.fullmatch(field.pattern, token, re.DOTALL) is not None)
    _require(not field.values or token in field.values)
    return token


def _time(field: Field, token: object) -> str:
    _require(type(token) is str)
    assert isinstance(token, str)
    shape = re.fullmatch(r"(\d{4}-\d\d-\d\d)(.)(\d\d:\d\d:\d\d)(\.\d{1,9})?(|[Zz]|[-+]\d\d:\d\d)", token, re.ASCII)
    _require(shape is not None)
    assert shape is not None
    day, separator, second, fraction, zone = shape.groups("")
    is_utc = field.format == "utc"
    _require(separator in ("T" if is_utc else "Tt ") and (zone == "") == is_utc)
    _require(not (is_utc and fraction and not field.scale))
    try:
        moment = datetime.strptime(f"{day} {second}", "%Y-%m-%d %H:%M:%S")  # noqa: DTZ007 - UTC
        if len(zone) > 1:
            ahead = datetime.strptime(zone[1:], "%H:%M")  # noqa: DTZ007 - a duration
            moment -= timedelta(minutes=(ahead.hour * 60 + ahead.minute) * (-1 if zone[0] == "-" else 1))
    except (ValueError, OverflowError) as error:
        raise Refused from error
    return _with_digits(field, moment, fraction[1:])


def _with_digits(field: Field, moment: datetime, fraction: str) -> str:
    _require(not fraction[field.scale :].strip("0"))
    return moment.isoformat() + ("." + fraction[: field.scale].ljust(field.scale, "0") if field.scale else "")


_ESCAPES = {'"': '\\"', "\\": "\\\\", "\n": "\\n", "\r": "\\r", "\t": "\\t", "\b": "\\b", "\f": "\\f"}


def _written(token: object) -> str:
    """Return JSON without white space, with numbers as they are in the message."""
    if isinstance(token, (Whole, Fraction)):
        return str(token)
    if isinstance(token, str):
        _require(not any(0xD800 <= ord(character) <= 0xDFFF for character in token))
        return '"' + "".join(_ESCAPES.get(c, c if ord(c) >= 32 else f"\\u{ord(c):04x}") for c in token) + '"'
    if isinstance(token, list):
        return f"[{','.join(map(_written, token))}]"
    if isinstance(token, dict):
        return "{" + ",".join(f"{_written(key)}:{_written(value)}" for key, value in token.items()) + "}"
    return {None: "null", True: "true", False: "false"}[token]  # type: ignore[index]
