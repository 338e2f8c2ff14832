"""`orderflow contract`: export, infer, check, diff."""

from __future__ import annotations

import json
import logging
import shlex
import time
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import IO, TYPE_CHECKING, Annotated, Literal, TypeVar

import msgspec
import typer

from orderflow.cli import context, log, output
from orderflow.cli.text import safe, to_json
from orderflow.errors import InputInvalid
from orderflow.plurals import counted

if TYPE_CHECKING:
    from orderflow.contract.definition import Contract, Field
    from orderflow.contract.infer import Samples
    from orderflow.settings import Settings

logger = logging.getLogger(__name__)

app = typer.Typer(name="contract", invoke_without_command=True)

_MAX_SAMPLES = 10_000  # that a contract is inferred from, and that a rate is measured with
_BATCH_BYTES = 32 * 1024 * 1024
_FILE_LIMIT = 1024 * 1024  # bytes of a contract file
_LISTED = 3  # rejected samples of each reason, and skipped samples
_TOTALS = {"checked": "equals unit_price × quantity exactly", "computed": "unit_price × quantity"}

_Record = TypeVar("_Record")

File = Annotated[Path, typer.Argument(metavar="FILE", help="A contract file (TOML), see docs/contract.md.")]


@app.callback()
def contract(
    ctx: typer.Context,
    format_: Annotated[
        Literal["json-schema", "asyncapi", "sql"],
        typer.Option("--format", help="json-schema (2020-12), asyncapi (3.0), or sql (the tables and views)."),
    ] = "json-schema",
) -> None:
    """Print the contract of the orders for other tools; infer, check and compare contract files.

    Without a subcommand, it prints the contract: that of ORDER_CONTRACT, or the default one. Names of topic and tables
    are those of the settings. Only `diff` connects to a server.

    Exit codes: 0 the contract is printed; 2 a setting or the contract file is wrong.

    Examples:

    - `orderflow contract > order.schema.json`
    - `orderflow contract --format asyncapi > asyncapi.json`
    - `orderflow contract --format sql > orderflow.sql`
    - `orderflow contract infer orders.jsonl --output contract.toml`
    - `orderflow contract check contract.toml orders.jsonl`
    - `orderflow contract diff contract.toml`
    """
    if ctx.invoked_subcommand:
        return
    from orderflow.contract import exports, loader
    from orderflow.store import schema

    settings = context.load()
    if format_ == "sql":
        output.use_utf8()
        for step in schema.everything(settings):
            print(f"-- {step.description}\n{schema.statement_of(step, settings)}\n")
        return
    document = (
        exports.json_schema(loader.contract_of(settings)) if format_ == "json-schema" else exports.asyncapi(settings)
    )
    print(json.dumps(document, indent=2))


