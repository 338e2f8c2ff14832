"""The corrected value of a record: from a file, or from the user's editor."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
import tempfile
from pathlib import Path

from orderflow.errors import InputInvalid


def read(file: Path) -> bytes:
    """Return the bytes of the file; of stdin for -."""
    try:
        return sys.stdin.buffer.read() if str(file) == "-" else file.read_bytes()
    except OSError as error:
        raise InputInvalid(
            f"{file} cannot be read: {error.strerror}.", hint="--value-file takes a file, or - for stdin."
        ) from error


def edit(value: bytes, quarantine_id: int) -> bytes:
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
        cause = f"{editor} ended with exit code {exit_code}" if exit_code else "Nothing was changed"
        raise InputInvalid(f"{cause}: record {quarantine_id} is unchanged.")
    return corrected
