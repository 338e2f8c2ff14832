"""Reads the orders of a file as messages."""

from __future__ import annotations

import codecs
import io
import re
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any, cast

import msgspec
from rich.progress import Progress

from orderflow.contract import cells
from orderflow.contract.definition import DEFAULT, Contract, Field, Kind
from orderflow.errors import InputInvalid
from orderflow.produce.outgoing_message import PARTITION_BY_KEY, OutgoingMessage

_QUOTED = re.compile(rb'"[^"]*(?:""[^"]*)*"')
_BARE = re.compile(rb'[^",\r\n]*')
_CELL = re.compile(rb'(?:"([^"]*(?:""[^"]*)*)"|([^",\r\n]*))(,|\r?\n|\Z)')
_MAX_RECORD = 64 * 1024 * 1024  # bytes; more than Kafka accepts, and it limits the memory used
_UTF16 = codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE


def read_messages(path: Path, progress: Progress, contract: Contract = DEFAULT) -> Iterator[OutgoingMessage]:
    """Iterate over the messages of a .jsonl, .ndjson or .csv file; `progress` gets tasks that count the bytes read.

    - JSONL: the value is the unchanged bytes of a line.
    - CSV (RFC 4180): the header holds the names of the contract's fields, or their keys in the message, in any order;
      those of optional fields may be missing. `contract.cells` describes the value.

    Blank lines, and a byte order mark at the start, are skipped. The key is the order_id if it can be read, otherwise
    None.

    The whole file is checked before this function returns: in a file that is UTF-16 or not valid CSV, the start of the
    next record is unknown. Raises InputInvalid, with the line.
    """
    kind = path.suffix.lower()
    if kind not in (".csv", ".jsonl", ".ndjson"):
        raise InputInvalid(f"{path} is neither .jsonl nor .csv.", hint="The file extension selects the format.")
    read = _read_csv if kind == ".csv" else _read_json_lines
    for _ in read(path, _open(path, progress, f"check {path.name}"), contract):
        pass
    return read(path, _open(path, progress, path.name), contract)


def _open(path: Path, progress: Progress, description: str) -> IO[bytes]:
    try:
        regular = stat.S_ISREG(path.stat().st_mode)
        raw = progress.open(path, "rb", buffering=0, description=description) if regular else None
    except OSError as error:
        raise InputInvalid(f"{path} cannot be read: {error.strerror}.", hint="Check the path after --file.") from None
    if raw is None:
        raise InputInvalid(
            f"{path} is not a regular file.", hint="OrderFlow reads the file twice: first to check it, then to send it."
        )
    # Large reads: an update of the progress bar costs more than reading a line.
    return io.BufferedReader(cast(io.RawIOBase, raw), 1024 * 1024)


def read_lines(path: Path, file: IO[bytes]) -> Iterator[tuple[int, bytes]]:
    """Each line including its line break, with its number, which starts at 1."""
    with file:
        number = 0
        while line := file.readline(_MAX_RECORD + 1):
            number += 1
            if number == 1:
                if line.startswith(_UTF16):
                    raise InputInvalid(f"{path} is UTF-16.", hint="Save it as UTF-8.")
                line = line.removeprefix(codecs.BOM_UTF8)
            if len(line) > _MAX_RECORD:
                raise _too_large_error(path, number)
            yield number, line


def _too_large_error(path: Path, number: int) -> InputInvalid:
    return InputInvalid(
        f"The record in line {number} of {path} is larger than 64 MiB.", hint="Kafka does not accept it. Remove it."
    )


def _read_json_lines(path: Path, file: IO[bytes], contract: Contract) -> Iterator[OutgoingMessage]:
    read_key = _key_reader(contract.by_name["order_id"])
    for _, line in read_lines(path, file):
        value = line.removesuffix(b"\n")
        if value.strip():
            yield read_key(value), value, PARTITION_BY_KEY


