"""The sink function, which runs in Spark's Python workers: Arrow batches of raw records into the store.

Rejected: a Python Data Source with a DataSourceStreamArrowWriter (121 ms per micro-batch of 75 rows, this way
69 ms), and foreachBatch (more).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa

from orderflow.errors import OrderFlowError, from_wire
from orderflow.metrics import transactions
from orderflow.pipeline.engine import tune_memory
from orderflow.pipeline.source import TopicSource
from orderflow.store.run import Run
from orderflow.store.writer import Writer

OUTPUT = "stored long"  # what mapInArrow must declare; nothing is sent back

# A worker process keeps its connection between micro-batches, as long as source and `alone` stay the same.
_writer: tuple[tuple[TopicSource, bool], Writer] | None = None


class WorkerError(Exception):
    """Carries an OrderFlowError's type and texts through Spark, which passes on nothing but text."""


def write(
    batches: Iterator[pa.RecordBatch], source: TopicSource, scratch: Path, *, alone: bool
) -> Iterator[pa.RecordBatch]:
    """Commit each batch as one transaction. `alone` says that the topic has no other partition.

    Raises WorkerError.
    """
    try:
        for batch in batches:
            writer, run = _writer_for(source, scratch, alone), _run(batch)
            committed = writer.commit(run)
            if source.settings.sink_metrics_port:
                transactions.tell(scratch, run, committed, writer.timing)
    except OrderFlowError as error:
        _close()
        raise WorkerError(error.to_wire()) from error
    except BaseException:
        _close()
        raise
    yield from ()


def told(failure: str) -> OrderFlowError | None:
    """The OrderFlowError that a worker raised, from the text Spark made of it; None if it was none."""
    found = re.search(rf"^{__name__}\.{WorkerError.__name__}: (\{{.*\}})$", failure, re.MULTILINE)
    return from_wire(found[1]) if found else None


def _run(batch: pa.RecordBatch) -> Run:
    columns = {name: batch.column(name) for name in batch.schema.names}
    headers = None
    if "headers" in columns:
        headers = [
            [(header["key"], header["value"]) for header in record or ()] for record in columns["headers"].to_pylist()
        ]
    return Run(
        partitions=columns["partition"].to_pylist(),
        offsets=columns["offset"].to_pylist(),
        timestamps=columns["timestamp"].cast(pa.timestamp("ms", "UTC"), safe=False).cast(pa.int64()).to_pylist(),
        keys=columns["key"].to_pylist(),
        values=columns["value"].to_pylist(),
        headers=headers,
    )


def _writer_for(source: TopicSource, scratch: Path, alone: bool) -> Writer:
    global _writer  # noqa: PLW0603 - the worker process's own
    wanted = source, alone
    if _writer is not None and _writer[0] != wanted:
        _close()
    if _writer is None:
        tune_memory()
        _writer = wanted, Writer(source.settings, source, scratch if scratch.is_dir() else None, alone=alone)
    return _writer[1]


def _close() -> None:
    global _writer  # noqa: PLW0603
    if _writer is not None:
        _writer[1].close()
        _writer = None
