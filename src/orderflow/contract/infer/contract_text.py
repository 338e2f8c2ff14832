"""Writes the tables of a contract file for the chosen keys, with comments for the person who checks it."""

from __future__ import annotations

from collections.abc import Iterator

from orderflow.contract import contract_file
from orderflow.contract.definition import STANDARD_FIELDS
from orderflow.contract.infer.custom_types import type_lines
from orderflow.contract.infer.field_names import Path, column_name
from orderflow.contract.infer.field_values import FORMS, LINES
from orderflow.contract.infer.key_choice import MONEY, KeyChoice
from orderflow.contract.infer.toml_text import comment, shortened_json, toml_key

_HINTS = {
    "order_id": ['key = "…"   # the unique id of an order', "pattern = '[0-9]{1,20}'"],
    "customer_id": ['key = "…"', 'type = "string"   # or "integer"'],
    "order_timestamp": ['key = "…"', 'format = "rfc3339"   # or "utc", "epoch_ms"'],
    "product_name": ['key = "…"', "or, if an order has no product or several:"],
    "product_category": ['key = "…"', "or, if orders have no category:"],
    "unit_price": ['key = "…"   # with quantity fixed = 1, perhaps the total of the order'],
    "quantity": ['key = "…"', "or, if an order has no quantity or several:"],
}
FIXED = {"product_name": '"order"', "product_category": '"all"', "quantity": "1"}


def contract_lines(choice: KeyChoice, most: int) -> Iterator[str]:
    """Yield the lines of the contract file. `most` characters of a text are stored in the row."""
    custom_paths = choice.custom_paths
    too_many = max(0, len(custom_paths) - contract_file.MAX_CUSTOM_FIELDS)
    unknown = "keep" if too_many else "ignore"
    yield f'unknown_fields = "{unknown}"   # fields that this file does not name: "ignore", "keep" or "reject"'
    if choice.skipped_count or too_many:
        yield comment(f"{choice.skipped_count + too_many:,} keys cannot be custom fields.")
    for name in STANDARD_FIELDS:
        yield ""
        yield from _found(choice, name) if name in choice.chosen else _not_found(choice, name)
    names: set[str] = set()
    for path in custom_paths[: contract_file.MAX_CUSTOM_FIELDS]:
        yield ""
        yield from _custom_field(choice, path, column_name(path, names), most)


def _not_found(choice: KeyChoice, name: str) -> Iterator[str]:
    if name == "total_price":
        yield "[total_price]"
        yield 'total = "computed"   # not found: unit_price × quantity'
        return
    yield f"# [{name}]   # not found"
    for path in choice.candidates[name][:3]:
        wrong = [value for value in choice.known(path) if not FORMS[name](value)]
        shown = f", such as {shortened_json(wrong[0])}" if wrong else ""
        yield comment(f"{toml_key(path)} has the name, but not the values{shown}.")
    yield from (f"# {hint}" for hint in _HINTS[name])
    if name in FIXED:
        yield f"# fixed = {FIXED[name]}"


def _found(choice: KeyChoice, name: str) -> Iterator[str]:
    path = choice.chosen[name]
    known, lacking = choice.fitting(name, path), choice.count - len(choice.known(path))
    lines = [f"key = {toml_key(path)}"] if path != (name,) else []
    lines += LINES[name](name, known, lacking)
    if name == "total_price":
        lines += _total(choice, lacking)
    yield f"[{name}]"
    yield from lines or ["# as in the default contract"]
    if lacking and name not in ("customer_id", "product_name", "product_category", "total_price"):
        yield comment(f"Missing or null in {lacking:,} of {choice.count:,} samples, which are rejected.")
    others = [
        other
        for other in choice.candidates[name]
        if other != path and other not in choice.chosen.values() and choice.fitting(name, other)
    ]
    if others:
        yield comment("also possible: " + ", ".join(f"key = {toml_key(other)}" for other in others[:5]))
    if name == "order_id" and choice.repeats(path):
        yield comment("Some samples have the same order_id: only the first of them would be stored.")


def _total(choice: KeyChoice, lacking: int) -> Iterator[str]:
    paths = [choice.chosen.get(name) for name in MONEY]
    differing = choice.differing(paths, choice.count) if None not in paths else []
    if differing:
        index, price, quantity, total = differing[0]
        yield 'total = "as_sent"   # or "checked", "computed": unit_price × quantity'
        yield comment(
            f"Not unit_price × quantity in {len(differing):,} of {choice.count:,} samples; sample {index + 1:,}:"
            f" {price} × {quantity} is not {total}."
        )
    elif lacking:
        yield f'total = "computed"   # missing or null in {lacking:,} of {choice.count:,} samples'
    elif None in paths:
        yield 'total = "as_sent"   # "checked" demands unit_price × quantity'
    else:
        yield 'total = "checked"   # unit_price × quantity in all samples'


def _custom_field(choice: KeyChoice, path: Path, name: str, most: int) -> Iterator[str]:
    known = choice.known(path)
    if not known and choice.are_cells:
        yield from (f"[fields.{name}]", f"key = {toml_key(path)}", 'type = "string"')
        yield "required = false   # empty in all samples"
        return
    if not known:
        yield f"# [fields.{name}]   # null in all samples: its type is unknown"
        yield f"# key = {toml_key(path)}"
        return
    yield f"[fields.{name}]"
    if path != (name,):
        yield f"key = {toml_key(path)}"
    yield from type_lines(known, path, most)
    if lacking := choice.count - len(known):
        yield f"required = false   # missing or null in {lacking:,} of {choice.count:,} samples"