def _key_reader(order_id: Field) -> Callable[[bytes], bytes | None]:
    """Return the function that reads the order_id of a message; it returns None if it cannot be read."""
    message_type: Any = str | int if order_id.kind is Kind.INTEGER else str
    for key in reversed(order_id.path):
        message_type = msgspec.defstruct("Keyed", [("inner", message_type, msgspec.field(name=key))])
    decode = msgspec.json.Decoder(message_type).decode

    def read_key(value: bytes) -> bytes | None:
        try:
            value_at_path: Any = decode(value)
            for _ in order_id.path:
                value_at_path = value_at_path.inner
            return str(value_at_path).encode()
        except (msgspec.DecodeError, UnicodeError):
            return None

    return read_key


def _read_csv(path: Path, file: IO[bytes], contract: Contract) -> Iterator[OutgoingMessage]:
    rows = read_rows(path, file)
    first = next(rows, [])
    header = [_decode(cell) for cell in first]
    names_in_header = [field.name if field else None for field in cells.fields_of(header, contract)]
    names = [field.name for field in contract.fields if field.path]
    optional = [field.name for field in contract.fields if field.path and not field.required]
    if not {*names} - {*optional} <= {*names_in_header} <= {*names} or len({*names_in_header}) < len(names_in_header):
        which = "standard fields" if contract.is_default else "contract's fields"
        may_miss = f"; {', '.join(optional)} may be missing" if optional else ""
        raise InputInvalid(
            f"The first line of {path} is {ascii(','.join(header))[:200]}, not the names of the {which}.",
            hint=f"Write the header {','.join(names)}, in any order{may_miss}.",
        )
    convert, read_key = cells.converter(header, contract), _key_reader(contract.by_name["order_id"])
    values = (convert([_decode(cell) for cell in row]) for row in rows)
    return ((read_key(value), value, PARTITION_BY_KEY) for value in values)


def read_rows(path: Path, file: IO[bytes]) -> Iterator[list[bytes]]:
    """Iterate over the cells of each row that is not blank."""
    lines = read_lines(path, file)
    for number, line in lines:
        parts, size, quotes = [line], len(line), line.count(b'"')
        while quotes % 2 and (following := next(lines, None)):  # a quoted line break: the row continues
            parts.append(following[1])
            size, quotes = size + len(following[1]), quotes + following[1].count(b'"')
            if size > _MAX_RECORD:
                raise _too_large_error(path, number)
        if line not in (b"\n", b"\r\n"):
            yield _split_row(path, number, b"".join(parts))


def _split_row(path: Path, number: int, row: bytes) -> list[bytes]:
    """The cells of the row that begins in this line.

    Raises InputInvalid if the row does not follow RFC 4180. (Python's csv module also accepts other rows, and changes
    some of them.)
    """
    line = row.removesuffix(b"\n").removesuffix(b"\r") if row.endswith(b"\n") else row
    if b'"' not in line and b"\r" not in line:
        return line.split(b",")
    row_cells, position = [], 0
    while match := _CELL.match(row, position):
        quoted, unquoted, end = match.groups()
        row_cells.append(unquoted if quoted is None else quoted.replace(b'""', b'"'))
        position = match.end()
        if end != b",":
            return row_cells
    fault, position = _find_error(row, position)
    number += row.count(b"\n", 0, position)
    raise InputInvalid(
        f"{path} is not CSV in line {number}: {fault}.",
        hint='Put a cell with a quote, a comma or a line break in quotes, and double each quote in it: "24"" wide". A'
        " backslash is not an escape character.",
    )


def _find_error(row: bytes, position: int) -> tuple[str, int]:
    """The error in the cell that begins here, and the position of the error."""
    if row.startswith(b'"', position):
        closed = _QUOTED.match(row, position)
        return (
            ("text follows a closing quote", closed.end()) if closed else ("a quote is opened and not closed", position)
        )
    unquoted = _BARE.match(row, position)
    end = unquoted.end() if unquoted else position
    if row.startswith(b'"', end):
        return "a quote is inside a cell that is not quoted", end
    return "a carriage return has no line feed after it", end


def _decode(cell: bytes) -> str:
    """Bytes that are not UTF-8 are kept unchanged: the contract rejects them with a reason."""
    return cell.decode("utf-8", "surrogateescape")
