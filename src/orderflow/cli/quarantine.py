"""`orderflow quarantine`: list, show, replay, discard, export."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from orderflow.cli import context, log
from orderflow.cli.text import safe, to_json
from orderflow.errors import InputInvalid
from orderflow.plurals import counted

if TYPE_CHECKING:
    from orderflow.store.connection import Connection
    from orderflow.store.quarantine import Content, Filter, QuarantineEntry
    from orderflow.store.replay import Outcome, ReplayResult

app = typer.Typer(
    name="quarantine",
    no_args_is_help=True,
    help="List, show, replay, discard or export the records that broke the contract.",
)

_SHOWN_BYTES = 1024
_TIME_FORMAT = "%Y-%m-%d %H:%M:%S"
_TIME_FORMATS = ["%Y-%m-%d", "%Y-%m-%dT%H:%M:%S", _TIME_FORMAT]
_HEADER = f"{'id':>8} {'quarantined (UTC)':<19} {'partition':>9} {'offset':>10}  {'reason':<19} {'order':<16} detail"


def _reasons(incomplete: str) -> list[str]:
    from orderflow.contract import definition

    return [reason for reason in definition.Reason if reason.startswith(incomplete)]


Ids = Annotated[list[int] | None, typer.Argument(metavar="[ID]...", help="quarantine_id of each record.")]
Reason = Annotated[str | None, typer.Option(help="Only this reason.", autocompletion=_reasons)]
Since = Annotated[datetime | None, typer.Option(formats=_TIME_FORMATS, help="Quarantined at this time (UTC) or later.")]
Until = Annotated[datetime | None, typer.Option(formats=_TIME_FORMATS, help="Quarantined before this time (UTC).")]
Partition = Annotated[int | None, typer.Option(help="Only this partition.")]
OrderId = Annotated[str | None, typer.Option(help="Only records with this order_id, if it could be read.")]
StatusName = Literal["open", "replayed", "discarded", "any"]
Status = Annotated[StatusName, typer.Option(help="Only this status.")]
Everything = Annotated[bool, typer.Option("--all", help="All open records.")]
By = Annotated[str, typer.Option(help="Name to record as the person responsible.", show_default="OS user @ host")]
Lines = Annotated[bool, typer.Option("--json", help="Print one JSON object per record.")]


@app.command("list")
def list_(
    *,
    reason: Reason = None,
    since: Since = None,
    until: Until = None,
    partition: Partition = None,
    order_id: OrderId = None,
    status: Status = "open",
    limit: Annotated[int | None, typer.Option(min=1, help="At most this many, the oldest first.")] = None,
    as_json: Lines = False,
) -> None:
    """List the quarantined records: the open ones, unless --status selects others.

    Exit codes: 0 they are listed, or none matches; 2 the table cannot be read.

    Examples:

    - `orderflow quarantine list`
    - `orderflow quarantine list --reason conflict --since 2025-01-15`
    """
    from orderflow.store import quarantine
    from orderflow.store.connection import Connection

    filter_ = _filter(reason=reason, since=since, until=until, partition=partition, order_id=order_id, status=status)
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else None
    with Connection(context.load()) as connection:
        found = 0
        for found, entry in enumerate(islice(quarantine.matching(connection, filter_), limit), 1):
            if as_json:
                print(_as_json(entry))
                continue
            if found == 1:
                print(_HEADER)
            print(_as_line(entry, width))
        if not found:
            _report_no_match()


@app.command()
def show(
    quarantine_id: Annotated[int, typer.Argument(metavar="ID")],
    everything: Annotated[bool, typer.Option("--all", help=f"Show all bytes, not the first {_SHOWN_BYTES:,}.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object, with bytes in base64.")] = False,
) -> None:
    """Show one record with all its columns, and its raw bytes in hexadecimal and as text.

    Exit codes: 0 it is shown; 2 there is no such record, or the table cannot be read.

    Example: `orderflow quarantine show 12`
    """
    from orderflow.store import quarantine
    from orderflow.store.connection import Connection

    with Connection(context.load()) as connection:
        [entry] = quarantine.get(connection, [quarantine_id])
        content = quarantine.content(connection, entry)
    if as_json:
        print(_as_json(entry, content))
        return
    for name, value in entry._asdict().items():
        if value is not None and name != "chunks":
            print(f"{name:<17} {safe(str(value))}")
    for name, header in content.headers:
        print(f"{'header':<17} {safe(name)}: {'null' if header is None else ascii(header)[2:-1]}")
    for name, data in (("key", content.key), ("value", content.value), ("corrected value", content.corrected)):
        if data is not None:
            print(f"\n{name}, {counted(len(data), 'byte')}")
            for line in hexdump(data if everything else data[:_SHOWN_BYTES]):
                print(line)
            if not everything and len(data) > _SHOWN_BYTES:
                print(f"… {len(data) - _SHOWN_BYTES:,} more: add --all")
        elif name != "corrected value":
            print(f"\n{name} null")


@app.command()
def replay(
    ids: Ids = None,
    *,
    reason: Reason = None,
    since: Since = None,
    until: Until = None,
    partition: Partition = None,
    order_id: OrderId = None,
    everything: Everything = False,
    edit: Annotated[
        int | None, typer.Option(metavar="ID", help="Correct this record in $VISUAL or $EDITOR, and replay the result.")
    ] = None,
    value_file: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="With --edit: read the corrected record from FILE, without an editor; - is stdin."
        ),
    ] = None,
    by: By = "",
    dry_run: Annotated[
        bool,
        typer.Option("--dry-run", help="Show the result for each record, checked by itself, and change nothing."),
    ] = False,
    as_json: Lines = False,
) -> None:
    """Check records again by the current contract, and store those that are valid now.

    Select records by their ids, by a filter, or with --all. Only open records are replayed, each in a transaction of
    its own. Its order gets the record's original coordinates, so `orderflow audit` can prove it. A replay can be
    interrupted, repeated and run twice at once: nothing is stored twice.

    A record that is still invalid stays open. If its order is already stored with the same content, the record is a
    duplicate. If the content differs, it stays open as a conflict.

    `--edit` opens the record's bytes in your editor. For bytes that an editor cannot show, write them to a file with
    `orderflow quarantine export --raw FOLDER ID`, correct the file, and use `--edit ID --value-file FILE`. The original
    bytes are kept, with the name of the person who corrected them and the time.

    Exit codes: 0 all are stored or duplicates; 1 some are not, with the reason; 2 it failed.

    Examples:

    - `orderflow quarantine replay --all --dry-run`
    - `orderflow quarantine replay --reason outside_ranges`
    - `orderflow quarantine replay --edit 12`
    """
    from orderflow.store import quarantine
    from orderflow.store.connection import Connection
    from orderflow.store.replay import replay as replay_one

    filter_ = _filter(reason=reason, since=since, until=until, partition=partition, order_id=order_id)
    if edit is None and value_file:
        raise typer.BadParameter("--value-file requires --edit ID")
    if edit is not None and (ids or everything or filter_ != _filter()):
        raise typer.BadParameter("--edit cannot be combined with ids, a filter or --all")
    current, by = context.load(), context.person(by)
    results: Counter[ReplayResult] = Counter()
    with Connection(current) as connection:

        def attempt(entry: QuarantineEntry, corrected: bytes | None = None) -> ReplayResult:
            outcome = replay_one(connection, current, entry, by=by, corrected=corrected, dry_run=dry_run)
            _print_outcome(entry, outcome, as_json)
            return outcome.result

        if edit is not None:
            [entry] = quarantine.get(connection, [edit])
            value = quarantine.content(connection, entry).value or b""
            results[_correct_and_replay(entry, value, value_file, attempt)] += 1
        else:
            total, entries = _select(connection, ids, filter_, everything)
            with _progress(total) as advance:
                for entry in entries:
                    results[attempt(entry)] += 1
                    advance()
    if results and not as_json:
        summary = ", ".join(f"{count:,} {result}" for result, count in results.items())
        print(f"{'Would be: ' if dry_run else ''}{summary}.")
    if not all(result.good for result in results):
        raise typer.Exit(1)


@app.command()
def discard(
    ids: Ids = None,
    *,
    because: Annotated[str, typer.Option(help="The reason to record.")],
    reason: Reason = None,
    since: Since = None,
    until: Until = None,
    partition: Partition = None,
    order_id: OrderId = None,
    everything: Everything = False,
    by: By = "",
) -> None:
    """Discard open records: they stay in the table, marked as discarded, with the person, the time and the reason.

    Exit codes: 0 done; 1 some of the ids are not open; 2 it failed.

    Example: `orderflow quarantine discard 12 13 --because "test messages of the new shop"`
    """
    from orderflow.store import quarantine
    from orderflow.store.connection import Connection

    if not 1 <= len(because.strip()) <= 1000:
        raise typer.BadParameter("--because needs 1 to 1,000 characters")
    by = context.person(by)
    filter_ = _filter(reason=reason, since=since, until=until, partition=partition, order_id=order_id)
    with Connection(context.load()) as connection:
        total, entries = _select(connection, ids, filter_, everything)
        done = 0
        while batch := [entry.quarantine_id for entry in islice(entries, 1000)]:
            done += quarantine.discard(connection, batch, by=by, because=because)
    if total:
        print(f"{done:,} discarded{f', {total - done:,} not open' if done < total else ''}.")
    if done < total:
        raise typer.Exit(1)


@app.command()
def export(
    ids: Ids = None,
    *,
    reason: Reason = None,
    since: Since = None,
    until: Until = None,
    partition: Partition = None,
    order_id: OrderId = None,
    status: Status = "open",
    raw: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help="Write the value of each record, unchanged, to FOLDER/ID.bin."),
    ] = None,
) -> None:
    """Print complete records as JSON Lines: bytes in base64, the value also as text if it is UTF-8.

    Exports all open records, unless ids or a filter select others. It does not change them.

    Exit codes: 0 they are exported, or none matches; 2 the table cannot be read, or the output cannot be written.

    Examples:

    - `orderflow quarantine export --reason malformed_json > records.jsonl`
    - `orderflow quarantine export 12 --raw records`
    """
    from orderflow.store import quarantine
    from orderflow.store.connection import Connection

    filter_ = _filter(reason=reason, since=since, until=until, partition=partition, order_id=order_id, status=status)
    with Connection(context.load()) as connection:
        _, entries = _select(connection, ids, filter_, everything=True)
        written = 0
        for entry in entries:
            content = quarantine.content(connection, entry)
            if raw is None:
                print(_as_json(entry, content))
            elif content.value is None:
                log.console().print(f"{entry.quarantine_id} has no value (null): no file.")
            else:
                _write(raw, f"{entry.quarantine_id}.bin", content.value)
                written += 1
    if raw is not None:
        print(f"{counted(written, 'file')} written.")


def hexdump(data: bytes) -> Iterator[str]:
    """Yield lines of 16 bytes: position, hexadecimal, and ASCII with a point for each non-printable byte."""
    for start in range(0, len(data), 16):
        line = data[start : start + 16]
        text = "".join(chr(byte) if 0x20 <= byte < 0x7F else "." for byte in line)
        yield f"{start:08x}  {line[:8].hex(' '):<23}  {line[8:].hex(' '):<23}  |{text}|"


def _filter(
    *,
    reason: str | None = None,
    since: datetime | None = None,
    until: datetime | None = None,
    partition: int | None = None,
    order_id: str | None = None,
    status: StatusName = "open",
) -> Filter:
    from orderflow.contract import definition
    from orderflow.store.quarantine import Filter

    if reason is not None and reason not in [*definition.Reason]:
        raise typer.BadParameter(f"unknown reason {reason}; the reasons are {', '.join(definition.Reason)}")
    return Filter(None if status == "any" else status, reason, since, until, partition, order_id)


def _select(
    connection: Connection, ids: list[int] | None, filter_: Filter, everything: bool
) -> tuple[int, Iterator[QuarantineEntry]]:
    """Return the number of selected records, and the records."""
    from orderflow.store import quarantine

    if ids:
        if filter_ != _filter():
            raise typer.BadParameter("select records by ids or by a filter, not both")
        found = quarantine.get(connection, ids)
        return len(found), iter(found)
    if filter_ == _filter() and not everything:
        raise typer.BadParameter("select records by ids, by a filter, or with --all")
    total = quarantine.count(connection, filter_)
    if not total:
        _report_no_match()
    return total, quarantine.matching(connection, filter_)


def _correct_and_replay(
    entry: QuarantineEntry, value: bytes, file: Path | None, attempt: Callable[[QuarantineEntry, bytes], ReplayResult]
) -> ReplayResult:
    """Replay the record as it is in the file, or as the user's editor saves it."""
    from orderflow.store.replay import ReplayResult

    if entry.status != "open":
        raise InputInvalid(
            f"Record {entry.quarantine_id} is already {entry.status}.", hint="Only open ones can be corrected."
        )
    corrected = _read(file) if file else _edit(value, entry.quarantine_id)
    while (result := attempt(entry, corrected)) is ReplayResult.REJECTED:
        if file or not sys.stdin.isatty() or not typer.confirm("Edit again?", err=True):
            break
        corrected = _edit(corrected, entry.quarantine_id)
    return result


