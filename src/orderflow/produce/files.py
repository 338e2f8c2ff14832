"""Reads the orders of a file as messages."""

from __future__ import annotations

import codecs
import io
import json
import re
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import IO, cast

import msgspec
from rich.progress import Progress

from orderflow.contract.definition import EIGHT
from orderflow.errors import InputInvalid
from orderflow.produce.generator import ANY_PARTITION, Message

_NUMBERS = {"customer_id", "unit_price", "quantity", "total_price"}
_JSON_NUMBER = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?")
_QUOTED = re.compile(rb'"[^"]*(?:""[^"]*)*"')
_BARE = re.compile(rb'[^",\r\n]*')
_CELL = re.compile(rb'(?:"([^"]*(?:""[^"]*)*)"|([^",\r\n]*))(,|\r?\n|\Z)')
_MAX_RECORD = 64 * 1024 * 1024  # bytes; more than Kafka accepts, and it limits the memory used
_UTF16 = codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE


class _Keyed(msgspec.Struct):
    order_id: str


_read_keyed = msgspec.json.Decoder(_Keyed).decode


def read_messages(path: Path, progress: Progress) -> Iterator[Message]:
    """Iterate over the messages of a .jsonl, .ndjson or .csv file; `progress` gets tasks that count the bytes read.

    - JSONL: the value is the unchanged bytes of a line.
    - CSV (RFC 4180): the header holds the names of the eight fields, in any order. The value is a JSON object with the
      numbers as they are written, because the contract rejects the wrong ones. A row with another number of cells
      becomes the JSON array of its cells, which the contract also rejects.

    Blank lines, and a byte order mark at the start, are skipped. The key is the order_id if it can be read, otherwise
    None.

    The whole file is checked before this function returns: in a file that is UTF-16 or not valid CSV, the start of the
    next record is unknown. Raises InputInvalid, with the line.
    """
    kind = path.suffix.lower()
    if kind not in (".csv", ".jsonl", ".ndjson"):
        raise InputInvalid(f"{path} is neither .jsonl nor .csv.", hint="The file extension selects the format.")
    read = _read_csv if kind == ".csv" else _read_json_lines
    for _ in read(path, _open(path, progress, f"check {path.name}")):
        pass
    return read(path, _open(path, progress, path.name))


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


def _read_lines(path: Path, file: IO[bytes]) -> Iterator[tuple[int, bytes]]:
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


def _read_json_lines(path: Path, file: IO[bytes]) -> Iterator[Message]:
    for _, line in _read_lines(path, file):
        value = line.removesuffix(b"\n")
        if value.strip():
            yield _read_key(value), value, ANY_PARTITION


def _read_key(value: bytes) -> bytes | None:
    try:
        return _read_keyed(value).order_id.encode()
    except (msgspec.DecodeError, UnicodeError):
        return None


def _read_csv(path: Path, file: IO[bytes]) -> Iterator[Message]:
    rows = _read_rows(path, file)
    first = next(rows, [])
    header = [_decode(cell) for cell in first]
    if sorted(header) != sorted(EIGHT):
        raise InputInvalid(
            f"The first line of {path} is {ascii(','.join(header))[:200]}, not the names of the eight fields.",
            hint=f"Write the header {','.join(EIGHT)}, in any order.",
        )
    return (_row_to_message(header, cells) for cells in rows)


def _read_rows(path: Path, file: IO[bytes]) -> Iterator[list[bytes]]:
    """Iterate over the cells of each row that is not blank."""
    lines = _read_lines(path, file)
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
    cells, position = [], 0
    while match := _CELL.match(row, position):
        quoted, unquoted, end = match.groups()
        cells.append(unquoted if quoted is None else quoted.replace(b'""', b'"'))
        position = match.end()
        if end != b",":
            return cells
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


def _row_to_message(header: list[str], cells: list[bytes]) -> Message:
    texts = [_decode(cell) for cell in cells]
    if len(cells) != len(header):
        return None, _encode(json.dumps(texts, ensure_ascii=False)), ANY_PARTITION
    row = dict(zip(header, texts, strict=True))
    fields = ", ".join([f'"{name}": {_json_token(name, row[name])}' for name in EIGHT])
    return _encode(row["order_id"]), _encode(f"{{{fields}}}"), ANY_PARTITION


def _json_token(name: str, cell: str) -> str:
    number = cell.strip(" \t")
    if name in _NUMBERS and _JSON_NUMBER.fullmatch(number):
        return number
    return json.dumps((cell or None) if name in _NUMBERS else cell, ensure_ascii=False)


def _decode(cell: bytes) -> str:
    """Bytes that are not UTF-8 are kept unchanged: the contract rejects them with a reason."""
    return cell.decode("utf-8", "surrogateescape")


def _encode(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")
