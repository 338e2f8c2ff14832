"""Spark's worker daemon (spark.python.daemon.module), which imports `tasks` before it forks workers.

Otherwise each worker would spend 0.9 s of processor time on these imports at its start, and keep its own copy in
memory.
"""

from __future__ import annotations

import gc
import os
import sys
import traceback

import orderflow.spark.tasks  # noqa: F401 # isort: skip # before Spark's imports, for the reason in tasks.py

from pyspark import daemon

from orderflow.contract.fast_path import decode_values
from orderflow.store.worker_process import configure_worker_process


class _Traceback:
    """Replaces the module `traceback` in Spark's daemon, which prints a traceback whenever Spark stops a worker."""

    @staticmethod
    def print_exc() -> None:
        if not isinstance(sys.exc_info()[1], ConnectionError | EOFError):
            traceback.print_exc()


if __name__ == "__main__":
    daemon.traceback = _Traceback  # type: ignore[attr-defined, assignment]
    configure_worker_process()
    decode_values([b"{}"])  # the first call loads the C library: 1.3 s in a fresh worker on a busy machine
    # In Real-Time Mode, Spark's buffer is 4 bytes. A worker with that buffer would send each result at once. Spark
    # reads results only at the end of a task, so the socket would fill and the worker would block.
    os.environ["SPARK_BUFFER_SIZE"] = "65536"
    # Spark's worker collects garbage after each task. Without freeze, each one scans all imported modules: 45 ms.
    gc.collect()
    gc.freeze()
    daemon.manager()