def _read(file: Path) -> bytes:
    try:
        return sys.stdin.buffer.read() if str(file) == "-" else file.read_bytes()
    except OSError as error:
        raise InputInvalid(
            f"{file} cannot be read: {error.strerror}.", hint="--value-file takes a file, or - for stdin."
        ) from error


def _write(folder: Path, name: str, value: bytes) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(value)
    except OSError as error:
        raise InputInvalid(
            f"{folder / name} cannot be written: {error.strerror}.",
            hint="--raw takes a folder; it is created if missing.",
        ) from error


def _edit(value: bytes, quarantine_id: int) -> bytes:
    """Return the bytes as the user's editor saves them."""
    editor = os.environ.get("VISUAL") or os.environ.get("EDITOR")
    if not editor:
        raise InputInvalid("Neither VISUAL nor EDITOR is set.", hint="Set one, or use --value-file FILE.")
    with tempfile.TemporaryDirectory(prefix="orderflow-") as folder:
        path = Path(folder, f"record-{quarantine_id}.json")
        path.write_bytes(value)
        try:
            exit_code = subprocess.run([*shlex.split(editor), path], check=False).returncode
        except (OSError, ValueError) as error:  # ValueError: an unclosed quotation mark
            reason = error.strerror if isinstance(error, OSError) else error
            raise InputInvalid(
                f"{editor} cannot be started: {reason}.", hint="Set VISUAL or EDITOR to another editor."
            ) from error
        try:
            corrected = path.read_bytes()
        except OSError as error:
            raise InputInvalid(f"{editor} left no readable file at {path}: {error.strerror}.") from error
    if exit_code or corrected == value:
        why = f"{editor} ended with exit code {exit_code}" if exit_code else "Nothing was changed"
        raise InputInvalid(f"{why}: record {quarantine_id} is unchanged.")
    return corrected


