"""Makes the orders of a contract file: products of the catalogue, and custom fields from their values or examples."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from functools import partial
from random import Random
from typing import Any, NamedTuple

import msgspec

from orderflow.contract.catalogue import CUSTOMER_IDS, PRODUCTS, QUANTITIES, Product
from orderflow.contract.definition import Contract, Field, Kind
from orderflow.contract.exact_path import decode
from orderflow.contract.field_reader import default_value
from orderflow.contract.order_ids import OrderIds
from orderflow.errors import ContractInvalid, RecordRejected

_CHECKED = 100  # orders of each run that are decoded before they are sent
_MISSING_SHARE = 0.2  # of the orders that lack an optional field
_MILLISECONDS = 3  # digits of a second

encode = msgspec.json.Encoder(decimal_format="number").encode
# Returns a field's value from the run's random numbers and the seconds since 1970.
_Source = Callable[[Random, float], Any]


class _Offer(NamedTuple):
    """A product and a quantity, with the range of prices in cents (inclusive) that the contract allows for them."""

    product: Product
    quantity: int
    lowest: int
    highest: int


class OrderMaker:
    """Makes orders of a contract. The same random numbers make the same orders, except for their timestamps."""

    def __init__(self, contract: Contract, random: Random, clock: Callable[[], float]) -> None:
        self._contract, self._random, self._clock = contract, random, clock
        self._ids = OrderIds(contract)
        self._offers = _offers(contract)
        # A computed total is not in the message.
        left_out = {"total_price"} if contract.total == "computed" else set()
        self._fields = [field for field in contract.fields if field.path and field.name not in left_out]
        from_offer = {"order_id", "unit_price", "quantity", "total_price"}
        from_offer |= {name for name in ("product_name", "product_category") if not _choices(contract.by_name[name])}
        self._sources = {field.name: _source(field) for field in self._fields if field.name not in from_offer}
        self._unchecked, self._length = _CHECKED, 0

    def make(self, number: int) -> tuple[bytes, bytes]:
        """Return the key and the value of the order with this number.

        Raises ContractInvalid if the contract does not accept it.
        """
        random, now = self._random, self._clock()
        product, quantity, lowest, highest = self._offers[int(random.random() * len(self._offers))]
        cents = lowest + int(random.random() * (highest - lowest + 1))
        values: dict[str, Any] = {
            "order_id": self._ids.make(number),
            "product_name": product.name,
            "product_category": product.category,
            "unit_price": Decimal(cents).scaleb(-2),
            "quantity": quantity,
            "total_price": Decimal(cents * quantity).scaleb(-2),
        }
        values |= {name: draw(random, now) for name, draw in self._sources.items()}
        message: dict[str, Any] = {}
        for field in self._fields:
            if field.required or random.random() >= _MISSING_SHARE:
                put(message, field.path, _token(field, values[field.name]))
        key, value = values["order_id"].encode(), encode(message)
        if len(key) != self._length:  # the number has outgrown its zeros
            self._length, self._unchecked = len(key), max(self._unchecked, 1)
        if self._unchecked:
            self._unchecked -= 1
            self._check(value)
        return key, value

    def _check(self, value: bytes) -> None:
        try:
            decode(value, self._contract)
        except RecordRejected as rejected:
            raise ContractInvalid(
                f"No order of the contract ORDER_CONTRACT can be generated: {rejected.message}.",
                hint="Add `examples` to this field: valid values, and for order_id a UUID, or an id with as many digits"
                " at its end as the numbers need, such as TKT-000001. Or use `orderflow produce --file`.",
            ) from None


def check(contract: Contract) -> None:
    """Make some orders, to find out before anything starts whether the generator can.

    Raises ContractInvalid.
    """
    if not contract.is_default:
        maker = OrderMaker(contract, Random(0), time.time)  # noqa: S311
        for number in range(1, _CHECKED + 1):
            maker.make(number)


def put(message: dict[str, Any], path: tuple[str, ...], token: Any) -> None:
    """Set the key at this path, unless another field has set it."""
    for key in path[:-1]:
        message = message.setdefault(key, {})
    message.setdefault(path[-1], token)


def time_token(field: Field, seconds: float) -> str | int:
    """Return a time, in seconds since 1970, as the field writes it: to the millisecond if its column has them."""
    has_milliseconds = field.scale >= _MILLISECONDS
    milliseconds = int(seconds * 1000) if has_milliseconds else int(seconds) * 1000
    if field.format == "epoch_ms":
        return str(milliseconds) if field.json == "string" else milliseconds
    moment = datetime.fromtimestamp(milliseconds / 1000, UTC).replace(tzinfo=None)
    text = moment.isoformat(timespec="milliseconds" if has_milliseconds else "seconds")
    return f"{text}Z" if field.format == "rfc3339" else text


def _token(field: Field, value: Any) -> Any:
    """Return the value as the message has it."""
    if field.kind is Kind.DECIMAL:
        amount = Decimal(value)
        return f"{amount:f}" if field.json == "string" else amount
    if field.kind is Kind.INTEGER or field.format == "epoch_ms":
        return str(int(value)) if field.json == "string" else int(value)
    return value


def _choices(field: Field) -> tuple[Any, ...]:
    return field.values or field.examples


def _source(field: Field) -> _Source:
    """Return the function that draws a value of the field."""
    is_customer = field.name == "customer_id"
    numbers = CUSTOMER_IDS if is_customer else range(1, 100)
    if field.kind is Kind.JSON:
        documents = [json.loads(str(text)) for text in field.examples] or [{}]
        return lambda random, _: random.choice(documents)
    if choices := _choices(field):
        return lambda random, _: random.choice(choices)
    if field.kind is Kind.TIMESTAMP:
        return lambda _, now: time_token(field, now)
    if field.kind is Kind.BOOLEAN:
        return lambda random, _: random.random() < 0.5
    if field.kind is Kind.STRING:
        return partial(_draw_text, field, "C" if is_customer else field.name, numbers)
    unit = field.unit if field.kind is Kind.DECIMAL else Decimal(1)
    lowest, highest = (int(_clamp(field, Decimal(end)) / unit) for end in (numbers.start, numbers.stop - 1))
    return lambda random, _: random.randint(lowest, highest) * unit


def _draw_text(field: Field, prefix: str, numbers: range, random: Random, _: float) -> str:
    return f"{prefix}-{random.choice(numbers)}"[-field.max_length :].rjust(field.min_length, "x")


def _clamp(field: Field, number: Decimal) -> Decimal:
    return min(max(number, field.lowest), field.highest)


def _offers(contract: Contract) -> list[_Offer]:
    """Return the products and quantities that the contract accepts; all, if it accepts none."""
    price, quantity, total = (contract.by_name[name] for name in ("unit_price", "quantity", "total_price"))
    names = [contract.by_name[name] for name in ("product_name", "product_category")]
    amounts = (
        {int(_clamp(quantity, Decimal(amount))) for amount in QUANTITIES}
        if quantity.path
        else {int(str(quantity.default))}
    )
    offers, accepted = [], []
    for product in PRODUCTS:
        ends = (product.lowest_cents, product.highest_cents)
        cents = [int(_clamp(price, Decimal(end).scaleb(-2)) * 100) for end in ends]
        if not price.path:
            cents = [int(Decimal(str(price.default)) * 100)] * 2
        for amount in sorted(amounts):
            lowest, highest = cents
            if amount > 0:
                lowest = max(lowest, -(int(total.lowest * -100) // amount))
                highest = min(highest, int(total.highest * 100) // amount)
            offers.append(_Offer(product, amount, lowest, highest))
            texts = zip(names, (product.name, product.category), strict=True)
            if lowest <= highest and all(_choices(field) or _is_valid(field, text) for field, text in texts):
                accepted.append(offers[-1])
    return accepted or offers


def _is_valid(field: Field, text: str) -> bool:
    try:
        default_value(msgspec.structs.replace(field, default=text))
    except RecordRejected:
        return not field.path
    return True
