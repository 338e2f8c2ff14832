"""`orderflow up --orders`: waits until all orders are stored, audits them, and prints the result."""

from __future__ import annotations

import json
import logging
import time
from typing import TYPE_CHECKING

from orderflow.cli import logs
from orderflow.cli.up.session import Session
from orderflow.errors import Unavailable
from orderflow.plurals import counted

if TYPE_CHECKING:
    from orderflow.audit import Report

log = logging.getLogger(__name__)

_POLL_INTERVAL = 0.1  # seconds between two checks
_AUDIT_WAIT = 0.5  # seconds before an audit that failed is repeated
_SETTLE_TIME = 10.0  # seconds before the topic's end is trusted: a restarted broker first reports an older one
_STALL_TIMEOUT = 180.0  # seconds without progress after which --orders gives up


def store_and_audit(session: Session, orders: int) -> Report:
    """Wait until all orders are stored, and audit them.

    Raises StartFailed as `_store_all`.
    """
    _store_all(session, orders)
    while (report := _audit(session)).not_yet_stored:  # a restarted broker had reported an older end
        _store_all(session, orders)
    return report


def _store_all(session: Session, orders: int) -> None:
    """Wait until the producer has sent all orders and none waits in the topic.

    Raises StartFailed if the producer was stopped too early, or nothing is stored any more.
    """
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    console = logs.console()
    producer = session.stack.commands["produce"]
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    progressed_at, last_total = time.monotonic(), -1
    with Progress(*columns, console=console, disable=not console.is_terminal, transient=True) as progress:
        task = progress.add_task("stored", total=None)
        while True:
            finished = producer.exit_code == 0  # read first: what it sent is in the topic at the next check
            session.stack.restart_stopped()
            session.poll()
            if (status := session.status) and status.lag is not None:
                accounted = status.stored + status.duplicates + status.quarantined
                progress.update(task, completed=accounted, total=accounted + status.lag)
                if finished and status.lag == 0 and session.sent >= orders:
                    return
                if accounted + session.sent != last_total:
                    progressed_at, last_total = time.monotonic(), accounted + session.sent
            if finished and session.sent < orders and time.monotonic() - progressed_at > _SETTLE_TIME:
                raise producer.failure(
                    f"orderflow produce was stopped after {session.sent:,} of {counted(orders, 'order')}."
                )
            if time.monotonic() - progressed_at > _STALL_TIMEOUT:
                sink = session.stack.commands["sink"]
                raise sink.failure(f"Nothing was stored for {_STALL_TIMEOUT:g} s; {session.summary()}")
            time.sleep(_POLL_INTERVAL)


def _audit(session: Session) -> Report:
    """Run the audit. If a server does not answer, wait for it."""
    from orderflow import audit

    deadline = time.monotonic() + _STALL_TIMEOUT
    while True:
        try:
            return audit.run(session.stack.settings)
        except Unavailable as unavailable:
            if time.monotonic() > deadline:
                raise
            log.warning("%s The audit restarts.", unavailable.message)
        session.stack.restart_stopped()
        time.sleep(_AUDIT_WAIT)


def show(report: Report, session: Session, as_json: bool) -> None:
    """Print the numbers and the audit's result."""
    if as_json:
        print(
            json.dumps(
                {
                    "sent": session.sent,
                    "newest": session.last_status and session.last_status.newest_order,
                    **report.summary(),
                }
            )
        )
    else:
        print(session.summary())
        print(report.sentence())