@contextmanager
def _progress(total: int) -> Iterator[Callable[[], None]]:
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    console = log.console()
    columns = TextColumn("Replay"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    with Progress(
        *columns,
        console=console,
        disable=not console.is_terminal,
        transient=True,
        redirect_stdout=sys.stdout.isatty(),  # otherwise the results would go to the bar's stream, stderr
    ) as progress:
        task = progress.add_task("", total=total)
        yield lambda: progress.advance(task)


def _print_outcome(entry: QuarantineEntry, outcome: Outcome, as_json: bool) -> None:
    if as_json:
        print(json.dumps({"quarantine_id": entry.quarantine_id, **outcome._asdict()}))
        return
    line = f"{entry.quarantine_id:>8}  {outcome.result:<16} {outcome.order_id or '-':<16} {outcome.detail}"
    print(safe(line).rstrip())


def _as_line(entry: QuarantineEntry, width: int | None) -> str:
    line = (
        f"{entry.quarantine_id:>8} {entry.quarantined_at:{_TIME_FORMAT}} {entry.partition:>9} {entry.offset:>10}"
        f"  {entry.reason:<19} {entry.order_id or '-':<16} {entry.detail}"
    )
    return safe(line, width)


def _as_json(entry: QuarantineEntry, content: Content | None = None) -> str:
    shown = {
        name: value.replace(tzinfo=UTC) if isinstance(value, datetime) else value
        for name, value in entry._asdict().items()
        if name != "chunks"
    }
    if content:
        shown |= content._asdict() | {"value_text": _text(content.value)}
    return to_json(shown)


def _text(data: bytes | None) -> str | None:
    try:
        return None if data is None else data.decode()
    except UnicodeDecodeError:
        return None


def _report_no_match() -> None:
    log.console().print("No quarantined record matches.")
