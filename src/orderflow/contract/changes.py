"""What a new contract changes, compared with the one of the tables."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

import msgspec

from orderflow.contract.definition import OTHER_FIELDS, Contract, Field, Kind

_SIZES = re.compile(r"(\w+)(?:\((\d+)(?:,(\d+))?\))?")
_INTEGERS = ("TINYINT", "INT", "BIGINT")


class Change(NamedTuple):
    """A change of one field, or of the whole contract. `fix` is empty if the change is possible."""

    what: str
    fix: str = ""


def changes(old: Contract, new: Contract) -> Iterator[Change]:
    """Yield the changes, in the order of the columns."""
    for name in old.names:
        if name not in new.by_name:
            yield Change(f"column {name} is no longer in the contract", _way_to_remove(name))
    for field in new.columns:
        if (before := old.by_name.get(field.name)) is None:
            yield Change(f"new column {field.name} {field.column}")
        else:
            yield from _field_changes(before, field)
    if old.total != new.total:
        yield Change(f"total_price is {new.total}, no longer {old.total}")
    if old.unknown_fields != new.unknown_fields:
        yield Change(f"unknown fields: {new.unknown_fields}, no longer {old.unknown_fields}")


def _way_to_remove(name: str) -> str:
    other = "To drop the column or to rename it, store the orders in a new table: set another MYSQL_TABLE, and keep"
    if name == OTHER_FIELDS:
        return f'Keep unknown_fields = "keep". {other} the present one.'
    return f"Keep the table of such a field with required = false: its column stays, and is NULL. {other} this one."


def _field_changes(old: Field, new: Field) -> Iterator[Change]:
    if old.type != new.type:
        if _is_wider(old, new):
            yield Change(f"column {new.name} becomes {new.type}, from {old.type}")
        else:
            yield Change(
                f"column {new.name} would change from {old.type} to {new.type}, which may not hold all values",
                f"Keep the type {old.type} of {new.name}; its pattern, values and limits may be stricter."
                " Or store the orders in a new table: set another MYSQL_TABLE.",
            )
    rules = [
        name
        for name in old.__struct_fields__
        if getattr(old, name) != getattr(new, name) and name not in ("examples", "comment", "meaning")
    ]
    if rules:
        shown = ", ".join(f"{name} {_shown(name, new)}, was {_shown(name, old)}" for name in rules)
        yield Change(f"{new.name}: {shown}")


def _shown(name: str, field: Field) -> str:
    return field.key or "none" if name == "path" else msgspec.json.encode(getattr(field, name)).decode()


def _is_wider(old: Field, new: Field) -> bool:
    """Whether the new type holds every value of the old one, so that ALTER TABLE changes none."""
    if old.kind is not new.kind and {old.kind, new.kind} != {Kind.STRING, Kind.JSON}:
        return False
    before, after = _SIZES.match(old.type), _SIZES.match(new.type)
    assert before and after
    if old.kind is Kind.INTEGER:
        return _INTEGERS.index(after[1]) >= _INTEGERS.index(before[1])
    if before[1] != after[1]:
        return after[1] == "MEDIUMTEXT"
    sizes, wider = ([int(size or 0) for size in found.group(2, 3)] for found in (before, after))
    if old.kind is Kind.DECIMAL:
        return wider[1] >= sizes[1] and wider[0] - wider[1] >= sizes[0] - sizes[1]
    return wider[0] >= sizes[0]
