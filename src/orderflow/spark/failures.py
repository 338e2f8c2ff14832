"""Failed queries: translates Spark's exceptions into OrderFlow's errors, and restarts queries after an outage."""

from __future__ import annotations

import errno
import logging
import os
import random
import re
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from orderflow.errors import (
    SHORTAGE_HINTS,
    Contention,
    EngineFailed,
    Interrupted,
    LedgerGap,
    OrderFlowError,
    OutOfResources,
    Unavailable,
    UnknownDatabaseError,
)
from orderflow.spark.tasks import parse_error

if TYPE_CHECKING:
    from pyspark.sql.streaming.query import StreamingQuery

log = logging.getLogger(__name__)

_SCRATCH_FULL = "Free some space in /dev/shm and in TMPDIR: the sink's scratch folder is in one of them."
_LONGEST_WAIT = 5.0  # seconds between two starts
_MAX_FAILED_STARTS = 8  # failures in a row, each within _HEALTHY_RUN of its start, after which EngineFailed is raised
_HEALTHY_RUN = 60.0  # seconds of running after which the failures are counted from 0 again


def query_error(exception: Any) -> OrderFlowError:
    """Return the error that ended a query: the worker's error, else Interrupted with Spark's innermost cause."""
    return parse_error(str(exception)) or java_error("Spark's query ended", _root_cause(exception))


def java_error(what: str, cause: str) -> OrderFlowError:
    """Return the error for Java's exception: OutOfResources if this machine is short of something, else Interrupted.

    It is decided by the text of `cause`, because Java does not pass on the system's error number.
    """
    message = f"{what}: {cause.rstrip('.')}."
    for number, hint in SHORTAGE_HINTS.items():
        if cause.endswith(os.strerror(number)):
            is_disk = number in (errno.ENOSPC, errno.EDQUOT)
            return OutOfResources(message, hint=_SCRATCH_FULL if is_disk else hint)
    return Interrupted(message)


def keep_running(start: Callable[[], StreamingQuery]) -> None:
    """Start the query and wait for its end. Restart it whenever Kafka, MySQL or a worker has failed.

    `start` must use startingOffsets="ledger", so that records are neither lost nor stored twice.
    Raises OperatorError if waiting does not help.
    """
    from pyspark.errors import PySparkException

    failed, wait = 0, 0.2
    while True:
        began = time.monotonic()
        try:
            start().awaitTermination()
        except (Unavailable, Contention) as outage:
            error: OrderFlowError = outage
        except PySparkException as exception:
            error = query_error(exception)
            if not isinstance(error, Unavailable | Contention):
                raise error from exception
        else:
            return
        if time.monotonic() - began > _HEALTHY_RUN:
            failed, wait = 0, 0.2
        failed += isinstance(error, Interrupted | LedgerGap | UnknownDatabaseError)
        if failed >= _MAX_FAILED_STARTS:
            raise EngineFailed(
                f"The query failed {failed} times in a row: {error.message}",
                hint=error.hint or "Nothing is lost. See the log above, and `orderflow doctor`.",
            ) from error
        log.warning("%s Restarting at the ledger's position.", error.message)
        time.sleep(wait * random.uniform(0.5, 1))  # noqa: S311
        wait = min(wait * 1.5, _LONGEST_WAIT)


def _root_cause(exception: Any) -> str:
    while getattr(exception, "_cause", None) is not None:
        exception = exception._cause
    text = str(getattr(exception, "_desc", None) or exception)
    # A worker's own error is at the end of its traceback, before Spark's SQLSTATE.
    found = re.search(r"Traceback .*\n(\S.*)\n SQLSTATE", text, re.DOTALL)
    return first_line(found[1] if found else text)


def first_line(text: str) -> str:
    """Return the first line that is not blank."""
    return next((line.strip() for line in text.splitlines() if line.strip()), "no reason given")
