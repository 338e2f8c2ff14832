"""Order ids: how they are made from numbers, and which texts are order ids of a contract."""

from __future__ import annotations

import re

from orderflow.contract.definition import PRINTABLE, Contract, Kind
from orderflow.contract.patterns import matcher

_LAST_DIGITS = re.compile(r"(.*?)([0-9]+)([^0-9]*)", re.DOTALL)
_UUID = re.compile(r"((?:[0-9a-f]+-){4})([0-9a-f]{12})()", re.IGNORECASE)
_INTEGER = re.compile(r"0|-?[1-9][0-9]{0,18}")
_MAX_NUMBER_DIGITS = 44  # of a number in an id


class OrderIds:
    """The ids of a contract's orders.

    An id is the first example of order_id with its last digits replaced by the order's number, padded with zeros. In a
    UUID, the last 12 characters are replaced. Without an example, ids are like ORDER-000001.
    """

    def __init__(self, contract: Contract) -> None:
        self._field = field = contract.by_name["order_id"]
        example = str(field.examples[0]) if field.examples else "ORDER-000001"
        match = _UUID.fullmatch(example) or _LAST_DIGITS.fullmatch(example)
        prefix, digits, suffix = match.groups() if match else (example, "1", "")
        if field.kind is Kind.INTEGER:
            prefix, digits, suffix = "", "1", ""
        self._prefix, self._digits, self._suffix = prefix, len(digits), suffix
        number = f"([0-9]{{{self._digits},{max(self._digits, _MAX_NUMBER_DIGITS)}}})"
        self._number = re.compile((re.escape(prefix) + number + re.escape(suffix)).encode())

    @property
    def template(self) -> str:
        """The ids as a printf format: ORDER-%06d."""
        return f"{self._prefix}%0{self._digits}d{self._suffix}"

    def make(self, number: int) -> str:
        """Return the id of the order with this number. It is not checked against the contract."""
        return f"{self._prefix}{number:0{self._digits}d}{self._suffix}"

    def number_of(self, order_id: bytes) -> int | None:
        """Return the number for which `make` returns this id; None if there is none."""
        match = self._number.fullmatch(order_id)
        return int(match[1]) if match else None

    def is_valid(self, text: str) -> bool:
        """Whether an order of the contract may have this id."""
        field = self._field
        if field.kind is Kind.INTEGER:
            return bool(_INTEGER.fullmatch(text)) and field.lowest <= int(text) <= field.highest
        return (
            len(text) <= field.max_length
            and PRINTABLE.fullmatch(text) is not None
            and (not field.pattern or matcher(field.pattern)(text))
            and (not field.values or text in field.values)
        )
