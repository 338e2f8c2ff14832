"""A slow, independent implementation of the contract. order.py must agree with it for any bytes.

It counts money in whole cents, so it never rounds.
"""

from __future__ import annotations

import json
from datetime import datetime
from decimal import Decimal, InvalidOperation
from typing import NamedTuple

from orderflow.contract.definition import Order


class Read(NamedTuple):
    """The eight fields by value, money in cents."""

    customer_id: int
    order_id: str
    product_name: str
    product_category: str
    unit_cents: int
    quantity: int
    total_cents: int
    order_timestamp: str


class RefusedError(Exception):
    """The value is not an order."""


class Whole(str):
    """The text of a JSON number that is written as an integer."""


class Fraction(str):
    """The text of a JSON number with a decimal point or an exponent."""


def read(value: bytes | None) -> Read | None:
    """Return the order that the value holds; None if it breaks the contract."""
    try:
        return _order(value)
    except (RefusedError, RecursionError):
        return None


def by_value(order: Order) -> Read:
    """Convert the decoder's order into this module's form."""
    unit_cents, total_cents = order.unit_price * 100, order.total_price * 100
    assert unit_cents == int(unit_cents) and total_cents == int(total_cents)
    return Read(
        order.customer_id,
        order.order_id,
        order.product_name,
        order.product_category,
        int(unit_cents),
        order.quantity,
        int(total_cents),
        order.order_timestamp,
    )


def _order(value: bytes | None) -> Read:
    _demand(value is not None and len(value) <= 1024 * 1024)
    assert value is not None
    try:
        found = json.loads(
            value.decode("utf-8"),  # json.loads guesses the encoding of bytes
            object_pairs_hook=_object,
            parse_int=Whole,
            parse_float=Fraction,
            parse_constant=_constant,
        )
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise RefusedError from error
    _demand(type(found) is dict and _levels(found) <= 64)
    order = Read(
        _integer(found.get("customer_id")),
        _text(found.get("order_id"), 50),
        _text(found.get("product_name"), 255),
        _text(found.get("product_category"), 100),
        _cents(found.get("unit_price")),
        _integer(found.get("quantity")),
        _cents(found.get("total_price")),
        _text(found.get("order_timestamp"), 19),
    )
    digits = order.order_id.removeprefix("ORDER-")
    _demand(digits != order.order_id and len(digits) >= 6 and set(digits) <= set("0123456789"))
    try:
        time = datetime.strptime(order.order_timestamp, "%Y-%m-%dT%H:%M:%S")  # noqa: DTZ007 - UTC by contract
    except ValueError as error:
        raise RefusedError from error
    _demand(time.isoformat() == order.order_timestamp)
    _demand(order.unit_cents * order.quantity == order.total_cents)
    return order


def _demand(fulfilled: bool) -> None:
    if not fulfilled:
        raise RefusedError


def _levels(found: object) -> int:
    inner = found.values() if isinstance(found, dict) else found if isinstance(found, list) else None
    return 0 if inner is None else 1 + max(map(_levels, inner), default=0)


def _object(pairs: list[tuple[str, object]]) -> dict[str, object]:
    _demand(len({name for name, _ in pairs}) == len(pairs))
    return dict(pairs)


def _constant(name: str) -> None:
    raise RefusedError(name)


def _integer(found: object) -> int:
    _demand(type(found) is Whole)
    number = int(str(found)[:12])  # ten digits are already too many, and Python refuses to read thousands
    _demand(1 <= number <= 2147483647)
    return number


def _text(found: object, longest: int) -> str:
    _demand(type(found) is str)
    assert isinstance(found, str)
    _demand(1 <= len(found) <= longest and "\0" not in found)
    _demand(not any(0xD800 <= ord(character) <= 0xDFFF for character in found))
    return found


def _cents(found: object) -> int:
    _demand(type(found) in (Whole, Fraction))
    try:
        amount = Decimal(str(found))
    except InvalidOperation as error:  # the exponent has many digits: the number is far above or below any amount
        raise RefusedError from error
    _demand(Decimal("0.01") <= amount <= Decimal("99999999.99"))
    whole, _, fraction = f"{amount:f}".partition(".")
    _demand(fraction[2:].strip("0") == "")
    return int(whole) * 100 + int(fraction[:2].ljust(2, "0"))
