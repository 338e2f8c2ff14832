"""The functions that run in Spark's Python workers. They commit or decode Arrow batches of raw records."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import TypeAlias

# Before pyarrow: after it, the MySQL client's C extension cannot allocate its thread-local data.
import orderflow.store.connection  # noqa: F401 # isort: skip

import pyarrow as pa

from orderflow.contract.definition import DEFAULT, Contract, Field, Kind
from orderflow.contract.exact_path import RangeCheck
from orderflow.contract.fast_path import decode_values
from orderflow.errors import InputInvalid, Interrupted, LedgerGap, OrderFlowError, RecordRejected, from_json
from orderflow.positions.kafka_topic_reader import KafkaTopicReader
from orderflow.read_ahead import read_ahead
from orderflow.store.commit_result import CommitResult
from orderflow.store.record_batch import MAX_TRANSACTION_RECORDS, RecordBatch
from orderflow.store.writer import Writer
from orderflow.telemetry import transactions

ArrowBatch: TypeAlias = pa.RecordBatch  # the store's RecordBatch is another class
RECORD_COLUMNS = ("partition", "offset", "timestamp", "key", "value")  # of Spark's Kafka source; headers is optional
# One row for each transaction: its partition, its offsets (`first_offset` <= offset < `end_offset`) and its counts.
TRANSACTION_SCHEMA = pa.schema(
    [
        ("partition", pa.int32()),
        ("first_offset", pa.int64()),
        ("end_offset", pa.int64()),
        ("stored", pa.int64()),
        ("duplicates", pa.int64()),
        ("quarantined", pa.int64()),
        ("seconds", pa.float64()),
    ]
)
_COORDINATES = [
    ("kafka_partition", pa.int32()),
    ("kafka_offset", pa.int64()),
    ("produced_at", pa.timestamp("us", "UTC")),
]
_REJECTS = [("reason", pa.string()), ("detail", pa.string()), ("value", pa.binary())]
# How long a task waits for the task that stores the preceding records. With minPartitions, several tasks read one
# partition. In Real-Time Mode, a partition may move to another worker while the first one still commits.
_GAP_TIMEOUT = 10.0  # seconds without progress, because a worker may start slowly
_GAP_POLL_INTERVAL = 0.02  # seconds
_GAP_HINT = (
    'Start the query with startingOffsets="ledger", and without the checkpointLocation of an earlier query: the ledger'
    " is the checkpoint."
)

# The next micro-batch uses it again if `_get_writer` gets the same arguments.
_writer: tuple[tuple[KafkaTopicReader, Path | None, bool], Writer] | None = None


class WorkerFailed(Exception):
    """Transports an OrderFlowError's class and texts through Spark, which only transports text."""


def commit_batches(
    arrow_batches: Iterator[ArrowBatch],
    topic_reader: KafkaTopicReader,
    *,
    scratch: Path | None = None,
    sort_by_last_digit: bool = True,
    check_gaps: bool = True,
) -> Iterator[ArrowBatch]:
    """Commit each batch, with one transaction per partition. Yield a row of TRANSACTION_SCHEMA for each transaction.

    LOAD DATA files and the metrics socket are in `scratch`, if it exists on this machine. `sort_by_last_digit`: see
    `order_rows.as_rows`. With `check_gaps`, Kafka is queried for each offset that is missing between two records.

    Raises WorkerFailed.
    """
    if scratch and not scratch.is_dir():  # it is the driver's, on another machine
        scratch = None
    try:
        for arrow_batch in read_ahead(arrow_batches):
            _check_topic(arrow_batch, topic_reader)
            for batch in _split_by_partition(arrow_batch):
                if check_gaps:
                    _check_gaps(batch, topic_reader)
                yield _commit_batch(batch, topic_reader, scratch, sort_by_last_digit)
    except OrderFlowError as error:
        _close()
        raise WorkerFailed(error.to_json()) from error
    except BaseException:
        _close()
        raise


