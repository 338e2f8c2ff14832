"""The sink on real servers: every record is accounted for, and an operator's error ends the sink with a sentence."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import pytest
from confluent_kafka import Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewPartitions
from kafka import KafkaProducer

from orderflow import audit, topic
from orderflow.contract.definition import STANDARD_FIELDS
from orderflow.embedded.kafka import Kafka
from orderflow.embedded.ports import free_port
from orderflow.embedded.process import Process
from orderflow.jvm import cache
from orderflow.produce.generator import Generator
from orderflow.settings import Settings
from orderflow.store import ledger, schema
from orderflow.store.connection import Connection
from tests.support.processes import TIMEOUT, has_logged, run, running, until
from tests.support.records import delete_before
from tests.support.sink_process import changed_sink
from tests.support.sql import execute, raw_session, select

SAMPLE = (
    b'{"customer_id": 87654, "order_id": "ORDER-000001", "product_name": "Yoga Mat",'
    b' "product_category": "Sports & Outdoors", "unit_price": 45.99, "quantity": 2, "total_price": 91.98,'
    b' "order_timestamp": "2025-01-15T14:30:45"}'
)
# The store, which alone depends on the database, is the same code in both engines.
_EITHER_ENGINE = pytest.mark.parametrize(
    ("engine", "database"), [("spark", "mysql"), ("direct", "mysql"), ("direct", "mariadb")], indirect=["database"]
)


@_EITHER_ENGINE
def test_every_record_is_accounted_for(settings: Settings, tmp_path: Path, engine: str) -> None:
    topic.get_or_create(settings)
    original = KafkaProducer(
        bootstrap_servers=settings.kafka_bootstrap_servers, compression_type="gzip", enable_idempotence=True, acks="all"
    )
    original.send(settings.kafka_topic, value=SAMPLE)  # the original producer sends no key
    original.close()
    _send_in_transactions(settings)
    sent = run(settings, "produce", "--count", "5000", "--bad", "0.01", "--repeat", "0.01", "--json", cwd=tmp_path)
    assert sent.returncode == 0, sent.stderr
    counts = json.loads(sent.stdout.splitlines()[-1])

    sink = "sink", "--engine", engine, "--once"
    first_run = run(settings, *sink, cwd=tmp_path)
    assert first_run.returncode == 0, first_run.stderr

    report = audit.run(settings)
    assert report.is_proven, report
    assert report.records == 5000 + 1 + 20
    assert report.duplicates == counts["repeated"]
    assert report.stored + report.quarantined == report.records - report.duplicates
    rows = select(settings, "SELECT * FROM orders WHERE order_id = 'ORDER-000001' AND customer_id = 87654")
    assert [row[4:7] for row in rows] == [(Decimal("45.99"), 2, Decimal("91.98"))]
    assert len(rows[0]) == len(STANDARD_FIELDS)
    assert run(settings, "audit", cwd=tmp_path).returncode == 0

    repeated = run(settings, *sink, cwd=tmp_path)
    assert repeated.returncode == 0, repeated.stderr
    assert audit.run(settings) == report


@pytest.mark.skipif(os.geteuid() != 0 or not shutil.which("setpriv"), reason="only root may take another user id")
@_EITHER_ENGINE
def test_a_user_id_without_a_name_works_with_the_direct_engine_only(
    settings: Settings, tmp_path: Path, engine: str
) -> None:
    """A container may run under any user id. Hadoop cannot log in then; the direct engine needs no user name."""
    home = tmp_path / "größe mit platz"
    home.mkdir()
    os.chown(home, 54321, 54321)
    assert run(settings, "produce", "--count", "100", cwd=tmp_path).returncode == 0
    user = ["--reuid", "54321", "--regid", "54321", "--clear-groups"]
    rights = ["--inh-caps", "+dac_read_search", "--ambient-caps", "+dac_read_search"]
    hosts = {"HOME": str(home), "LC_ALL": "C", "XDG_CACHE_HOME": str(cache.folder().parent), "TMPDIR": str(home)}
    environment = {name: value for name, value in os.environ.items() if name not in ("USER", "LOGNAME")}
    result = subprocess.run(
        ["setpriv", *user, *rights, sys.executable, "-m", "orderflow", "sink", "--engine", engine, "--once"],
        env=environment | settings.environment() | hosts,
        cwd=home,
        capture_output=True,
        text=True,
        timeout=TIMEOUT,
        check=False,
    )
    if engine == "spark":
        assert result.returncode == 2 and "the system has no name for the user id 54321" in result.stderr, result.stderr
        return
    assert result.returncode == 0, result.stderr
    assert select(settings, "SELECT COUNT(*) FROM orders") == [(100,)]
    assert result.stderr.splitlines()[-1].endswith("100 stored, 0 duplicates, 0 quarantined, lag 0"), result.stderr


_STARTED_TWICE = """
import psutil
from py4j.protocol import Py4JJavaError
from orderflow.spark import session
runtime = session.runtime()
for mode in ("wrong", "wrong", "FIFO"):
    try:
        spark = session._session("test", runtime, {"spark.scheduler.mode": mode})
    except Py4JJavaError:
        assert mode == "wrong"
    jvms = [child for child in psutil.Process().children(recursive=True) if child.name() == "java"]
    assert len(jvms) == 1, jvms
