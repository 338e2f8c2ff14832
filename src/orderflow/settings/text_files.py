"""Reads text files of limited size."""

from __future__ import annotations

from pathlib import Path

_LIMIT = 1024 * 1024  # bytes of .env, of a password, or of a certificate


class FileUnreadable(Exception):
    """The reason why a file cannot be read as text."""


def read_text(path: Path) -> str:
    """Return the file's text unchanged, including line breaks.

    Raises FileUnreadable.
    """
    try:
        with path.open("rb") as file:
            data = file.read(_LIMIT + 1)
        text = data.decode()
    except OSError as error:
        raise FileUnreadable(error.strerror) from None
    except UnicodeDecodeError:
        raise FileUnreadable("it is not UTF-8") from None
    if len(data) > _LIMIT:
        raise FileUnreadable("it is larger than 1 MiB")
    if "\0" in text:
        raise FileUnreadable("it contains NUL characters, so it is not UTF-8 text")
    return text