def parse(
    arrow_batches: Iterator[ArrowBatch],
    contract: Contract = DEFAULT,
    range_check: RangeCheck | None = None,
    *,
    rejects: bool,
) -> Iterator[ArrowBatch]:
    """Decode each batch by the contract. Yield its orders, and with `rejects` also the rejected records."""
    for arrow_batch in arrow_batches:
        decoded = decode_values(arrow_batch.column("value").to_pylist(), contract, range_check)
        batch_indexes = decoded.orders["batch_index"].combine_chunks()
        columns = [_as_spark(field, decoded.orders[field.name]) for field in contract.columns]
        columns += _coordinates(arrow_batch, batch_indexes)
        if rejects:
            columns += [pa.nulls(len(batch_indexes), kind) for _, kind in _REJECTS]
        yield from pa.table(columns, schema=order_schema(contract, rejects=rejects)).to_batches()
        if rejects and decoded.rejected:
            yield _rejected(arrow_batch, contract, decoded.rejected)


def order_schema(contract: Contract = DEFAULT, *, rejects: bool = False) -> pa.Schema:
    """Return the schema of the batches that `parse` yields."""
    fields = [(field.name, _spark_type(field)) for field in contract.columns]
    return pa.schema([*fields, *_COORDINATES, *(_REJECTS if rejects else [])])


def error_from_worker(failure: str) -> OrderFlowError | None:
    """Return the OrderFlowError that a worker raised, parsed from Spark's exception text; None for other exceptions.

    Only this function parses an error's text: Spark does not transport the fields of a worker's exception.
    """
    line = re.search(rf"{re.escape(__name__)}\.{WorkerFailed.__name__}: (\{{.*\}})$", failure, re.MULTILINE)
    if not line:
        return None
    try:
        return from_json(line[1])
    except ValueError as error:  # the worker has another build
        return Interrupted(f"A worker failed: {line[1]} ({error}).", hint="Install the same build on all machines.")


def _spark_type(field: Field) -> pa.DataType:
    if field.kind is Kind.TIMESTAMP:
        return pa.timestamp("us", "UTC")
    return pa.bool_() if field.kind is Kind.BOOLEAN else field.arrow_type


def _as_spark(field: Field, column: pa.ChunkedArray) -> pa.ChunkedArray:
    if field.kind is Kind.TIMESTAMP:
        return column.cast(pa.timestamp("us")).cast(pa.timestamp("us", "UTC"))
    return column.cast(_spark_type(field))


def _coordinates(arrow_batch: ArrowBatch, batch_indexes: pa.Array) -> list[pa.Array]:
    columns = [arrow_batch.column("partition"), arrow_batch.column("offset"), arrow_batch.column("timestamp")]
    return [column.take(batch_indexes).cast(kind) for column, (_, kind) in zip(columns, _COORDINATES, strict=True)]


def _rejected(
    arrow_batch: ArrowBatch, contract: Contract, rejected: Sequence[tuple[int, RecordRejected]]
) -> ArrowBatch:
    batch_indexes = pa.array([batch_index for batch_index, _ in rejected], pa.int64())
    schema = order_schema(contract, rejects=True)
    columns = [
        *(pa.nulls(len(batch_indexes), schema.field(name).type) for name in contract.column_names),
        *_coordinates(arrow_batch, batch_indexes),
        pa.array([str(rejection.reason) for _, rejection in rejected], pa.string()),
        pa.array([rejection.message for _, rejection in rejected], pa.string()),
        arrow_batch.column("value").take(batch_indexes).cast(pa.binary()),
    ]
    return ArrowBatch.from_arrays(columns, schema=schema)


def _split_by_partition(arrow_batch: ArrowBatch) -> Iterator[RecordBatch]:
    """Split the batch by partition, into pieces of at most one transaction.

    Raises InputInvalid if the records of a partition are not in the order of their offsets.
    """
    for start in range(0, len(arrow_batch), MAX_TRANSACTION_RECORDS):
        batch = _as_record_batch(arrow_batch.slice(start, MAX_TRANSACTION_RECORDS))
        partitions = sorted({*batch.partitions})
        for partition in partitions:
            partition_batch = batch if len(partitions) == 1 else _filter_partition(batch, partition)
            for before, after in pairwise(partition_batch.offsets):
                if after <= before:
                    raise InputInvalid(
                        f"Records of partition {partition} are out of order: offset {after} follows {before}.",
                        hint="Pass the DataFrame from read_records to write_orders. Do not sort or repartition it.",
                    )
            yield partition_batch


