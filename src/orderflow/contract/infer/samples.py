"""Samples of orders: messages, or rows of a CSV file, as objects."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from decimal import Decimal
from typing import Any, NamedTuple

from orderflow.contract.cells import converter
from orderflow.contract.definition import Contract
from orderflow.contract.infer.value_types import INTEGER, NUMBER
from orderflow.plurals import counted

USUAL = 0.9  # share of the values of a key or column that decide; the others may be mistakes
_PADDED = re.compile(r"0[0-9]+")  # digits that are no number, such as a postal code


class Samples(NamedTuple):
    """Samples, decoded. `messages` returns them as messages for a contract."""

    objects: Sequence[dict[str, Any]]
    messages: Callable[[Contract], Sequence[bytes]]
    skipped: Sequence[tuple[int, str]]  # index of each sample that cannot be used, and a clause with the reason
    are_cells: bool = False


def of_json(values: Sequence[bytes]) -> Samples:
    """Return the samples of these messages."""
    objects, usable, skipped = [], [], []
    for index, value in enumerate(values):
        try:
            objects.append(_decode(value))
        except ValueError as error:
            skipped.append((index, str(error)))
        else:
            usable.append(value)
    return Samples(objects, lambda _: usable, skipped)


def _decode(value: bytes) -> dict[str, Any]:
    """Return the object of a message. Raises ValueError with the reason, as a clause."""
    try:
        message = json.loads(
            value.decode(), parse_float=Decimal, parse_int=_parse_integer, parse_constant=_reject_constant
        )
    except UnicodeDecodeError:
        raise ValueError("it is not UTF-8") from None
    except (ValueError, ArithmeticError, RecursionError) as error:
        raise ValueError(f"it is not JSON: {error}") from None
    if not isinstance(message, dict):
        raise ValueError("it is not a JSON object")
    return message


def _parse_integer(digits: str) -> int | Decimal:
    return int(digits) if len(digits) <= 20 else Decimal(digits)


def _reject_constant(name: str) -> None:
    raise ValueError(name)


def of_cells(header: Sequence[str], rows: Sequence[Sequence[str]]) -> Samples:
    """Return the samples of the rows of a CSV file. Its cells' spelling decides a column's type."""
    usable = [row for row in rows if len(row) == len(header)]
    skipped = [
        (index, f"it has {counted(len(row), 'cell')}, and the header has {len(header)}")
        for index, row in enumerate(rows)
        if len(row) != len(header)
    ]
    readers = [_reader([cell for cell in column if cell]) for column in zip(*usable, strict=True)]
    objects = [
        {name: read(cell) if cell else None for name, read, cell in zip(header, readers, row, strict=True)}
        for row in usable
    ]
    return Samples(objects, lambda contract: [*map(converter(header, contract), usable)], skipped, are_cells=True)


def _reader(cells: Sequence[str]) -> Callable[[str], Any]:
    number_count = sum(bool(NUMBER.fullmatch(cell)) for cell in cells)
    if number_count >= USUAL * len(cells) and not any(_PADDED.fullmatch(cell) for cell in cells):
        return _read_number
    if all(cell in ("true", "false") for cell in cells):
        return "true".__eq__
    return json.loads if all(cell[0] in "[{" and _is_json(cell) for cell in cells) else str


def _read_number(cell: str) -> int | Decimal | str:
    if not NUMBER.fullmatch(cell):
        return cell
    return int(cell) if INTEGER.fullmatch(cell) else Decimal(cell)


def _is_json(cell: str) -> bool:
    try:
        json.loads(cell)
    except (ValueError, RecursionError):
        return False
    return True
