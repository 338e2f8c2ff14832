"""The last resort: turns an unexpected exception into an error message, and a report that helps to fix it."""

from __future__ import annotations

import errno
import json
import os
import platform
import ssl
import sys
import tempfile
import traceback
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path

from orderflow import settings as settings_module
from orderflow.cli import context
from orderflow.cli.text import safe
from orderflow.errors import SHORTAGE_HINTS, FileUnusable, OperatorError, OrderFlowError
from orderflow.jvm import cache

# Errors with these numbers are caused by the program, all others by the state of the machine.
_PROGRAM_ERRNOS = {errno.ENOENT, errno.EEXIST, errno.EINVAL, errno.EBADF, errno.ENOTTY, errno.ESPIPE, errno.EFAULT}
_DISK_FULL_ERRNOS = {errno.ENOSPC, errno.EDQUOT}
_PACKAGE = Path(__file__).parents[1]


class Defect(OrderFlowError):
    """A bug in OrderFlow."""

    exit_code = 3


def explain(error: BaseException) -> OrderFlowError:
    """Return the error to show for an unexpected exception."""
    if isinstance(error, OrderFlowError):
        return error
    if isinstance(error, OSError) and not isinstance(error, ssl.SSLError) and (known := _environment_error(error)):
        return known
    return _defect(error)


def _environment_error(error: OSError) -> OrderFlowError | None:
    path = Path(os.fsdecode(error.filename)) if isinstance(error.filename, (str, bytes)) else Path()
    if error.errno is None or (error.errno in _PROGRAM_ERRNOS and not _contains_configured_folder(path)):
        return _missing_folder_error()
    if error.filename is None:
        return OperatorError(
            f"An operating system call failed: {error.strerror}.",
            hint=SHORTAGE_HINTS.get(error.errno, "Fix the cause, then run the command again."),
        )
    action = "Free some space there" if error.errno in _DISK_FULL_ERRNOS else "Give this user access to it"
    return FileUnusable(f"{error.filename} cannot be used: {error.strerror}.", hint=f"{action}{_name_setting(path)}.")


def _contains_configured_folder(path: Path) -> bool:
    """Whether the path is a configurable folder, or a parent of one: mkdir fails in /proc, and below a file."""
    return path != Path() and any(
        folder.absolute().is_relative_to(path.absolute()) for _, folder in _configured_folders()
    )


def _name_setting(path: Path) -> str:
    """Name the setting that moves the path elsewhere."""
    for name, folder in _configured_folders():
        if path.is_relative_to(folder) or folder.is_relative_to(path):
            return f", or set {name} to another folder"
    return ""


def _configured_folders() -> Iterator[tuple[str, Path]]:
    try:
        yield "ORDERFLOW_HOME", settings_module.load().home
        yield "XDG_CACHE_HOME", cache.path()
        yield "TMPDIR", Path(tempfile.gettempdir())
    except (OrderFlowError, OSError):
        return


def _missing_folder_error() -> OrderFlowError | None:
    """Return the error if a folder that every process needs is missing."""
    try:
        settings_module.working_directory()
    except OrderFlowError as error:
        return error
    try:
        tempfile.gettempdir()
    except OSError as error:
        return FileUnusable(f"{error.strerror}.", hint="Set TMPDIR to a folder that this user may write to.")
    return None


def _defect(error: BaseException) -> Defect:
    secrets = _secrets()
    text = _redact(secrets, _details(error))
    summary = _redact(secrets, f"{type(error).__name__}: {error}".splitlines()[0])[:300].rstrip(".: ")
    try:
        hint = f"Please report it and attach {_write_report(text)}. This file has the details, but no passwords."
    except OSError as write_error:
        hint = f"Please report it. The details could not be written to a file: {write_error.strerror}."
    return Defect(f"This is a bug in OrderFlow: {summary} ({_source_line(error)}).", hint=hint)


def _details(error: BaseException) -> str:
    try:
        version = metadata.version("orderflow")
    except metadata.PackageNotFoundError:
        version = "from a clone"
    return "\n".join(
        [
            f"OrderFlow {version}, Python {platform.python_version()}, {platform.platform()}",
            f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}",
            f"Command: {safe(' '.join(sys.argv))}",
            "",
            "".join(traceback.format_exception(error)),
        ]
    )


def _source_line(error: BaseException) -> str:
    """Return the line of OrderFlow that raised the error."""
    frames = traceback.extract_tb(error.__traceback__)
    own_frames = [frame for frame in frames if Path(frame.filename).is_relative_to(_PACKAGE)]
    frame = next(reversed(own_frames or frames), None)
    return f"{Path(frame.filename).name} line {frame.lineno}" if frame else "unknown line"


def _write_report(text: str) -> Path:
    """Write the report. Only this user may read it."""
    descriptor, name = tempfile.mkstemp(prefix="orderflow-report-", suffix=".txt", dir=_report_folder())
    with os.fdopen(descriptor, "w", encoding="utf-8", errors="backslashreplace") as file:
        file.write(text)
    return Path(name)


def _report_folder() -> Path | None:
    """Return ORDERFLOW_HOME if it exists, otherwise the folder of temporary files."""
    try:
        home = settings_module.load().home
    except Exception:  # noqa: BLE001 - the settings may be what has failed
        return None
    return home if os.access(home, os.W_OK | os.X_OK) else None


def _secrets() -> set[str]:
    secrets = {value for name, value in os.environ.items() if settings_module.is_secret(name)}
    with suppress(Exception):  # the settings may be what has failed
        for settings in (settings_module.load(), context.load()):
            names = filter(settings_module.is_secret, settings.shown())
            secrets |= {str(getattr(settings, name.lower())) for name in names}
    return secrets - {"", "None"}


def _redact(secrets: set[str], text: str) -> str:
    for secret in sorted(secrets, key=len, reverse=True):
        for form in (secret, repr(secret)[1:-1], json.dumps(secret)[1:-1]):
            text = text.replace(form, "***")
    return text
