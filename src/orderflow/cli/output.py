"""Standard output and standard error: they accept any character; a failed write to stdout is an OrderFlowError."""

from __future__ import annotations

import io
import os
import sys
from contextlib import suppress
from typing import TYPE_CHECKING, TextIO

from orderflow.errors import OperatorError

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer


class OutputUnwritable(OperatorError):
    """Standard output is closed, its reader has ended, or its disk is full."""


class _Output(io.FileIO):
    """Standard output."""

    def write(self, data: ReadableBuffer, /) -> int:
        try:
            return super().write(data)
        except OSError as error:
            raise OutputUnwritable(
                f"Standard output cannot be written: {error.strerror}.",
                hint="Send it to a file on a disk with free space, or to a program that reads all of it.",
            ) from error


class _ErrorOutput(io.FileIO):
    """Standard error. A failed write is ignored: there is no other place to report it, and the command can continue."""

    def write(self, data: ReadableBuffer, /) -> int:
        with suppress(OSError):
            return super().write(data)
        return memoryview(data).nbytes


def prepare() -> None:
    """Replace sys.stdout and sys.stderr. They escape characters that their encoding lacks."""
    # The next file or socket would reuse a closed descriptor's number, and receive the prints. On /dev/null opened for
    # reading, a write fails as it does on a closed descriptor.
    for number, mode in ((0, os.O_RDONLY), (1, os.O_RDONLY), (2, os.O_WRONLY)):
        try:
            os.fstat(number)
        except OSError:
            os.set_inheritable(os.open(os.devnull, mode), True)
    sys.stdout = _text(_Output(1, "w", closefd=False), sys.stdout)
    sys.stderr = _text(_ErrorOutput(2, "w", closefd=False), sys.stderr)


def _text(raw: io.FileIO, original: TextIO | None) -> io.TextIOWrapper:
    """Return a stream like `original`, which is None if its descriptor was closed at start."""
    unbuffered = isinstance(original, io.TextIOWrapper) and original.write_through
    return io.TextIOWrapper(
        raw if unbuffered else io.BufferedWriter(raw),  # like Python's own under -u
        encoding=original.encoding if original else "utf-8",
        errors="backslashreplace",
        line_buffering=original.line_buffering if isinstance(original, io.TextIOWrapper) else False,
        write_through=unbuffered,
    )


def use_utf8() -> None:
    """Set standard output to UTF-8, whatever the terminal's encoding, because a program reads it."""
    assert isinstance(sys.stdout, io.TextIOWrapper)
    sys.stdout.reconfigure(encoding="utf-8")


def discard() -> None:
    """Drop unwritten output. Otherwise the interpreter reports it as an error when it ends."""
    null_device = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null_device, 1)
    os.close(null_device)
