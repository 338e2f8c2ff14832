"""What Spark's workers do with Arrow batches, and the options of Spark's Kafka source."""

from __future__ import annotations

import pickle
import threading
from collections.abc import Iterator
from typing import NamedTuple, cast

import pyarrow as pa
import pytest

from orderflow.errors import (
    InputInvalid,
    Interrupted,
    KafkaUnavailable,
    LedgerGap,
    OrderFlowError,
    RecordRejected,
    from_json,
)
from orderflow.positions.kafka_topic_reader import KafkaTopicReader
from orderflow.read_ahead import read_ahead
from orderflow.settings import Settings
from orderflow.spark import options, tasks
from orderflow.store.record_batch import MAX_TRANSACTION_RECORDS, RecordBatch

_GOOD = (
    b'{"customer_id": 1, "order_id": "ORDER-000001", "product_name": "Tea", "product_category": "Food",'
    b' "unit_price": 1.10, "quantity": 3, "total_price": 3.30, "order_timestamp": "2025-01-15T14:30:45"}'
)


def _batch(*coordinates: tuple[int, int], value: bytes = _GOOD) -> pa.RecordBatch:
    count = len(coordinates)
    columns = {
        "partition": pa.array([partition for partition, _ in coordinates], pa.int32()),
        "offset": pa.array([offset for _, offset in coordinates], pa.int64()),
        "timestamp": pa.array([1_700_000_000_123_456] * count, pa.timestamp("us", "UTC")),
        "key": pa.array([b"k"] * count, pa.binary()),
        "value": pa.array([value] * count, pa.binary()),
    }
    return pa.RecordBatch.from_pydict(columns)


def test_a_batch_is_one_transaction_per_partition() -> None:
    batches = list(tasks._split_by_partition(_batch((1, 5), (0, 3), (1, 6), (0, 9))))
    assert [(batch.partitions, batch.offsets) for batch in batches] == [([0, 0], [3, 9]), ([1, 1], [5, 6])]
    assert batches[0].timestamps == [1_700_000_000_123] * 2


def test_a_large_batch_is_split() -> None:
    batch = _batch(*((0, offset) for offset in range(MAX_TRANSACTION_RECORDS + 1)))
    assert [len(part.offsets) for part in tasks._split_by_partition(batch)] == [MAX_TRANSACTION_RECORDS, 1]


def test_records_out_of_order_are_refused() -> None:
    with pytest.raises(InputInvalid, match=r"partition 0 are out of order: offset 2 follows 3\."):
        list(tasks._split_by_partition(_batch((0, 3), (0, 2))))


class _Topic(NamedTuple):
    """A topic that holds records at some offsets."""

    held: set[int]
    topic: str = "orders"

    def holds_records(self, partition: int, start: int, end: int) -> bool:
        return any(start <= offset < end for offset in self.held)


def _check(offsets: list[int], held: set[int]) -> None:
    batch = RecordBatch([0] * len(offsets), offsets, [0] * len(offsets), [None] * len(offsets), [None] * len(offsets))
    tasks._check_gaps(batch, cast(KafkaTopicReader, _Topic(held)))


def test_holes_are_markers_or_missing_records() -> None:
    _check([1, 2, 5], {1, 2, 5})
    with pytest.raises(InputInvalid, match="between offsets 2 and 5"):
        _check([1, 2, 5], {1, 2, 4, 5})


def test_records_of_another_topic_are_refused() -> None:
    """Their offsets would be taken for those of KAFKA_TOPIC."""
    topic_reader = KafkaTopicReader(Settings(kafka_topic="orders"), "id")
    for topics in (["orders", "orders_v2"], ["orders_v2"] * 2):
        batch = _batch((0, 3), (0, 4)).append_column("topic", pa.array(topics, pa.string()))
        with pytest.raises(tasks.WorkerFailed, match="records of topic orders_v2, but KAFKA_TOPIC is orders") as failed:
            list(tasks.commit_batches(iter([batch]), topic_reader))
        assert isinstance(from_json(str(failed.value)), InputInvalid)
    tasks._check_topic(_batch((0, 3)).append_column("topic", pa.array(["orders"], pa.string())), topic_reader)


