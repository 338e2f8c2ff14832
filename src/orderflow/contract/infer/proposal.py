"""Proposes a contract file, and counts the samples that it accepts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

from orderflow.contract import contract_file
from orderflow.contract.definition import MAX_VARCHAR, Contract
from orderflow.contract.exact_path import read_exactly
from orderflow.contract.infer.contract_text import FIXED, contract_lines
from orderflow.contract.infer.key_choice import KeyChoice
from orderflow.contract.infer.samples import Samples
from orderflow.contract.infer.toml_text import comment
from orderflow.errors import ContractInvalid, RecordRejected
from orderflow.plurals import counted


def infer(samples: Samples, name: str) -> str:
    """Return the text of a contract file; `name` is the samples' name in its comments."""
    choice = KeyChoice(samples)
    for row_length in (MAX_VARCHAR, 255, 100, 50):
        text = "\n".join(contract_lines(choice, row_length))
        try:
            comments = [*_opening_comments(samples, text, name, choice.missing)]
        except ContractInvalid as error:  # the row is too large: store the longer texts outside of it
            row_error = error
        else:
            return "\n".join(comments) + "\n\n" + text + "\n"
    raise row_error


def _opening_comments(samples: Samples, text: str, name: str, missing: Sequence[str]) -> Iterator[str]:
    contract = contract_file.read(text, name)
    values = samples.messages(contract)
    rejected = _rejections(values, contract)
    yield comment(f"Contract of the orders of {name}, by `orderflow contract infer`.")
    yield comment(f"It accepts {len(values) - len(rejected):,} of {counted(len(values), 'sample')}.")
    if samples.skipped:
        yield comment(f"Skipped, because they cannot be used: {len(samples.skipped):,} more.")
    if missing:
        yield comment(f"Not found, to be filled in below: {', '.join(missing)}.")
        if {*missing} <= FIXED.keys():
            fixed_tables = "".join(f"\n[{field}]\nfixed = {FIXED[field]}\n" for field in missing)
            contract = contract_file.read(text + fixed_tables, name)
            rejected = _rejections(samples.messages(contract), contract)
            yield comment(f"With the values of `fixed` below, it accepts {len(values) - len(rejected):,}.")
    for reason, count in Counter(error.reason for _, error in rejected).most_common(5):
        number, error = next((number, error) for number, error in rejected if error.reason == reason)
        yield comment(f"Rejected: {count:,} {reason}, for example sample {number:,}: {error.message}.")
    yield "# Check each table: this is a proposal from names and samples. docs/contract.md describes all keys."


def _rejections(values: Sequence[bytes], contract: Contract) -> list[tuple[int, RecordRejected]]:
    rejected = []
    for number, value in enumerate(values, 1):
        try:
            read_exactly(value, contract)
        except RecordRejected as error:
            rejected.append((number, error))
    return rejected
