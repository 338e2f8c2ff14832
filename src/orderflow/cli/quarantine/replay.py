"""`orderflow quarantine replay`."""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from orderflow.cli import context, logs
from orderflow.cli.quarantine import correction
from orderflow.cli.quarantine.options import By, Everything, Ids, JsonLines, OrderId, Partition, Reason, Since, Until
from orderflow.cli.quarantine.selection import filter_of, select
from orderflow.cli.text import safe
from orderflow.errors import InputInvalid

if TYPE_CHECKING:
    from orderflow.store.quarantine import QuarantineEntry
    from orderflow.store.replay import ReplayOutcome, ReplayResult


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
    as_json: JsonLines = False,
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
    from orderflow.store.replay import Replayer

    wanted = filter_of(reason=reason, since=since, until=until, partition=partition, order_id=order_id)
    if edit is None and value_file:
        raise typer.BadParameter("--value-file requires --edit ID")
    if edit is not None and (ids or everything or wanted != filter_of()):
        raise typer.BadParameter("--edit cannot be combined with ids, a filter or --all")
    settings, by = context.load(), context.person(by)
    outcomes: Counter[ReplayOutcome] = Counter()
    with Connection(settings) as connection:
        replayer = Replayer(connection)

        def replay_entry(entry: QuarantineEntry, corrected: bytes | None = None) -> ReplayOutcome:
            result = replayer.replay(entry, by=by, corrected=corrected, dry_run=dry_run)
            _print_result(entry, result, as_json)
            return result.outcome

        if edit is not None:
            [entry] = quarantine.read_by_id(connection, [edit])
            value = quarantine.read_content(connection, entry).value or b""
            outcomes[_correct_and_replay(entry, value, value_file, replay_entry)] += 1
        else:
            total, entries = select(connection, ids, wanted, everything)
            with _progress(total) as advance:
                for entry in entries:
                    outcomes[replay_entry(entry)] += 1
                    advance()
    if outcomes and not as_json:
        summary = ", ".join(f"{count:,} {outcome}" for outcome, count in outcomes.items())
        print(f"{'Would be: ' if dry_run else ''}{summary}.")
    if not all(outcome.is_in_table for outcome in outcomes):
        raise typer.Exit(1)


def _correct_and_replay(
    entry: QuarantineEntry,
    value: bytes,
    file: Path | None,
    replay_entry: Callable[[QuarantineEntry, bytes], ReplayOutcome],
) -> ReplayOutcome:
    """Replay the record as it is in the file, or as the user's editor saves it."""
    from orderflow.store.replay import ReplayOutcome

    if entry.status != "open":
        raise InputInvalid(
            f"Record {entry.quarantine_id} is already {entry.status}.", hint="Only open ones can be corrected."
        )
    corrected = correction.read(file) if file else correction.edit(value, entry.quarantine_id)
    while (outcome := replay_entry(entry, corrected)) is ReplayOutcome.REJECTED:
        if file or not sys.stdin.isatty() or not typer.confirm("Edit again?", err=True):
            break
        corrected = correction.edit(corrected, entry.quarantine_id)
    return outcome


@contextmanager
def _progress(total: int) -> Iterator[Callable[[], None]]:
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    console = logs.console()
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


def _print_result(entry: QuarantineEntry, result: ReplayResult, as_json: bool) -> None:
    if as_json:
        values = {"result": result.outcome, "order_id": result.order_id, "detail": result.detail}
        print(json.dumps({"quarantine_id": entry.quarantine_id, **values}))
        return
    line = f"{entry.quarantine_id:>8}  {result.outcome:<16} {result.order_id or '-':<16} {result.detail}"
    print(safe(line).rstrip())