def _as_record_batch(arrow_batch: ArrowBatch) -> RecordBatch:
    columns = dict(zip(arrow_batch.schema.names, arrow_batch.columns, strict=True))
    headers = None
    if "headers" in columns:
        headers = [
            [(header["key"], header["value"]) for header in record or ()] for record in columns["headers"].to_pylist()
        ]
    return RecordBatch(
        partitions=columns["partition"].to_pylist(),
        offsets=columns["offset"].to_pylist(),
        timestamps=columns["timestamp"].cast(pa.timestamp("ms", "UTC"), safe=False).cast(pa.int64()).to_pylist(),
        keys=columns["key"].to_pylist(),
        values=columns["value"].to_pylist(),
        headers=headers,
    )


def _filter_partition(batch: RecordBatch, partition: int) -> RecordBatch:
    return batch.at_indexes([index for index, number in enumerate(batch.partitions) if number == partition])


def _check_topic(arrow_batch: ArrowBatch, topic_reader: KafkaTopicReader) -> None:
    """Check the topic of each record, if the column exists: the sink's own query does not pass it.

    Raises InputInvalid if a record is of another topic.
    """
    if "topic" not in arrow_batch.schema.names:
        return
    if others := {*arrow_batch.column("topic").unique().to_pylist()} - {topic_reader.topic}:
        raise InputInvalid(
            f"The DataFrame has records of topic {min(map(str, others))}, but KAFKA_TOPIC is {topic_reader.topic}.",
            hint="The ledger would mix the offsets of two topics. Set KAFKA_TOPIC to the topic of the DataFrame, or"
            " write each topic with its own settings.",
        )


def _check_gaps(batch: RecordBatch, topic_reader: KafkaTopicReader) -> None:
    """Check that the batch has all records of the topic between its first and its last one.

    The ledger detects records that are missing before the first one.
    Raises InputInvalid if records are missing.
    """
    partition = batch.partitions[0]
    if batch.offsets[-1] - batch.offsets[0] + 1 == len(batch.offsets):
        return
    for before, after in pairwise(batch.offsets):
        if after > before + 1 and topic_reader.holds_records(partition, before + 1, after):
            raise InputInvalid(
                f"{topic_reader.topic} partition {partition} holds records between offsets {before} and {after} that"
                " the DataFrame lacks.",
                hint="Pass all records of the topic to write_orders, without a filter: missing records would be lost.",
            )


def _commit_batch(
    batch: RecordBatch, topic_reader: KafkaTopicReader, scratch: Path | None, sort_by_last_digit: bool
) -> ArrowBatch:
    writer = _get_writer(topic_reader, scratch, sort_by_last_digit)
    started_at = time.monotonic()
    committed = _commit_after_predecessor(writer, batch)
    if topic_reader.settings.sink_metrics_port and scratch:
        transactions.send_metrics(scratch, batch, committed, writer.timing)
    values = (
        batch.partitions[0],
        batch.offsets[0],
        batch.offsets[-1] + 1,
        committed.stored,
        committed.duplicates,
        committed.quarantined.total(),
        time.monotonic() - started_at,
    )
    columns = [pa.array([value], kind) for value, kind in zip(values, TRANSACTION_SCHEMA.types, strict=True)]
    return ArrowBatch.from_arrays(columns, schema=TRANSACTION_SCHEMA)


def _commit_after_predecessor(writer: Writer, batch: RecordBatch) -> CommitResult:
    """Commit the batch after the task with the preceding records has committed them.

    Raises LedgerGap if that task makes no progress for 10 seconds.
    """
    known, deadline = "", time.monotonic() + _GAP_TIMEOUT
    while True:
        try:
            return writer.commit(batch)
        except LedgerGap as gap:
            if gap.message != known:  # the message contains the ledger's position
                known, deadline = gap.message, time.monotonic() + _GAP_TIMEOUT
            elif time.monotonic() > deadline:
                raise LedgerGap(gap.message, hint=_GAP_HINT) from gap
            time.sleep(_GAP_POLL_INTERVAL)


def _get_writer(topic_reader: KafkaTopicReader, scratch: Path | None, sort_by_last_digit: bool) -> Writer:
    global _writer  # noqa: PLW0603 - one writer per worker process
    wanted = topic_reader, scratch, sort_by_last_digit
    if _writer is not None and _writer[0] != wanted:
        _close()
    if _writer is None:
        _writer = wanted, Writer(topic_reader.settings, topic_reader, scratch, sort_by_last_digit=sort_by_last_digit)
    return _writer[1]


def _close() -> None:
    global _writer  # noqa: PLW0603
    if _writer is not None:
        _writer[1].close()
        _writer = None
