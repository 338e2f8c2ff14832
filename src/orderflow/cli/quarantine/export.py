"""`orderflow quarantine export`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from orderflow.cli import context, logs
from orderflow.cli.quarantine.options import Ids, OrderId, Partition, Reason, Since, Status, Until
from orderflow.cli.quarantine.record_json import to_json_line
from orderflow.cli.quarantine.selection import filter_of, select
from orderflow.errors import InputInvalid
from orderflow.plurals import counted


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

    wanted = filter_of(reason=reason, since=since, until=until, partition=partition, order_id=order_id, status=status)
    with Connection(context.load()) as connection:
        _, entries = select(connection, ids, wanted, everything=True)
        written = 0
        for entry in entries:
            content = quarantine.read_content(connection, entry)
            if raw is None:
                print(to_json_line(entry, content))
            elif content.value is None:
                logs.console().print(f"Record {entry.quarantine_id} has no value (null), so no file was written.")
            else:
                _write(raw, f"{entry.quarantine_id}.bin", content.value)
                written += 1
    if raw is not None:
        print(f"{counted(written, 'file')} written.")


def _write(folder: Path, name: str, value: bytes) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(value)
    except OSError as error:
        raise InputInvalid(
            f"{folder / name} cannot be written: {error.strerror}.",
            hint="--raw takes a folder; it is created if missing.",
        ) from error
