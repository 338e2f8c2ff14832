"""The exact path: checks one message against the contract step by step and names the reason of a rejection."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any

from orderflow.contract.definition import DEFAULT, STANDARD_FIELDS, Contract, Field, KeyTree, Kind, Order, Reason
from orderflow.contract.field_reader import CHECKS, READERS, default_value
from orderflow.contract.message_json import compact_json, described_type, parse_object, quoted
from orderflow.errors import RecordRejected

# Returns a clause that names the value of the order outside the accepted ranges; empty if there is none.
RangeCheck = Callable[[Order], str]

_TOTAL = STANDARD_FIELDS.index("total_price")  # behind unit_price and quantity
_MISSING = object()


def decode(value: bytes | None, contract: Contract = DEFAULT, range_check: RangeCheck | None = None) -> Order:
    """Decode one message value.

    Raises RecordRejected with the reason, and a sentence that describes the error.
    """
    order, _ = read_exactly(value, contract, range_check)
    return order


def read_exactly(
    value: bytes | None, contract: Contract = DEFAULT, range_check: RangeCheck | None = None
) -> tuple[Order, Sequence[str]]:
    """Decode one message value. Return the order, and the names of the unknown fields that are not stored.

    Raises RecordRejected.
    """
    message = parse_object(value, keeps_spelling=contract.has_json_column)
    values = _read_fields(message, contract)
    custom_values, unknown_names = values[len(STANDARD_FIELDS) :], []
    unknown_fields = _unknown_fields(message, contract.key_tree)
    if contract.unknown_fields == "keep":
        subject = "a field that the contract does not name"
        custom_values.append(compact_json(subject, unknown_fields) if unknown_fields else None)
    else:
        unknown_names = [*_unknown_names(unknown_fields, contract.key_tree)]
    if unknown_names and contract.unknown_fields == "reject":
        raise RecordRejected(Reason.UNKNOWN_FIELD, f"{quoted(unknown_names[0])} is not a field of the contract")
    order = Order(*values[: len(STANDARD_FIELDS)], _with_driver_types(contract, custom_values))  # type: ignore[call-arg]
    if range_check and (outside := range_check(order)):
        raise RecordRejected(Reason.OUTSIDE_RANGES, f"{outside} (ORDER_RANGES=enforce)")
    return order, unknown_names


def _read_fields(message: dict[str, Any], contract: Contract) -> list[Any]:
    """Find the tokens of all fields, then read all, then check all. Return the values.

    The first error in this order is the reason of a rejection.
    """
    tokens = [_find_token(message, field) for field in contract.fields]
    if contract.total == "computed":
        tokens[_TOTAL] = _MISSING
    values = [
        _MISSING if token is _MISSING else READERS[field.kind](field, token)
        for field, token in zip(contract.fields, tokens, strict=True)
    ]
    for index, field in enumerate(contract.fields):
        if values[index] is _MISSING:
            values[index] = default_value(field)
        elif check := CHECKS.get(field.kind):
            values[index] = check(field, values[index])
    price, quantity, total = values[_TOTAL - 2 : _TOTAL + 1]
    if contract.total == "computed":
        values[_TOTAL] = _computed_total(contract.fields[_TOTAL], price, quantity)
    elif contract.total == "checked" and price * quantity != total:
        raise RecordRejected(
            Reason.WRONG_TOTAL, f"total_price is {total}, but {price} × {quantity} = {price * quantity}"
        )
    return values


def _computed_total(field: Field, price: Decimal, quantity: int) -> Decimal:
    total = price * quantity
    if not field.lowest <= total <= field.highest:
        raise RecordRejected(
            Reason.OUT_OF_RANGE, f"unit_price × quantity is {total}, not from {field.minimum} to {field.maximum}"
        )
    return total


def _with_driver_types(contract: Contract, custom_values: list[Any]) -> tuple[object, ...]:
    """Return the values of the custom columns with the types that a database driver returns."""
    return tuple(
        datetime.fromisoformat(value) if field.kind is Kind.TIMESTAMP and value is not None else value
        for field, value in zip(contract.custom_columns, custom_values, strict=True)
    )


def _find_token(message: dict[str, Any], field: Field) -> Any:
    """Return the field's token in the message; _MISSING if the field is optional, and missing or null."""
    token: Any = message
    for depth, key in enumerate(field.path):
        if type(token) is not dict:
            object_key = ".".join(field.path[:depth])
            raise RecordRejected(Reason.WRONG_TYPE, f"{object_key} is {described_type(token)}, not an object")
        parent, token = token, token.get(key, _MISSING)
        if token is None or token is _MISSING:
            if not field.required:
                return _MISSING
            dotted_key = ".".join(field.path[: depth + 1])
            if token is None:
                raise RecordRejected(Reason.NULL_FIELD, f"{dotted_key} is null")
            raise RecordRejected(Reason.MISSING_FIELD, f"{dotted_key} is missing{_similar_key_hint(key, parent)}")
    return token if field.path else _MISSING


def _similar_key_hint(missing_key: str, fields: dict[str, Any]) -> str:
    similar = next((key for key in fields if key.strip().lower() == missing_key.lower()), None)
    return f"; the key {quoted(similar)} is not the same name" if similar else ""


def _unknown_fields(message: dict[str, Any], keys: KeyTree) -> dict[str, Any]:
    """Return the part of the message that no field reads."""
    unknown: dict[str, Any] = {}
    for key, value in message.items():
        if key not in keys:
            unknown[key] = value
        elif (inner_keys := keys[key]) and type(value) is dict and (inner := _unknown_fields(value, inner_keys)):
            unknown[key] = inner
    return unknown


def _unknown_names(unknown_fields: dict[str, Any], keys: KeyTree) -> Iterator[str]:
    for key, value in unknown_fields.items():
        if inner_keys := keys.get(key):
            yield from (f"{key}.{name}" for name in _unknown_names(value, inner_keys))
        else:
            yield key
