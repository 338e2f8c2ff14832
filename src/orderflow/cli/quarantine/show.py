"""`orderflow quarantine show`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated

import typer

from orderflow.cli import context
from orderflow.cli.quarantine.record_json import to_json_line
from orderflow.cli.text import safe
from orderflow.plurals import counted

_SHOWN_BYTES = 1024


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
        [entry] = quarantine.read_by_id(connection, [quarantine_id])
        content = quarantine.read_content(connection, entry)
    if as_json:
        print(to_json_line(entry, content))
        return
    for name, value in entry._asdict().items():
        if value is not None and name != "chunks":
            print(f"{name:<17} {safe(str(value))}")
    for name, header in content.headers:
        print(f"{'header':<17} {safe(name)}: {'null' if header is None else ascii(header)[2:-1]}")
    for name, data in (("key", content.key), ("value", content.value), ("corrected value", content.corrected)):
        if data is not None:
            print(f"\n{name}, {counted(len(data), 'byte')}")
            for line in _hexdump(data if everything else data[:_SHOWN_BYTES]):
                print(line)
            if not everything and len(data) > _SHOWN_BYTES:
                print(f"… {len(data) - _SHOWN_BYTES:,} more: add --all")
        elif name != "corrected value":
            print(f"\n{name} null")


def _hexdump(data: bytes) -> Iterator[str]:
    """Yield lines of 16 bytes: position, hexadecimal, and ASCII with a point for each non-printable byte."""
    for start in range(0, len(data), 16):
        line = data[start : start + 16]
        text = "".join(chr(byte) if 0x20 <= byte < 0x7F else "." for byte in line)
        yield f"{start:08x}  {line[:8].hex(' '):<23}  {line[8:].hex(' '):<23}  |{text}|"
