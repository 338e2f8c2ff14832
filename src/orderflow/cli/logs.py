"""The output of commands apart from their results: on stderr, in UTC, safe for a terminal."""

from __future__ import annotations

import json
import logging
import os
import sys
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import cache
from logging.handlers import RotatingFileHandler
from pathlib import Path
from typing import Annotated, Literal

import typer
from rich.console import Console
from rich.text import Text

from orderflow import settings
from orderflow.cli.text import safe
from orderflow.errors import OrderFlowError

_STYLES = {logging.WARNING: "yellow", logging.ERROR: "red", logging.CRITICAL: "bold red"}
_FILE_BYTES, _FILES_KEPT = 10 * 1024 * 1024, 5
_STANDARD_ATTRIBUTES = vars(logging.makeLogRecord({})).keys() | {"message", "asctime", "taskName"}


def _set_format(format_: str | None) -> str | None:
    if format_:
        os.environ["LOG_FORMAT"] = format_  # for this process and those it starts
    return format_


Format = Annotated[
    Literal["text", "json"] | None,
    typer.Option(
        "--log-format",
        callback=_set_format,
        show_default="LOG_FORMAT",
        help="json: each log line on stderr is a JSON object.",
    ),
]


@cache
def console() -> Console:
    """Return the only console on stderr. Log lines and progress bars share it, so that neither overwrites the other."""
    return Console(stderr=True, highlight=False, soft_wrap=True)


def setup(file: Path | None = None) -> None:
    """Send the package's log lines to stderr and, if named, to a file, rotated at 10 MB (5 old ones are kept)."""
    log = logging.getLogger("orderflow")
    log.setLevel(logging.INFO)
    log.propagate = False  # pyspark adds a handler to the root logger
    _add_handler(log, _ConsoleHandler())
    if file is not None:
        try:
            handler = _FileHandler(file, maxBytes=_FILE_BYTES, backupCount=_FILES_KEPT, encoding="utf-8")
        except OSError as error:
            log.warning("%s cannot be written (%s): log lines go to stderr only", file, error.strerror)
        else:
            _add_handler(log, handler)


def show_error(error: OrderFlowError) -> None:
    """Show the error's message and its hint."""
    if _as_json():
        record = logging.makeLogRecord({"name": "orderflow", "levelno": logging.ERROR, "levelname": "ERROR"})
        record.msg, record.hint, record.error = error.message, error.hint, error.name
        console().print(Text(_JsonFormatter().format(record)))
        return
    lines = [("error", "bold red", error.message), ("hint", "bold cyan", error.hint)]
    for label, style, text in lines:
        if text:
            # Only a message may have several lines: the last lines of a server's log.
            shown = "\n".join(map(safe, text.splitlines()))
            console().print(Text.assemble((f"{label}: ", style), shown))


class _SafeFormatter(logging.Formatter):
    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802
        record.message = safe(record.message)
        return super().formatMessage(record)


class _JsonFormatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        line = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "thread": record.threadName,
            "message": record.getMessage(),
            **{name: value for name, value in vars(record).items() if name not in _STANDARD_ATTRIBUTES},
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str)


class _ConsoleHandler(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        console().print(Text(self.format(record), style=_STYLES.get(record.levelno, "")))


class _FileHandler(RotatingFileHandler):
    """A log file. When it becomes unwritable, this is logged once, and log lines go to stderr only."""

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802
        log = logging.getLogger("orderflow")
        log.removeHandler(self)
        error = sys.exception()
        reason = error.strerror if isinstance(error, OSError) else error
        log.warning("%s cannot be written (%s): log lines go to stderr only", self.baseFilename, reason)


def _add_handler(log: logging.Logger, handler: logging.Handler) -> None:
    formatter = _SafeFormatter("%(asctime)s %(levelname)-7s %(message)s", "%Y-%m-%dT%H:%M:%SZ")
    formatter.converter = time.gmtime
    handler.setFormatter(_JsonFormatter() if _as_json() else formatter)
    log.addHandler(handler)


def _as_json() -> bool:
    """Read the environment, not the settings: an error may be about the settings, or about an unreadable .env."""
    try:
        environ: Mapping[str, str] = settings.read_environment()
    except OrderFlowError:
        environ = os.environ
    return environ.get("LOG_FORMAT", "").strip() == "json"