def test_orders_are_typed_and_the_rest_has_a_reason() -> None:
    [good] = list(tasks.parse(iter([_batch((0, 7))]), rejects=False))
    assert good.schema == tasks.order_schema()
    assert str(good.column("total_price")[0].as_py()) == "3.30"
    assert good.column("order_timestamp")[0].as_py().isoformat() == "2025-01-15T14:30:45+00:00"
    assert good.column("kafka_offset").to_pylist() == [7]
    batches = list(tasks.parse(iter([_batch((0, 8), value=b"{}{}")]), rejects=True))
    [row] = pa.Table.from_batches(batches).to_pylist()
    assert (row["reason"], row["value"], row["order_id"], row["kafka_offset"]) == ("trailing_data", b"{}{}", None, 8)
    only_orders = list(tasks.parse(iter([_batch((0, 8), value=b"{}")]), rejects=False))
    assert sum(batch.num_rows for batch in only_orders) == 0


@pytest.mark.parametrize(
    "error", [KafkaUnavailable("x", hint="y"), LedgerGap("a\nb"), InputInvalid("ä"), RecordRejected("conflict", "z")]
)
def test_an_error_of_a_worker_is_parsed_from_its_text(error: OrderFlowError) -> None:
    text = f"Traceback:\n  File\norderflow.spark.tasks.WorkerFailed: {error.to_json()}\n\n\tat org.apache.spark"
    parsed = tasks.error_from_worker(text)
    assert type(parsed) is type(error)
    assert parsed and vars(parsed) == vars(error)
    assert vars(pickle.loads(pickle.dumps(error))) == vars(error)
    assert tasks.error_from_worker("ValueError: nothing of ours") is None


@pytest.mark.parametrize("line", ['{"error": "Other", "message": "x"}', '{"message": "x"}', "[]", "x"])
def test_another_line_is_not_an_error(line: str) -> None:
    with pytest.raises(ValueError):
        from_json(line)


def test_a_password_is_quoted_as_jaas_reads_it() -> None:
    settings = Settings(
        kafka_security_protocol="SASL_PLAINTEXT",
        kafka_sasl_username="me",
        kafka_password='a"b\\c',
        kafka_headers="keep",
    )
    result = options.kafka_options(settings)
    assert result["kafka.sasl.jaas.config"].endswith(r'ScramLoginModule required username="me" password="a\"b\\c";')
    assert (result["includeHeaders"], result["kafka.isolation.level"], result["failOnDataLoss"]) == (
        "true",
        "read_committed",
        "true",
    )


def test_offsets_are_written_as_the_source_reads_them() -> None:
    assert options.offsets_json("orders", {0: 5, 11: 0}) == '{"orders": {"0": 5, "11": 0}}'


def test_the_next_batch_is_received_while_one_is_stored() -> None:
    received = threading.Semaphore(0)

    def batches() -> Iterator[pa.RecordBatch]:
        for number in range(5):
            received.release()
            yield pa.record_batch({"number": [number]})

    numbers = []
    for number, batch in enumerate(read_ahead(batches())):
        numbers.append(batch["number"][0].as_py())
        for _ in range(2 if number == 0 else 1):
            assert number == 4 or received.acquire(timeout=30)
    assert numbers == [0, 1, 2, 3, 4]


def test_an_error_while_receiving_is_raised_after_the_batches_before_it() -> None:
    def batches() -> Iterator[pa.RecordBatch]:
        yield pa.record_batch({"number": [0]})
        raise EOFError("Spark has gone")

    ahead = read_ahead(batches())
    assert next(ahead).num_rows == 1
    with pytest.raises(EOFError, match="has gone"):
        next(ahead)


def test_an_error_is_named_by_its_public_class() -> None:
    """Its name is in logs, metrics, and what leaves a worker."""

    class _Stalled(KafkaUnavailable):
        pass

    assert _Stalled("Slow.").name == "KafkaUnavailable"
    assert type(from_json(_Stalled("Slow.").to_json())) is KafkaUnavailable
    assert type(pickle.loads(pickle.dumps(_Stalled("Slow.")))) is KafkaUnavailable


def test_an_error_of_another_build_is_shown() -> None:
    error = tasks.error_from_worker('orderflow.spark.tasks.WorkerFailed: {"error": "Unheard", "message": "Oh."}')
    assert isinstance(error, Interrupted)
    assert "Oh." in error.message and "same build" in error.hint
