"""`orderflow contract infer`."""

from __future__ import annotations

import logging
import shlex
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

from orderflow.cli import logs, output
from orderflow.cli.contract import input_files
from orderflow.cli.text import safe
from orderflow.errors import InputInvalid
from orderflow.plurals import counted

if TYPE_CHECKING:
    from orderflow.contract.infer import Samples

log = logging.getLogger(__name__)

_MAX_SAMPLES = 10_000  # that a contract is inferred from
_LISTED = 3  # skipped samples

_Record = TypeVar("_Record")


def infer(
    samples: Annotated[Path, typer.Argument(metavar="SAMPLES", help="Sample orders: a .jsonl, .ndjson or .csv file.")],
    output_file: Annotated[
        Path | None, typer.Option("--output", metavar="FILE", help="Write to a new file instead of stdout.")
    ] = None,
) -> None:
    """Write a contract file for your own orders, from samples of them.

    The file is a proposal. Its comments name the keys that may be standard fields, what is ambiguous and what was not
    found. Custom fields get a type, a length and limits. The first lines count the samples that the file accepts. Use a
    few hundred samples; the first 10,000 are read. Lines that are not a JSON object, and rows with another number of
    cells than the header, are skipped and reported. The command connects to no server.

    Exit codes: 0 the contract is printed or written; 2 no sample can be used, or the file cannot be written.

    Examples:

    - `orderflow contract infer orders.jsonl`
    - `orderflow contract infer orders.csv --output contract.toml`
    """
    from orderflow.contract import infer as inference

    if input_files.is_csv(samples):
        header, all_rows = input_files.read_rows(samples)
        positions, rows, name = _first(all_rows, samples)
        decoded = inference.of_cells(header, rows)
    else:
        positions, lines, name = _first(input_files.read_lines(samples), samples)
        decoded = inference.of_json(lines)
    _report_skipped(samples, positions, decoded)
    contract_text = inference.infer(decoded, name)
    if output_file is None:
        output.use_utf8()
        print(contract_text, end="")
        return
    try:
        with output_file.open("x", encoding="utf-8") as file:
            file.write(contract_text)
    except FileExistsError:
        raise InputInvalid(f"{output_file} exists.", hint="Name another file, or delete this one.") from None
    except OSError as error:
        raise InputInvalid(
            f"{output_file} cannot be written: {error.strerror}.", hint="Name another file after --output."
        ) from None
    check_command = shlex.join(["orderflow", "contract", "check", str(output_file), str(samples)])
    print(safe(f"Written: {output_file}. Next: {check_command}"))


def _first(records: Iterator[tuple[str, _Record]], path: Path) -> tuple[list[str], list[_Record], str]:
    """Return the lines or rows to infer from: their positions, their content and their name in messages.

    Raises InputInvalid if there are none.
    """
    first_records = [*islice(records, _MAX_SAMPLES)]
    if not first_records:
        raise input_files.no_samples_error(path)
    name = path.name if next(records, None) is None else f"the first {_MAX_SAMPLES:,} samples of {path.name}"
    return [position for position, _ in first_records], [record for _, record in first_records], name


def _report_skipped(path: Path, positions: Sequence[str], samples: Samples) -> None:
    """Log how many samples cannot be used, and the first of them. Raises InputInvalid if none can be used."""
    listed = [f"{positions[index]} ({reason})" for index, reason in samples.skipped[:_LISTED]]
    if not samples.objects:
        raise InputInvalid(
            f"{path} has no sample that can be used: {', '.join(listed)}.",
            hint="Write one JSON object a line, or CSV with as many cells in each row as the header has.",
        )
    if samples.skipped:
        logs.setup()
        ellipsis = ", …" if len(samples.skipped) > len(listed) else ""
        log.warning(
            "Skipped %s of %s of %s: %s%s",
            *(f"{len(samples.skipped):,}", counted(len(positions), "sample"), path, ", ".join(listed), ellipsis),
        )