@app.command()
def infer(
    samples: Annotated[Path, typer.Argument(metavar="SAMPLES", help="Sample orders: a .jsonl, .ndjson or .csv file.")],
    output_file: Annotated[
        Path | None, typer.Option("--output", metavar="FILE", help="Write to a new file instead of stdout.")
    ] = None,
) -> None:
    """Write a contract file for your own orders, from samples of them.

    The result is a proposal with comments. They name the keys that look like the standard fields, what was ambiguous
    and what was not found. Custom fields get a type, a length and limits. The head of the file has the number of
    samples that it accepts. Use a few hundred samples; the first 10,000 are read. Lines that are no JSON object, and
    rows with another number of cells than the header, are skipped and reported. The command connects to no server.

    Exit codes: 0 the contract is printed or written; 2 no sample can be used, or the file cannot be written.

    Examples:

    - `orderflow contract infer orders.jsonl`
    - `orderflow contract infer orders.csv --output contract.toml`
    """
    from orderflow.contract import infer as inference

    if _is_csv(samples):
        header, rows = _read_rows(samples)
        found, name = _first(rows, samples)
        places, decoded = [place for place, _ in found], inference.of_cells(header, [row for _, row in found])
    else:
        lines, name = _first(_read_lines(samples), samples)
        places, decoded = [place for place, _ in lines], inference.of_json([line for _, line in lines])
    _report_skipped(samples, places, decoded)
    text = inference.infer(decoded, name)
    if output_file is None:
        output.use_utf8()
        print(text, end="")
        return
    try:
        with output_file.open("x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:
        raise InputInvalid(f"{output_file} exists.", hint="Name another file, or delete this one.") from None
    except OSError as error:
        raise InputInvalid(
            f"{output_file} cannot be written: {error.strerror}.", hint="Name another file after --output."
        ) from None
    words = shlex.join(["orderflow", "contract", "check", str(output_file), str(samples)])
    print(safe(f"Written: {output_file}. Next: {words}"))


def _report_skipped(path: Path, places: Sequence[str], samples: Samples) -> None:
    """Log how many samples cannot be used, and the first of them. Raises InputInvalid if none can be used."""
    listed = [f"{places[index]} ({why})" for index, why in samples.skipped[:_LISTED]]
    if not samples.objects:
        raise InputInvalid(
            f"{path} has no sample that can be used: {', '.join(listed)}.",
            hint="Write one JSON object a line, or CSV with as many cells in each row as the header has.",
        )
    if samples.skipped:
        log.setup()
        more = ", …" if len(samples.skipped) > len(listed) else ""
        logger.warning(
            "Skipped %s of %s samples of %s: %s%s",
            *(f"{len(samples.skipped):,}", f"{len(places):,}", path, ", ".join(listed), more),
        )


@app.command()
def check(
    file_: File,
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
    from orderflow.contract import loader, native

    found = loader.read(_text_of(file_), str(file_))
    slow = native.unsupported_reason(found) if native.IS_COMPILED else "the C code of OrderFlow is not compiled here"
    tried = _try_samples(samples, found) if samples else None
    if as_json:
        columns = [
            {"name": field.name, "type": _sql_type(field), "key": [*field.path], "rule": field.rule}
            for field in found.columns
        ]
        print(to_json({"columns": columns, "exact_path_because": slow or None, "samples": tried}))
    else:
        for line in _lines(found, slow, tried):
            print(safe(line))
    if tried and tried.rejected:
        raise typer.Exit(1)


@app.command()
def diff(
    file_: Annotated[
        Path | None,
        typer.Argument(metavar="[FILE]", help="A contract file. Default: that of ORDER_CONTRACT.", show_default=False),
    ] = None,
) -> None:
    """Compare a contract file with the contract of the stored orders, and print what would change in the tables.

    Prints each change, and the SQL that `orderflow init` or a start of the sink would run. For a change that needs a
    person or is impossible, it prints the steps instead. It changes nothing.

    Exit codes: 0 no difference; 1 differences that `orderflow init` can apply; 2 somebody must do something first, or
    the tables cannot be read.

    Examples:

    - `orderflow contract diff contract.toml`
    - `ORDER_CONTRACT=contract.toml orderflow contract diff`
    """
    from orderflow.contract import loader
    from orderflow.contract.changes import changes
    from orderflow.store import schema

    settings = context.load()
    if file_:
        settings = msgspec.structs.replace(
            settings, order_contract=str(file_.absolute()), order_contract_text=_text_of(file_)
        )
    new = loader.contract_of(settings)
    stored = schema.stored_contracts(settings)
    contract_id = stored.last_used_id if stored.is_used else stored.newest_id
    print(f"{settings.mysql_database}.{settings.mysql_table} is at contract version {contract_id}.")
    if new.without_documentation == stored.contracts[contract_id]:
        print("No difference.")
        return
    found = [*changes(stored.contracts[contract_id], new)]
    for change in found:
        is_impossible = bool(change.fix) and stored.is_used  # without records, nothing is lost
        print(safe(f"{'impossible' if is_impossible else 'possible'}: {change.what}"))
        if is_impossible:
            print(safe(f"  {change.fix}"))
    _print_steps(settings)
    raise typer.Exit(1)


def _print_steps(settings: Settings) -> None:
    """Print the SQL. Raises ContractInvalid if a change is impossible."""
    from orderflow.store import schema

    steps = schema.missing(settings)
    output.use_utf8()
    for step in steps:
        print(f"\n-- {step.description}\n{schema.statement_of(step, settings)}")


def _text_of(path: Path) -> str:
    """Return the text of a contract file. Raises InputInvalid."""
    with _open(path) as file:
        data = file.read(_FILE_LIMIT + 1)
    if len(data) > _FILE_LIMIT:
        raise InputInvalid(f"{path} is larger than 1 MiB.", hint="Name a contract file (TOML).")
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise InputInvalid(f"{path} is not UTF-8 in line {line}.", hint="Save it as UTF-8.") from None


def _open(path: Path) -> IO[bytes]:
    try:
        return path.open("rb")
    except OSError as error:
        raise InputInvalid(f"{path} cannot be read: {error.strerror}.", hint="Check the path.") from None


def _is_csv(path: Path) -> bool:
    """Raises InputInvalid."""
    kind = path.suffix.lower()
    if kind not in (".csv", ".jsonl", ".ndjson"):
        raise InputInvalid(f"{path} is neither .jsonl nor .csv.", hint="The file extension selects the format.")
    return kind == ".csv"


def _read_rows(path: Path) -> tuple[list[str], Iterator[tuple[str, list[str]]]]:
    """Return the header of a CSV file, and each row with its number. Raises InputInvalid."""
    from orderflow.produce import files

    rows = ([cell.decode("utf-8", "surrogateescape") for cell in row] for row in files.read_rows(path, _open(path)))
    header = next(rows, [])
    if len({*header}) < len(header) or "" in header:
        raise InputInvalid(
            f"The first line of {path} has an empty or a repeated name.", hint="Name each column once in it."
        )
    return header, ((f"row {number}", row) for number, row in enumerate(rows, 1))


def _read_lines(path: Path) -> Iterator[tuple[str, bytes]]:
    """Yield each line that is not blank, with its number. Raises InputInvalid."""
    from orderflow.produce import files

    for number, line in files.read_lines(path, _open(path)):
        if line.strip():
            yield f"line {number}", line.removesuffix(b"\n")


def _first(records: Iterator[tuple[str, _Record]], path: Path) -> tuple[list[tuple[str, _Record]], str]:
    """Return the samples to infer from, and their name. Raises InputInvalid if there are none."""
    found = [*islice(records, _MAX_SAMPLES)]
    if not found:
        raise _no_samples_error(path)
    name = path.name if next(records, None) is None else f"the first {_MAX_SAMPLES:,} samples of {path.name}"
    return found, name


def _no_samples_error(path: Path) -> InputInvalid:
    return InputInvalid(f"{path} has no samples.", hint="Write one JSON object a line, or CSV with a header.")


def read_messages(path: Path, contract: Contract) -> Iterator[tuple[str, bytes]]:
    """Yield each sample as a message, with its line or row. Raises InputInvalid."""
    from orderflow.contract.cells import converter

    if not _is_csv(path):
        yield from _read_lines(path)
        return
    header, rows = _read_rows(path)
    convert = converter(header, contract)
    for where, row in rows:
        yield where, convert(row)


class _Rejected(msgspec.Struct):
    reason: str
    count: int
    first: list[tuple[str, str]]  # line or row, and detail


class _Tried(msgspec.Struct):
    accepted: int
    rejected: int
    messages_per_second: int  # of this machine
    reasons: list[_Rejected]
    repeated_order_ids: int


def _try_samples(path: Path, contract: Contract) -> _Tried:
    """Read the samples with the contract."""
    from orderflow.contract import fast_path

    first: list[bytes] = []
    reasons: dict[str, _Rejected] = {}
    accepted, ids = 0, set[str]()
    messages = read_messages(path, contract)
    while batch := [*islice(messages, _MAX_SAMPLES)]:
        values = [value for _, value in batch]
        first = first or values
        decoded = fast_path.decode_batch(values, contract)
        accepted += decoded.orders.num_rows
        ids.update(decoded.orders["order_id"].to_pylist())
        for index, error in decoded.rejected:
            found = reasons.setdefault(error.reason, _Rejected(error.reason, 0, []))
            found.count += 1
            if len(found.first) < _LISTED:
                found.first.append((batch[index][0], error.message))
    if not first:
        raise _no_samples_error(path)
    return _Tried(
        accepted=accepted,
        rejected=sum(found.count for found in reasons.values()),
        messages_per_second=_rate(first, contract),
        reasons=sorted(reasons.values(), key=lambda found: -found.count),
        repeated_order_ids=accepted - len(ids),
    )


def _rate(values: Sequence[bytes], contract: Contract) -> int:
    """Measure how many of these messages this machine reads in a second."""
    from orderflow.contract import fast_path

    size = sum(map(len, values)) + 1
    batch = [*values] * max(1, min(_MAX_SAMPLES // len(values), _BATCH_BYTES // size))
    fast_path.decode_batch(batch[:100], contract)
    count, started = 0, time.perf_counter()
    while (elapsed := time.perf_counter() - started) < 1:
        fast_path.decode_batch(batch, contract)
        count += len(batch)
    return round(count / elapsed)


def _sql_type(field: Field) -> str:
    return field.type.partition(" CHARACTER SET")[0]


def _lines(contract: Contract, slow: str, tried: _Tried | None) -> Iterator[str]:
    rows = [("column", "type", "key", "rule")]
    for field in contract.columns:
        key, rule = field.key or "all other keys", field.rule
        if field.default is not None:
            rule = rule.replace("; optional", f"; default {field.default}")
            key, rule = (key, rule) if field.path else ("", f"always {field.default}")
        if field.name == "total_price":
            key = key if contract.total != "computed" else ""
            rule = _TOTALS.get(contract.total, rule)
        rows.append((field.name, _sql_type(field), key, rule))
    widths = [max(len(row[index]) for row in rows) for index in range(3)]
    for row in rows:
        yield "  ".join((*(cell.ljust(width) for cell, width in zip(row, widths, strict=False)), row[3])).rstrip()
    yield ""
    yield f"unknown fields: {contract.unknown_fields}; total_price: {contract.total}"
    yield f"Fast path: no, because {slow}. All messages take the exact path." if slow else "Fast path: yes."
    if tried is None:
        return
    yield f"Accepted: {tried.accepted:,} of {counted(tried.accepted + tried.rejected, 'sample')}."
    yield f"{tried.messages_per_second:,} messages/s: this machine's rate for these samples, in one process."
    if tried.repeated_order_ids:
        yield f"{counted(tried.repeated_order_ids, 'sample')} with the order_id of an earlier one: it must be unique."
    for found in tried.reasons:
        yield f"rejected: {found.count:,} {found.reason}"
        yield from (f"  {place}: {detail}" for place, detail in found.first)
