"""Failed queries: translates Spark's exceptions into OrderFlow's errors, and restarts queries after an outage."""

from __future__ import annotations

import errno
import logging
import os
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

from orderflow.errors import (
    SHORTAGE_HINTS,
    Contention,
    EngineFailed,
    Interrupted,
    JvmExited,
    OrderFlowError,
    OutOfResources,
    Unavailable,
)
from orderflow.restarts import HEALTHY_RUN, Restarts, failure_message
from orderflow.spark.tasks import error_from_worker

if TYPE_CHECKING:
    from pyspark.sql.streaming.query import StreamingQuery

log = logging.getLogger(__name__)

# Kafka's client in the JVM, or Spark's Kafka source, has waited for a broker as long as its options allow.
_KAFKA_TIMEOUTS = ("org.apache.kafka.common.errors.TimeoutException", "Cannot fetch record for offset")
_WORKERS_REACH_KAFKA = (
    "If this repeats although `orderflow doctor` reaches Kafka, check whether Spark's workers reach each broker, and"
    " how fast the network is."
)
_SCRATCH_FULL = "Free some space in /dev/shm and in TMPDIR: the sink's scratch folder is in one of them."


def error_of_query(exception: Any) -> OrderFlowError:
    """Return the error that ended a query: the worker's error, else Interrupted with Spark's innermost cause."""
    return error_from_worker(str(exception)) or error_from_java("Spark's query ended", _root_cause(exception))


def error_from_java(failure: str, cause: str) -> OrderFlowError:
    """Return the error for Java's exception.

    It is OutOfResources if this machine is short of something, else Interrupted. The text of `cause` decides, because
    Java does not pass on the system's error number. If Kafka is down, the next start reports it.
    """
    message = f"{failure}: {cause.rstrip('.')}."
    for number, hint in SHORTAGE_HINTS.items():
        if cause.endswith(os.strerror(number)):
            is_disk = number in (errno.ENOSPC, errno.EDQUOT)
            return OutOfResources(message, hint=_SCRATCH_FULL if is_disk else hint)
    is_kafka_timeout = any(text in cause for text in _KAFKA_TIMEOUTS)
    return Interrupted(message, hint=_WORKERS_REACH_KAFKA if is_kafka_timeout else "")


@contextmanager
def translate_errors() -> Iterator[None]:
    """Translate exceptions of Spark and of its gateway into OrderFlow's errors."""
    from py4j.protocol import Py4JError, Py4JJavaError, Py4JNetworkError
    from pyspark.errors import PySparkRuntimeError
    from pyspark.errors.exceptions.captured import CapturedException

    try:
        yield
    except CapturedException as exception:
        raise error_of_query(exception) from exception
    except (Py4JNetworkError, ConnectionError) as exception:
        raise JvmExited(f"Spark's JVM has exited ({exception}).") from exception
    except PySparkRuntimeError as exception:
        condition = (
            exception.getCondition if hasattr(exception, "getCondition") else exception.getErrorClass
        )  # Spark 3.5
        if condition() != "JAVA_GATEWAY_EXITED":
            raise
        raise JvmExited("Spark's JVM exited while it started.") from exception
    except Py4JJavaError as exception:
        raise error_from_java("Spark failed", first_line(str(exception.java_exception))) from exception
    except Py4JError as exception:
        raise Interrupted(f"Spark's gateway failed: {first_line(str(exception))}") from exception


def keep_running(start: Callable[[], StreamingQuery]) -> None:
    """Start the query and wait for its end. Restart it whenever Kafka, MySQL or a worker has failed.

    `start` must use startingOffsets="ledger", so that records are neither lost nor stored twice.
    Raises OperatorError if waiting does not help.
    """
    from py4j.protocol import Py4JNetworkError
    from pyspark.errors import PySparkException

    restarts = Restarts("The query")
    while True:
        started_at, query = time.monotonic(), None
        try:
            query = start()
            query.awaitTermination()
        except (Unavailable, Contention) as outage:
            error = outage
        except PySparkException as exception:
            ended_by = error_of_query(exception)
            if not isinstance(ended_by, Unavailable | Contention):
                raise ended_by from exception
            error = ended_by
        except (Py4JNetworkError, ConnectionError) as exception:
            raise EngineFailed(
                f"Spark's JVM has exited ({exception}).", hint="Nothing is lost. Start the application again."
            ) from exception
        else:
            return
        was_healthy = query is not None and _was_healthy(query, time.monotonic() - started_at)
        wait = restarts.register_run(error, was_healthy=was_healthy)
        log.warning("%s", failure_message(error, "Restarting at the ledger's position."))
        time.sleep(wait)


def _was_healthy(query: StreamingQuery, seconds: float) -> bool:
    """Whether the query has stored records, or had none to store and has run for a minute."""
    from py4j.protocol import Py4JNetworkError

    with suppress(Py4JNetworkError, ConnectionError):  # the next start reports that the JVM is gone
        # Spark reports a trigger when it has ended. A query whose first batch fails has none.
        return any(progress["numInputRows"] or seconds > HEALTHY_RUN for progress in query.recentProgress)
    return False


def _root_cause(exception: Any) -> str:
    while getattr(exception, "_cause", None) is not None:
        exception = exception._cause
    text = str(getattr(exception, "_desc", None) or exception)
    # A worker's own error is at the end of its traceback, before Spark's SQLSTATE.
    worker_error = re.search(r"Traceback .*\n(\S.*)\n SQLSTATE", text, re.DOTALL)
    return first_line(worker_error[1] if worker_error else text)


def first_line(text: str) -> str:
    """Return the first line that is not blank."""
    return next((line.strip() for line in text.splitlines() if line.strip()), "no reason given")
