"""Writes the tables of a contract file for the chosen keys, with comments for the person who checks it."""

from __future__ import annotations

from collections.abc import Iterator

from orderflow.contract import contract_file
from orderflow.contract.definition import STANDARD_FIELDS
from orderflow.contract.infer.custom_types import type_lines
from orderflow.contract.infer.field_names import Path, column_name
from orderflow.contract.infer.field_values import FORM_OF_VALUE, KEYS_FOR_VALUES
from orderflow.contract.infer.key_choice import MONEY, KeyChoice
from orderflow.contract.infer.toml_text import comment, shortened_json, toml_key
from orderflow.plurals import counted

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


def contract_lines(choice: KeyChoice, row_length: int) -> Iterator[str]:
    """Yield the lines of the contract file. Texts of up to `row_length` characters are stored in the row."""
    custom_paths = choice.custom_paths
    surplus_count = max(0, len(custom_paths) - contract_file.MAX_CUSTOM_FIELDS)
    unknown = "keep" if surplus_count else "ignore"
    yield f'unknown_fields = "{unknown}"   # fields that this file does not name: "ignore", "keep" or "reject"'
    if choice.skipped_count or surplus_count:
        yield comment(f"Keys that cannot be custom fields: {choice.skipped_count + surplus_count:,}.")
    for name in STANDARD_FIELDS:
        yield ""
        yield from _chosen_field(choice, name) if name in choice.chosen else _missing_field(choice, name)
    names: set[str] = set()
    for path in custom_paths[: contract_file.MAX_CUSTOM_FIELDS]:
        yield ""
        yield from _custom_field(choice, path, column_name(path, names), row_length)


def _missing_field(choice: KeyChoice, name: str) -> Iterator[str]:
    if name == "total_price":
        yield "[total_price]"
        yield 'total = "computed"   # not found: unit_price × quantity'
        return
    yield f"# [{name}]   # not found"
    for path in choice.candidates[name][:3]:
        unfit = [value for value in choice.values(path) if not FORM_OF_VALUE[name](value)]
        example = f", such as {shortened_json(unfit[0])}" if unfit else ""
        yield comment(f"{toml_key(path)} has the name, but not the values{example}.")
    yield from (f"# {hint}" for hint in _HINTS[name])
    if name in FIXED:
        yield f"# fixed = {FIXED[name]}"


def _chosen_field(choice: KeyChoice, name: str) -> Iterator[str]:
    path = choice.chosen[name]
    values, missing_count = choice.fitting(name, path), choice.count - len(choice.values(path))
    lines = [f"key = {toml_key(path)}"] if path != (name,) else []
    lines += KEYS_FOR_VALUES[name](name, values, missing_count)
    if name == "total_price":
        lines += _total(choice, missing_count)
    yield f"[{name}]"
    yield from lines or ["# as in the default contract"]
    if missing_count and name not in ("customer_id", "product_name", "product_category", "total_price"):
        yield comment(f"Rejected, because it is missing or null: {_share(choice, missing_count)}.")
    alternatives = [
        candidate
        for candidate in choice.candidates[name]
        if candidate != path and candidate not in choice.chosen.values() and choice.fitting(name, candidate)
    ]
    if alternatives:
        yield comment("also possible: " + ", ".join(f"key = {toml_key(candidate)}" for candidate in alternatives[:5]))
    if name == "order_id" and choice.repeats(path):
        yield comment("Some samples have the same order_id: only the first of them would be stored.")


def _total(choice: KeyChoice, missing_count: int) -> Iterator[str]:
    paths = [choice.chosen.get(name) for name in MONEY]
    wrong_totals = choice.wrong_totals(paths, choice.count) if None not in paths else []
    if wrong_totals:
        index, price, quantity, total = wrong_totals[0]
        yield 'total = "as_sent"   # or "checked", "computed": unit_price × quantity'
        yield comment(
            f"Not unit_price × quantity in {_share(choice, len(wrong_totals))}; sample {index + 1:,}:"
            f" {price} × {quantity} is not {total}."
        )
    elif missing_count:
        yield f'total = "computed"   # missing or null in {_share(choice, missing_count)}'
    elif None in paths:
        yield 'total = "as_sent"   # "checked" requires unit_price × quantity'
    else:
        yield 'total = "checked"   # unit_price × quantity in all samples'


def _custom_field(choice: KeyChoice, path: Path, name: str, row_length: int) -> Iterator[str]:
    values = choice.values(path)
    if not values and choice.are_cells:
        yield from (f"[fields.{name}]", f"key = {toml_key(path)}", 'type = "string"')
        yield "required = false   # empty in all samples"
        return
    if not values:
        yield f"# [fields.{name}]   # null in all samples: its type is unknown"
        yield f"# key = {toml_key(path)}"
        return
    yield f"[fields.{name}]"
    if path != (name,):
        yield f"key = {toml_key(path)}"
    yield from type_lines(values, path, row_length)
    if missing_count := choice.count - len(values):
        yield f"required = false   # missing or null in {_share(choice, missing_count)}"


def _share(choice: KeyChoice, count: int) -> str:
    return f"{count:,} of {counted(choice.count, 'sample')}"
