"""The differences between two contracts, and whether existing tables can follow them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

import msgspec

from orderflow.contract.definition import OTHER_FIELDS, Contract, Field, Kind

_SQL_TYPE = re.compile(r"(\w+)(?:\((\d+)(?:,(\d+))?\))?")
_INTEGERS = ("TINYINT", "INT", "BIGINT")


class ContractChange(NamedTuple):
    """A difference in one field, or in the whole contract. If the tables cannot follow it, `fix` says what to do."""

    description: str
    fix: str = ""


def changes(old: Contract, new: Contract) -> Iterator[ContractChange]:
    """Yield the changes, in the order of the columns."""
    for name in old.column_names:
        if name not in new.by_name:
            yield ContractChange(f"column {name} is no longer in the contract", _fix_for_removal(name))
    for field in new.columns:
        if (old_field := old.by_name.get(field.name)) is None:
            yield ContractChange(f"new column {field.name} {field.sql_definition}")
        else:
            yield from _field_changes(old_field, field)
    if old.total != new.total:
        yield ContractChange(f"total_price is {new.total}, no longer {old.total}")
    if old.unknown_fields != new.unknown_fields:
        yield ContractChange(f"unknown fields: {new.unknown_fields}, no longer {old.unknown_fields}")


def _fix_for_removal(name: str) -> str:
    new_table = "To drop or rename a column, store the orders in a new table: set another MYSQL_TABLE."
    if name == OTHER_FIELDS:
        return f'Keep unknown_fields = "keep". {new_table}'
    return (
        "Keep the table of each removed field in the contract file, with required = false: its column stays, and is"
        f" NULL in new orders. {new_table}"
    )


def _field_changes(old: Field, new: Field) -> Iterator[ContractChange]:
    if old.sql_type != new.sql_type:
        if _is_wider(old, new):
            yield ContractChange(f"column {new.name} becomes {new.sql_type}, from {old.sql_type}")
        else:
            yield ContractChange(
                f"column {new.name} would change from {old.sql_type} to {new.sql_type}, which may not hold all values",
                f"Keep the type {old.sql_type} of {new.name}; its pattern, values and limits may be stricter."
                " Or store the orders in a new table: set another MYSQL_TABLE.",
            )
    changed_attributes = [
        attribute
        for attribute in old.__struct_fields__
        if getattr(old, attribute) != getattr(new, attribute) and attribute not in ("examples", "comment", "meaning")
    ]
    if changed_attributes:
        differences = ", ".join(
            f"{attribute} {_text_of(attribute, new)}, was {_text_of(attribute, old)}"
            for attribute in changed_attributes
        )
        yield ContractChange(f"{new.name}: {differences}")


def _text_of(attribute: str, field: Field) -> str:
    return field.key or "none" if attribute == "path" else msgspec.json.encode(getattr(field, attribute)).decode()


def _is_wider(old: Field, new: Field) -> bool:
    """Whether the new type holds every value of the old one, so that ALTER TABLE changes none."""
    if old.kind is not new.kind and {old.kind, new.kind} != {Kind.STRING, Kind.JSON}:
        return False
    old_type, new_type = _SQL_TYPE.match(old.sql_type), _SQL_TYPE.match(new.sql_type)
    assert old_type and new_type
    if old.kind is Kind.INTEGER:
        return _INTEGERS.index(new_type[1]) >= _INTEGERS.index(old_type[1])
    if old_type[1] != new_type[1]:
        return new_type[1] == "MEDIUMTEXT"
    (old_size, old_scale), (new_size, new_scale) = (
        [int(digits or 0) for digits in sql_type.group(2, 3)] for sql_type in (old_type, new_type)
    )
    if old.kind is Kind.DECIMAL:
        return new_scale >= old_scale and new_size - new_scale >= old_size - old_scale
    return new_size >= old_size
