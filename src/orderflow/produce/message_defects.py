"""The defects of the bad messages that the producer sends on request."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from decimal import Decimal
from functools import partial
from typing import Any

from orderflow.contract.definition import Contract
from orderflow.produce.contract_orders import encode, put, time_token

# Makes a bad value from the value of a good message.
Defect = Callable[[bytes], bytes | None]


def truncated(message: bytes) -> bytes:
    """The first half, as after a broken connection."""
    return message[: len(message) // 2]


def conflict(message: bytes) -> bytes:
    """A valid order with the order_id of another one but different content; detecting it needs the table."""
    customer = b"50001" if b'"customer_id": 50000,' in message else b"50000"
    return _replace(message, "customer_id", customer)


def _replace(message: bytes, field: str, token: bytes) -> bytes:
    return token.join(re.split(rb'(?<="%b": )(?:"[^"]*"|[^,}]*)' % field.encode(), message, maxsplit=1))


def _field(field: str, token: bytes) -> Defect:
    """Replaces the field's JSON value by `token`."""
    return lambda message: _replace(message, field, token)


def _name(text: bytes) -> Defect:
    return _field("product_name", b'"' + text + b'"')


def _timestamp(text: bytes) -> Defect:
    return _field("order_timestamp", b'"' + text + b'"')


DEFECTS: dict[str, Defect] = {
    "null value": lambda message: None,
    "empty": lambda message: b"",
    "white space": lambda message: b" \r\n\t",
    "truncated": truncated,
    "trailing data": lambda message: message + b" #",
    "two documents": lambda message: message + message,
    "byte order mark": lambda message: b"\xef\xbb\xbf" + message,
    "UTF-16": lambda message: message.decode().encode("utf-16"),
    "invalid UTF-8": _name(b"Caf\xe9 Crema"),
    "control character": _name(b"Yoga\nMat"),
    "NUL": _name(b"Yoga\\u0000Mat"),
    "lone surrogate": _name(b"Yoga \\ud83d Mat"),
    "empty name": _name(b""),
    "too long name": _name(b"M" * 256),
    "name of another type": _field("product_name", b"4711"),
    "array": lambda message: b"[" + message + b"]",
    "string": lambda message: b'"' + message.replace(b'"', b'\\"') + b'"',
    "nested too deeply": lambda message: message[:-1] + b', "more": ' + b"[" * 10_000,
    "single quotes": lambda message: message.replace(b'"', b"'"),
    "trailing comma": lambda message: message[:-1] + b",}",
    "duplicate key": lambda message: message[:-1] + b', "quantity": 1}',
    "wrong case": lambda message: message.replace(b'"customer_id"', b'"Customer_ID"'),
    "missing field": lambda message: message.replace(b'"quantity"', b'"amount"'),
    "null field": _field("product_category", b"null"),
    "quoted number": _field("quantity", b'"2"'),
    "decimal quantity": _field("quantity", b"2.0"),
    "boolean quantity": _field("quantity", b"true"),
    "quantity in words": _field("quantity", b'"two"'),
    "zero quantity": _field("quantity", b"0"),
    "overflowing quantity": _field("quantity", b"2147483648"),
    "negative customer": _field("customer_id", b"-1"),
    "zero price": _field("unit_price", b"0.00"),
    "negative price": _field("unit_price", b"-19.99"),
    "three decimals": _field("unit_price", b"19.999"),
    "decimal comma": _field("unit_price", b'"19,99"'),
    "overflowing price": _field("unit_price", b"100000000.00"),
    "NaN": _field("unit_price", b"NaN"),
    "infinite total": _field("total_price", b"Infinity"),
    "wrong total": _field("total_price", b"0.01"),
    "impossible date": _timestamp(b"2025-02-30T12:00:00"),
    "impossible time": _timestamp(b"2025-01-15T24:00:00"),
    "time with zone": _timestamp(b"2025-01-15T14:30:45+02:00"),
    "time with fraction": _timestamp(b"2025-01-15T14:30:45.123"),
    "time as number": _field("order_timestamp", b"1736951445"),
    "order_id in lower case": _field("order_id", b'"order-000001"'),
    "order_id too short": _field("order_id", b'"ORDER-1"'),
    "order_id too long": _field("order_id", b'"ORDER-%b"' % (b"9" * 45)),
    "conflict": conflict,
}

# The defects that do not depend on the fields.
_ANY_JSON = (
    *("null value", "empty", "white space", "truncated", "trailing data", "two documents", "byte order mark", "UTF-16"),
    *("array", "string", "nested too deeply", "single quotes", "trailing comma"),
)
_OTHER_TIME = 946_684_800  # seconds since 1970, of the year 2000


def defects_of(contract: Contract) -> dict[str, Defect]:
    """Return the defects for orders of this contract, by name."""
    if contract.is_default:
        return DEFECTS
    order_id, timestamp = contract.by_name["order_id"], contract.by_name["order_timestamp"]
    return {name: DEFECTS[name] for name in _ANY_JSON} | {
        "invalid UTF-8": lambda message: message[:-1] + b', "more": "\xff"}',
        "duplicate key": _repeat_first_key,
        "missing field": partial(_without, order_id.path),
        "null field": partial(_with, order_id.path, None),
        "wrong type": partial(_with, order_id.path, []),
        "impossible date": partial(_with, timestamp.path, "2025-02-30T12:00:00"),
        "conflict": partial(_with, timestamp.path, time_token(timestamp, _OTHER_TIME)),
    }


def _repeat_first_key(message: bytes) -> bytes:
    key = next(iter(json.loads(message)))
    return message[:-1] + b", " + encode(key) + b": 1}"


def _with(path: tuple[str, ...], token: object, message: bytes) -> bytes:
    document = _remove(path, message)
    put(document, path, token)
    return encode(document)


def _without(path: tuple[str, ...], message: bytes) -> bytes:
    return encode(_remove(path, message))


def _remove(path: tuple[str, ...], message: bytes) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(message, parse_float=Decimal)
    parent = document
    for key in path[:-1]:
        parent = parent[key]
    del parent[path[-1]]
    return document
