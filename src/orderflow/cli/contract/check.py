"""`orderflow contract check`."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import msgspec
import typer

from orderflow.cli.contract import input_files
from orderflow.cli.text import safe, to_json
from orderflow.plurals import counted

if TYPE_CHECKING:
    from orderflow.contract.definition import Contract, Field

_BATCH_SIZE = 10_000  # samples
_MAX_BATCH_BYTES = 32 * 1024 * 1024
_LISTED = 3  # rejected samples of each reason
_TOTAL_RULES = {"checked": "equals unit_price × quantity exactly", "computed": "unit_price × quantity"}


class _RejectedSamples(msgspec.Struct):
    reason: str
    count: int
    first: list[tuple[str, str]]  # line or row, and detail


class _SampleResults(msgspec.Struct):
    accepted: int
    rejected: int
    messages_per_second: int  # of this machine
    reasons: list[_RejectedSamples]
    repeated_order_ids: int


def check(
    file_: Annotated[Path, typer.Argument(metavar="FILE", help="A contract file (TOML), see docs/contract.md.")],
    samples: Annotated[
        Path | None, typer.Argument(metavar="[SAMPLES]", help="Orders to try: a .jsonl, .ndjson or .csv file.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Check a contract file: its columns, which samples it accepts, and how fast they are read.

    The rate is measured for about a second: these samples, one process, this machine. The command connects to no
    server.

    Exit codes: 0 the file is valid and all samples are accepted; 1 some samples are rejected; 2 the file is not valid,
    or something cannot be read.

    Examples:

    - `orderflow contract check contract.toml`
    - `orderflow contract check contract.toml orders.jsonl`
    """
    from orderflow.contract import contract_file, native

    contract = contract_file.read(input_files.read_contract_text(file_), str(file_))
    exact_path_reason = (
        native.unsupported_reason(contract) if native.IS_COMPILED else "the C code of OrderFlow is not compiled here"
    )
    results = _try_samples(samples, contract) if samples else None
    if as_json:
        columns = [
            {"name": field.name, "type": _sql_type(field), "key": [*field.path], "rule": field.rule}
            for field in contract.columns
        ]
        print(to_json({"columns": columns, "exact_path_because": exact_path_reason or None, "samples": results}))
    else:
        for line in _lines(contract, exact_path_reason, results):
            print(safe(line))
    if results and results.rejected:
        raise typer.Exit(1)


def _try_samples(path: Path, contract: Contract) -> _SampleResults:
    """Read the samples with the contract."""
    from orderflow.contract import fast_path

    first_batch: list[bytes] = []
    by_reason: dict[str, _RejectedSamples] = {}
    accepted, order_ids = 0, set[str]()
    messages = input_files.read_messages(path, contract)
    while batch := [*islice(messages, _BATCH_SIZE)]:
        values = [value for _, value in batch]
        first_batch = first_batch or values
        decoded = fast_path.decode_values(values, contract)
        accepted += decoded.orders.num_rows
        order_ids.update(decoded.orders["order_id"].to_pylist())
        for index, error in decoded.rejected:
            rejected = by_reason.setdefault(error.reason, _RejectedSamples(error.reason, 0, []))
            rejected.count += 1
            if len(rejected.first) < _LISTED:
                rejected.first.append((batch[index][0], error.message))
    if not first_batch:
        raise input_files.no_samples_error(path)
    return _SampleResults(
        accepted=accepted,
        rejected=sum(rejected.count for rejected in by_reason.values()),
        messages_per_second=_rate(first_batch, contract),
        reasons=sorted(by_reason.values(), key=lambda rejected: -rejected.count),
        repeated_order_ids=accepted - len(order_ids),
    )


def _rate(values: Sequence[bytes], contract: Contract) -> int:
    """Measure how many of these messages this machine reads in a second."""
    from orderflow.contract import fast_path

    size = sum(map(len, values)) + 1
    batch = [*values] * max(1, min(_BATCH_SIZE // len(values), _MAX_BATCH_BYTES // size))
    fast_path.decode_values(batch[:100], contract)
    count, started_at = 0, time.perf_counter()
    while (elapsed := time.perf_counter() - started_at) < 1:
        fast_path.decode_values(batch, contract)
        count += len(batch)
    return round(count / elapsed)


def _sql_type(field: Field) -> str:
    return field.sql_type.partition(" CHARACTER SET")[0]


def _lines(contract: Contract, exact_path_reason: str, results: _SampleResults | None) -> Iterator[str]:
    yield from _column_lines(contract)
    yield ""
    yield f"unknown fields: {contract.unknown_fields}; total_price: {contract.total}"
    if exact_path_reason:
        yield f"Fast path: no, because {exact_path_reason}. All messages take the exact path."
    else:
        yield "Fast path: yes."
    if results is None:
        return
    yield f"Accepted: {results.accepted:,} of {counted(results.accepted + results.rejected, 'sample')}."
    yield f"{results.messages_per_second:,} messages/s: this machine's rate for these samples, in one process."
    if results.repeated_order_ids:
        yield f"{counted(results.repeated_order_ids, 'sample')} with the order_id of an earlier one: it must be unique."
    for rejected in results.reasons:
        yield f"rejected: {rejected.count:,} {rejected.reason}"
        yield from (f"  {position}: {detail}" for position, detail in rejected.first)


def _column_lines(contract: Contract) -> Iterator[str]:
    """Yield a table of the columns."""
    rows = [("column", "type", "key", "rule")]
    for field in contract.columns:
        key, rule = field.key or "all other keys", field.rule
        if field.default is not None:
            rule = rule.replace("; optional", f"; default {field.default}")
            key, rule = (key, rule) if field.path else ("", f"always {field.default}")
        if field.name == "total_price":
            key = key if contract.total != "computed" else ""
            rule = _TOTAL_RULES.get(contract.total, rule)
        rows.append((field.name, _sql_type(field), key, rule))
    widths = [max(len(row[index]) for row in rows) for index in range(3)]
    for row in rows:
        yield "  ".join((*(cell.ljust(width) for cell, width in zip(row, widths, strict=False)), row[3])).rstrip()
