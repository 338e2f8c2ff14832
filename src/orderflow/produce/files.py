"""A user's own orders, read from a file as messages."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import IO, cast

import msgspec
from rich.progress import Progress

from orderflow.errors import InputInvalid
from orderflow.order import FIELDS
from orderflow.produce.generator import ANY_PARTITION, Message

_NUMBERS = {"customer_id", "unit_price", "quantity", "total_price"}
_JSON_NUMBER = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?")


class _Keyed(msgspec.Struct):
    order_id: str


_read_keyed = msgspec.json.Decoder(_Keyed).decode


def messages(path: Path, progress: Progress) -> Iterator[Message]:
    """The messages of a .jsonl, .ndjson or .csv file; `progress` gets a task that counts the bytes read.

    JSONL: each line's bytes as they are; blank lines are passed over. CSV (UTF-8; a header with the names of the
    eight fields, in any order): each row as a JSON object with the numbers' own text, so that a wrong one is for
    the contract to judge; a row with another number of cells is sent as the JSON array of its cells, which the
    contract rejects. The key is the order_id where it can be read.

    Raises InputInvalid: at once if the file cannot be opened or its header is wrong, later if it is no CSV.
    """
    kind = path.suffix.lower()
    if kind not in (".csv", ".jsonl", ".ndjson"):
        raise InputInvalid(f"{path} is neither .jsonl nor .csv.", hint="A file's ending says how it is read.")
    try:
        raw = progress.open(path, "rb", buffering=0, description=path.name)
    except OSError as error:
        raise InputInvalid(f"{path} cannot be read: {error.strerror}.", hint="Check the path after --file.") from None
    # The bar moves by what is read from disk, in large pieces: moving it costs more than reading a line.
    file = io.BufferedReader(cast(io.RawIOBase, raw), 1024 * 1024)
    return _row_messages(path, file) if kind == ".csv" else _line_messages(file)


def _line_messages(file: IO[bytes]) -> Iterator[Message]:
    with file:
        for line in file:
            value = line.removesuffix(b"\n")
            if value.strip():
                yield _key(value), value, ANY_PARTITION


def _key(value: bytes) -> bytes | None:
    try:
        return _read_keyed(value).order_id.encode()
    except (msgspec.DecodeError, UnicodeError):
        return None


def _row_messages(path: Path, file: IO[bytes]) -> Iterator[Message]:
    # Bytes that are not UTF-8 pass through as they are: the contract names them.
    text = io.TextIOWrapper(file, encoding="utf-8-sig", errors="surrogateescape", newline="")
    rows = _rows(path, text)
    header = next(rows, [])
    if sorted(header) != sorted(FIELDS):
        raise InputInvalid(
            f"The first line of {path} is {ascii(','.join(header))[:200]}, not the names of the eight fields.",
            hint=f"Make it {','.join(FIELDS)}; their order is free.",
        )
    return (_row_message(header, cells) for cells in rows)


def _rows(path: Path, text: io.TextIOWrapper) -> Iterator[list[str]]:
    with text:
        reader = csv.reader(text)
        try:
            yield from filter(None, reader)
        except csv.Error as error:
            raise InputInvalid(
                f"{path} cannot be read as CSV from line {reader.line_num} on: {error}.",
                hint="A quote that is not closed is the usual cause. The rows before it have been sent.",
            ) from None


def _row_message(header: list[str], cells: list[str]) -> Message:
    if len(cells) != len(header):
        return None, _json_bytes(json.dumps(cells, ensure_ascii=False)), ANY_PARTITION
    row = dict(zip(header, cells, strict=True))
    fields = ", ".join([f'"{name}": {_json_token(name, row[name])}' for name in FIELDS])
    return _json_bytes(row["order_id"]), _json_bytes(f"{{{fields}}}"), ANY_PARTITION


def _json_token(name: str, cell: str) -> str:
    if name in _NUMBERS and _JSON_NUMBER.fullmatch(cell.strip()):
        return cell.strip()
    return json.dumps((cell or None) if name in _NUMBERS else cell, ensure_ascii=False)


def _json_bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")
