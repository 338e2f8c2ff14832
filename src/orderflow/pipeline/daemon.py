"""Spark's worker daemon, with the sink function's imports done before it forks.

Each worker would otherwise spend 0.9 s of processor time on them at its start, and hold its own copy.
"""

from __future__ import annotations

import gc

import pandas  # noqa: F401
from pyspark import daemon

import orderflow.pipeline.sink  # noqa: F401

if __name__ == "__main__":
    # Spark's worker collects after each task: 45 ms of processor time to look through what was imported.
    gc.collect()
    gc.freeze()
    daemon.manager()
