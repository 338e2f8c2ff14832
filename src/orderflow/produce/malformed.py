"""Ways in which a message can be wrong, each made from the bytes of a good one."""

from __future__ import annotations

import re
from collections.abc import Callable

Kind = Callable[[bytes], bytes | None]


def truncated(message: bytes) -> bytes:
    """The first half, as after a connection that broke."""
    return message[: len(message) // 2]


def conflict(message: bytes) -> bytes:
    """A sound order that differs from the one stored under its order_id: only the table can tell."""
    customer = b"50001" if b'"customer_id": 50000,' in message else b"50000"
    return _replaced(message, "customer_id", customer)


def _replaced(message: bytes, field: str, token: bytes) -> bytes:
    return token.join(re.split(rb'(?<="%b": )(?:"[^"]*"|[^,}]*)' % field.encode(), message, maxsplit=1))


def _with(field: str, token: bytes) -> Kind:
    """The field's value replaced by `token`, as it stands."""
    return lambda message: _replaced(message, field, token)


def _name(text: bytes) -> Kind:
    return _with("product_name", b'"' + text + b'"')


def _timestamp(text: bytes) -> Kind:
    return _with("order_timestamp", b'"' + text + b'"')


KINDS: dict[str, Kind] = {
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
    "name of another type": _with("product_name", b"4711"),
    "array": lambda message: b"[" + message + b"]",
    "string": lambda message: b'"' + message.replace(b'"', b'\\"') + b'"',
    "nested too deeply": lambda message: message[:-1] + b', "more": ' + b"[" * 10_000,
    "single quotes": lambda message: message.replace(b'"', b"'"),
    "trailing comma": lambda message: message[:-1] + b",}",
    "duplicate key": lambda message: message[:-1] + b', "quantity": 1}',
    "wrong case": lambda message: message.replace(b'"customer_id"', b'"Customer_ID"'),
    "missing field": lambda message: message.replace(b'"quantity"', b'"amount"'),
    "null field": _with("product_category", b"null"),
    "quoted number": _with("quantity", b'"2"'),
    "decimal quantity": _with("quantity", b"2.0"),
    "boolean quantity": _with("quantity", b"true"),
    "quantity in words": _with("quantity", b'"two"'),
    "zero quantity": _with("quantity", b"0"),
    "overflowing quantity": _with("quantity", b"2147483648"),
    "negative customer": _with("customer_id", b"-1"),
    "zero price": _with("unit_price", b"0.00"),
    "negative price": _with("unit_price", b"-19.99"),
    "three decimals": _with("unit_price", b"19.999"),
    "decimal comma": _with("unit_price", b'"19,99"'),
    "overflowing price": _with("unit_price", b"100000000.00"),
    "NaN": _with("unit_price", b"NaN"),
    "infinite total": _with("total_price", b"Infinity"),
    "wrong total": _with("total_price", b"0.01"),
    "impossible date": _timestamp(b"2025-02-30T12:00:00"),
    "impossible time": _timestamp(b"2025-01-15T24:00:00"),
    "time with zone": _timestamp(b"2025-01-15T14:30:45+02:00"),
    "time with fraction": _timestamp(b"2025-01-15T14:30:45.123"),
    "time as number": _with("order_timestamp", b"1736951445"),
    "order_id in lower case": _with("order_id", b'"order-000001"'),
    "order_id too short": _with("order_id", b'"ORDER-1"'),
    "order_id too long": _with("order_id", b'"ORDER-%b"' % (b"9" * 45)),
    "conflict": conflict,
}