assert spark.range(3).count() == 3
session.stop(spark)
"""


def test_a_context_that_does_not_start_is_retried_in_the_same_jvm(tmp_path: Path) -> None:
    result = subprocess.run(
        [sys.executable, "-c", _STARTED_TWICE], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr


def _send_in_transactions(settings: Settings) -> None:
    """Commit ten orders, abort ten, commit ten. Their transaction markers leave gaps in the offsets."""
    producer = Producer(topic.client_config(settings) | {"transactional.id": settings.kafka_topic})
    producer.init_transactions()
    messages = iter(Generator(700_000_000, seed=1))
    for commit in (True, False, True):
        producer.begin_transaction()
        for _ in range(10):
            key, value, _ = next(messages)
            producer.produce(settings.kafka_topic, key=key, value=value, partition=0)
        producer.flush()  # a transaction can be aborted only after the partition has joined it
        if commit:
            producer.commit_transaction()
        else:
            producer.abort_transaction()


def _assert_stops_with(settings: Settings, tmp_path: Path, *words: str) -> None:
    result = run(settings, "sink", cwd=tmp_path)
    assert result.returncode == 2, result.stderr
    assert "Traceback" not in result.stderr
    assert all(word in result.stderr for word in words), result.stderr


def test_a_wrong_password_stops_the_sink(settings: Settings, tmp_path: Path) -> None:
    wrong = msgspec.structs.replace(settings, mysql_password="wrong")
    _assert_stops_with(wrong, tmp_path, "refuses user root", "MYSQL_PASSWORD")


def test_a_drifted_table_stops_the_sink(settings: Settings, tmp_path: Path) -> None:
    schema.prepare(settings)
    execute(settings, "ALTER TABLE orders MODIFY COLUMN quantity VARCHAR(10)")
    _assert_stops_with(settings, tmp_path, "quantity is varchar", "MODIFY COLUMN `quantity` INT")


def test_a_recreated_topic_stops_the_sink(settings: Settings, tmp_path: Path) -> None:
    topic.get_or_create(settings)
    assert run(settings, "sink", "--once", "--engine", "direct", cwd=tmp_path).returncode == 0
    admin = AdminClient({"bootstrap.servers": settings.kafka_bootstrap_servers})
    admin.delete_topics([settings.kafka_topic])[settings.kafka_topic].result()
    _assert_stops_with(settings, tmp_path, "does not exist", "though the ledger has positions in it")
    topic.create(settings)
    _assert_stops_with(settings, tmp_path, "was deleted and created again")


class _StrictKafka(Kafka):
    def _script(self) -> str:
        script = super()._script()
        with (self.folder / "server.properties").open("a") as properties:
            properties.write("auto.create.topics.enable=false\n")
        return script


def test_a_missing_topic_stops_the_sink_if_the_broker_creates_none(mysql_server: Settings, tmp_path: Path) -> None:
    broker = _StrictKafka(tmp_path / "kafka", free_port())
    broker.start()
    try:
        broker.wait_ready()
        settings = msgspec.structs.replace(
            mysql_server, kafka_bootstrap_servers=broker.address, mysql_database="strict_topic"
        )
        _assert_stops_with(settings, tmp_path, "Topic orders does not exist", "orderflow init")
        created = run(settings, "init", cwd=tmp_path)
        assert created.returncode == 0 and "Created topic orders" in created.stdout
        assert len(topic.describe(settings).partitions) == topic.DEFAULT_PARTITIONS
    finally:
        broker.kill()


@pytest.fixture
def mysql_settings(mysql_server: Settings, kafka: str, topic: str) -> Settings:
    return msgspec.structs.replace(
        mysql_server, kafka_bootstrap_servers=kafka, kafka_topic=topic, mysql_database=topic.replace("-", "_")
    )


def _ledger_row(settings: Settings, column: str) -> Any:
    [[value]] = select(settings, f"SELECT {column} FROM orders_ledger WHERE kafka_partition = 0")
    return value


@_EITHER_ENGINE
def test_an_engine_that_hangs_is_restarted(settings: Settings, tmp_path: Path, engine: str) -> None:
    schema.prepare(settings)
    topic.get_or_create(settings)
    _send_in_transactions(settings)
    sink = changed_sink(settings, tmp_path, engine, stall_timeout=3 if engine == "direct" else 8)
    sink.start()
    try:
        until(lambda: select(settings, "SELECT COUNT(*) FROM orders") == [(20,)], sink)
        stalls, end = _count(sink, "Nothing was stored for"), topic.bounds(settings, [0])[0].end
        until(lambda: _ledger_row(settings, "next_offset") == end, sink)  # it is moved past the marker at the end
        assert _count(sink, "Nothing was stored for") == stalls, "that marker is no record"
        [[stored_at]] = select(settings, "SELECT MAX(stored_at) FROM orders WHERE kafka_partition = 0")
        assert _ledger_row(settings, "updated_at") == stored_at, "updated_at is the time of the last record"
        with raw_session(settings) as other:  # a sink that waits for a lock logs nothing
            other.cursor().execute("SELECT * FROM orders_ledger FOR UPDATE")
            assert run(settings, "produce", "--count", "50", cwd=tmp_path).returncode == 0
            until(lambda: _count(sink, "Nothing was stored for") > stalls, sink)
        until(lambda: select(settings, "SELECT COUNT(*) FROM orders") == [(70,)], sink)
    finally:
        sink.kill()
    assert audit.run(settings).is_proven


def test_records_at_offsets_that_held_none_stop_the_sink(settings: Settings, tmp_path: Path) -> None:
    """Kafka has lost the end of a partition, which held only aborted records, and new records have its offsets."""
    assert run(settings, "init", "--partitions", "1", cwd=tmp_path).returncode == 0
    assert run(settings, "produce", "--count", "10", cwd=tmp_path).returncode == 0
    assert run(settings, "sink", "--once", "--engine", "direct", cwd=tmp_path).returncode == 0
    info = topic.describe(settings)
    with Connection(settings) as connection:
        ledger.advance_past_empty(connection, info.name, info.topic_id, 0, 10, 12)
    assert run(settings, "produce", "--count", "5", cwd=tmp_path).returncode == 0
    result = run(settings, "sink", "--once", "--engine", "direct", cwd=tmp_path)
    assert result.returncode == 2
    assert "has records at offsets 10 to 11, which held none before: Kafka has lost the end" in result.stderr
    assert not audit.run(settings).is_proven


def test_a_ledger_that_is_emptied_while_the_sink_runs(settings: Settings, tmp_path: Path) -> None:
    schema.prepare(settings)
    assert run(settings, "produce", "--count", "10", cwd=tmp_path).returncode == 0
    with running(settings, "sink", "--engine", "direct", folder=tmp_path) as sink:
        until(lambda: select(settings, "SELECT COUNT(*) FROM orders") == [(10,)], sink)
        execute(settings, "DELETE FROM orders_ledger")
        until(has_logged(sink, "The ledger lacks partitions of topic"), sink)
        until(lambda: select(settings, "SELECT SUM(duplicates) FROM orders_ledger") == [(10,)], sink)


@_EITHER_ENGINE
def test_markers_that_retention_removes_are_no_loss(settings: Settings, tmp_path: Path, engine: str) -> None:
    schema.prepare(settings)
    topic.get_or_create(settings)
    _send_in_transactions(settings)
    assert run(settings, "sink", "--once", "--engine", engine, cwd=tmp_path).returncode == 0
    end = topic.bounds(settings, [0])[0].end
    delete_before(settings, TopicPartition(settings.kafka_topic, 0, end))
    again = run(settings, "sink", "--once", "--engine", engine, cwd=tmp_path)
    assert again.returncode == 0, again.stderr
    result = audit.run(settings)
    assert result.is_proven, result


def _count(sink: Process, words: str) -> int:
    return sum(words in line for line in sink.last_lines(10_000))


def test_micro_batches_are_as_configured_and_stop_gracefully(mysql_settings: Settings, tmp_path: Path) -> None:
    schema.prepare(mysql_settings)
    assert run(mysql_settings, "produce", "--count", "20000", cwd=tmp_path).returncode == 0
    small = msgspec.structs.replace(mysql_settings, max_offsets_per_trigger=3000)
    with running(small, "sink", "--trigger", "1 second", "--json", folder=tmp_path) as sink:
        until(lambda: _accounted(mysql_settings) == 20_000, sink)
        until(lambda: _batch_ids(sink)[-1:] >= [6], sink)
        started_at, before = time.monotonic(), _batch_ids(sink)[-1]
        assert run(mysql_settings, "produce", "--count", "300", "--rate", "100", cwd=tmp_path).returncode == 0
        until(lambda: _accounted(mysql_settings) == 20_300, sink)
        until(lambda: _batch_ids(sink)[-1] >= before + 2, sink)
        assert _batch_ids(sink)[-1] - before <= time.monotonic() - started_at + 2, "a second apart"
        _stop_gracefully(sink, whole_group=True)  # and so Spark's JVM too; test_spark_ui.py signals only the sink
    assert audit.run(mysql_settings).is_proven


def _batch_ids(sink: Process) -> list[int]:
    reports = [json.loads(line) for line in sink.last_lines(1000) if line.startswith("{")]
    return [report["query"]["batch_id"] for report in reports if report["query"]]


def test_the_direct_sink_stops_gracefully(mysql_settings: Settings, tmp_path: Path) -> None:
    with running(mysql_settings, "sink", "--engine", "direct", "--json", folder=tmp_path) as sink:
        for whole_group in (False, True):  # Airflow and timeout(1) signal the whole group
            until(has_logged(sink, '"running"'), sink)
            _stop_gracefully(sink, whole_group)
            if not whole_group:
                sink.start()


def _stop_gracefully(sink: Process, whole_group: bool) -> None:
    if whole_group:
        os.killpg(sink.identity[0], signal.SIGTERM)
    else:
        sink.terminate()
    until(lambda: not sink.alive)
    assert sink.exit_code == 0, sink.last_lines()
    assert not has_logged(sink, "Traceback")(), sink.last_lines()


def test_each_engine_finds_new_partitions_and_continues_the_other(mysql_settings: Settings, tmp_path: Path) -> None:
    assert run(mysql_settings, "init", cwd=tmp_path).returncode == 0
    messages = iter(Generator(800_000_000, seed=1))
    for engine, partitions in (("direct", 4), ("spark", 5), ("direct", 6)):
        with running(mysql_settings, "sink", "--engine", engine, folder=tmp_path, name=engine) as sink:
            for count in (partitions - 1, partitions):
                if count == partitions:
                    admin = AdminClient({"bootstrap.servers": mysql_settings.kafka_bootstrap_servers})
                    admin.create_partitions([NewPartitions(mysql_settings.kafka_topic, count)])[
                        mysql_settings.kafka_topic
                    ].result()
                    until(lambda: len(topic.describe(mysql_settings).partitions) == partitions)  # noqa: B023
                producer = Producer(topic.client_config(mysql_settings))
                for partition in range(count):
                    key, value, _ = next(messages)
                    producer.produce(mysql_settings.kafka_topic, key=key, value=value, partition=partition)
                producer.flush()
                until(lambda: _accounted(mysql_settings) == _sent(mysql_settings), sink)
            sink.kill()
    report = audit.run(mysql_settings)
    assert report.is_proven and not report.not_yet_stored, report


def _accounted(settings: Settings) -> int:
    [(accounted,)] = select(settings, "SELECT SUM(next_offset) FROM orders_ledger")
    return int(accounted or 0)


def _sent(settings: Settings) -> int:
    info = topic.describe(settings)
    return sum(bounds.end for bounds in topic.bounds(settings, info.partitions).values())
