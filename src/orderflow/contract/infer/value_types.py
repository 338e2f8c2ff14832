"""The types of values, and the keys of a contract file that describe numbers and times."""

from __future__ import annotations

import re
from collections.abc import Sequence
from decimal import Decimal
from typing import Any

from orderflow.contract.definition import BIGINT_MAX, INT_MAX, LAST_MILLISECOND

INTEGER = re.compile(r"-?(?:0|[1-9][0-9]{0,18})")
NUMBER = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?")
_UTC = re.compile(r"\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}(?:\.(\d{1,9}))?", re.ASCII)
_RFC3339 = re.compile(r"\d{4}-\d{2}-\d{2}[Tt ]\d{2}:\d{2}:\d{2}(?:\.(\d{1,9}))?(?:[Zz]|[+-]\d{2}:\d{2})", re.ASCII)
_EARLIEST = 100_000_000_000  # milliseconds, of the year 1973: smaller numbers are no times in milliseconds


def type_name(value: Any) -> str:
    names = {bool: "boolean", int: "integer", Decimal: "decimal", str: "string", list: "array", dict: "object"}
    return names[type(value)]


def as_number(value: Any) -> Decimal | None:
    if type(value) in (int, Decimal) or (isinstance(value, str) and NUMBER.fullmatch(value)):
        return Decimal(value)
    return None


def time_lines(values: Sequence[Any]) -> list[str] | None:
    """Return the keys that describe these times; None if they are no times."""
    if all(type(value) is int for value in values):
        return ['format = "epoch_ms"'] if all(_EARLIEST <= value <= LAST_MILLISECOND for value in values) else None
    if not all(isinstance(value, str) for value in values):
        return None
    for format_, regex, default_digits in (("utc", _UTC, 0), ("rfc3339", _RFC3339, 3)):
        matches = [regex.fullmatch(value) for value in values]
        if all(matches):
            digits = max(len((match[1] or "").rstrip("0")) for match in matches if match)
            if digits > 6:
                return None
            return [f'format = "{format_}"'] + ([f"digits = {digits}"] if digits > default_digits else [])
    return None


def integer_lines(values: Sequence[int]) -> list[str] | None:
    """Return the limits of these integers: none if an INT column has ample room; None if BIGINT cannot hold them."""
    lowest, highest = min(values), max(values)
    if lowest < -BIGINT_MAX or highest > BIGINT_MAX:
        return None
    lines = [f"minimum = {-BIGINT_MAX}"] if lowest < -INT_MAX // 10 else []
    return lines + ([f"maximum = {BIGINT_MAX}"] if highest > INT_MAX // 10 else [])


def decimal_lines(values: Sequence[int | Decimal]) -> list[str] | None:
    """Return precision and scale of these numbers, with room for larger ones; None if no column can hold them."""
    numbers = [Decimal(value) for value in values]
    if any(abs(number.adjusted()) > 28 for number in numbers if number):
        return None
    scale = max(2, *(-int(number.normalize().as_tuple().exponent) for number in numbers))
    whole_digits = max(1, *(number.adjusted() + 1 for number in numbers if number), 1)
    if scale > 18 or whole_digits + scale > 28:
        return None
    precision = max(10, min(whole_digits + 3 + scale, 18), whole_digits + scale)
    lines = [f"precision = {precision}", f"scale = {scale}"]
    if min(numbers) < 0:
        lines.append(f"minimum = -{Decimal(10 ** (precision - scale) - 1):f}")
    return lines
