"""The files that the subcommands read: a contract file, and samples of orders."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import IO, TYPE_CHECKING

from orderflow.errors import InputInvalid

if TYPE_CHECKING:
    from orderflow.contract.definition import Contract

_MAX_CONTRACT_BYTES = 1024 * 1024


def read_contract_text(path: Path) -> str:
    """Return the text of a contract file. Raises InputInvalid."""
    with _open(path) as file:
        content = file.read(_MAX_CONTRACT_BYTES + 1)
    if len(content) > _MAX_CONTRACT_BYTES:
        raise InputInvalid(f"The contract file {path} is larger than 1 MiB.", hint="Name a contract file (TOML).")
    try:
        return content.decode()
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise InputInvalid(f"The contract file {path} is not UTF-8 in line {line}.", hint="Save it as UTF-8.") from None


def _open(path: Path) -> IO[bytes]:
    try:
        return path.open("rb")
    except OSError as error:
        raise InputInvalid(f"{path} cannot be read: {error.strerror}.", hint="Check the path.") from None


def is_csv(path: Path) -> bool:
    """Whether the samples are CSV and not JSON lines. Raises InputInvalid if they are neither."""
    extension = path.suffix.lower()
    if extension not in (".csv", ".jsonl", ".ndjson"):
        raise InputInvalid(f"{path} is neither .jsonl nor .csv.", hint="The file extension selects the format.")
    return extension == ".csv"


def read_rows(path: Path) -> tuple[list[str], Iterator[tuple[str, list[str]]]]:
    """Return the header of a CSV file, and each row with its number ("row 1"). Raises InputInvalid."""
    from orderflow.produce import files

    rows = ([cell.decode("utf-8", "surrogateescape") for cell in row] for row in files.read_rows(path, _open(path)))
    header = next(rows, [])
    if len({*header}) < len(header) or "" in header:
        raise InputInvalid(
            f"The first line of {path} has an empty or a repeated name.", hint="Name each column once in it."
        )
    return header, ((f"row {number}", row) for number, row in enumerate(rows, 1))


def read_lines(path: Path) -> Iterator[tuple[str, bytes]]:
    """Yield each line that is not blank, with its number ("line 1"). Raises InputInvalid."""
    from orderflow.produce import files

    for number, line in files.read_lines(path, _open(path)):
        if line.strip():
            yield f"line {number}", line.removesuffix(b"\n")


def read_messages(path: Path, contract: Contract) -> Iterator[tuple[str, bytes]]:
    """Yield each sample as a message of the contract, with its line or row. Raises InputInvalid."""
    from orderflow.contract.cells import converter

    if not is_csv(path):
        yield from read_lines(path)
        return
    header, rows = read_rows(path)
    convert = converter(header, contract)
    for position, row in rows:
        yield position, convert(row)


def no_samples_error(path: Path) -> InputInvalid:
    return InputInvalid(f"{path} has no samples.", hint="Write one JSON object a line, or CSV with a header.")
