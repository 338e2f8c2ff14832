"""The sink on real servers: everything that flows is accounted for, and an operator's errors end it in a sentence."""

from __future__ import annotations

import json
import os
import signal
import sys
from decimal import Decimal
from pathlib import Path

import msgspec
import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient, NewPartitions
from kafka import KafkaProducer

from orderflow import audit, topic
from orderflow.embedded.kafka import Kafka
from orderflow.embedded.process import Process, free_port
from orderflow.order import FIELDS
from orderflow.produce.generator import Generator
from orderflow.settings import Settings
from orderflow.store import schema
from tests.processes import run, running, says, until
from tests.sql import execute, raw_session, select

SAMPLE = (
    b'{"customer_id": 87654, "order_id": "ORDER-000001", "product_name": "Yoga Mat",'
    b' "product_category": "Sports & Outdoors", "unit_price": 45.99, "quantity": 2, "total_price": 91.98,'
    b' "order_timestamp": "2025-01-15T14:30:45"}'
)


@pytest.mark.parametrize("engine", ["spark", "direct"])
def test_everything_that_flows_is_accounted_for(settings: Settings, tmp_path: Path, engine: str) -> None:
    topic.ensure(settings)
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
    stored = run(settings, *sink, cwd=tmp_path)
    assert stored.returncode == 0, stored.stderr

    report = audit.run(settings)
    assert report.proven, report
    assert report.records == 5000 + 1 + 20
    assert report.duplicates == counts["repeated"]
    assert report.stored + report.quarantined == report.records - report.duplicates
    rows = select(settings, "SELECT * FROM orders WHERE order_id = 'ORDER-000001' AND customer_id = 87654")
    assert [row[4:7] for row in rows] == [(Decimal("45.99"), 2, Decimal("91.98"))]
    assert len(rows[0]) == len(FIELDS)
    assert run(settings, "audit", cwd=tmp_path).returncode == 0

    again = run(settings, *sink, cwd=tmp_path)
    assert again.returncode == 0, again.stderr
    assert audit.run(settings) == report


def _send_in_transactions(settings: Settings) -> None:
    """Ten orders committed, ten aborted, ten committed: their markers leave gaps in the offsets."""
    producer = Producer(topic.client_config(settings) | {"transactional.id": settings.kafka_topic})
    producer.init_transactions()
    messages = iter(Generator(700_000_000, seed=1))
    for commit in (True, False, True):
        producer.begin_transaction()
        for _ in range(10):
            key, value, _ = next(messages)
            producer.produce(settings.kafka_topic, key=key, value=value, partition=0)
        if commit:
            producer.commit_transaction()
        else:
            producer.abort_transaction()


def _ends_in_a_sentence(settings: Settings, tmp_path: Path, *words: str) -> None:
    ended = run(settings, "sink", cwd=tmp_path)
    assert ended.returncode == 2, ended.stderr
    assert "Traceback" not in ended.stderr
    assert all(word in ended.stderr for word in words), ended.stderr


def test_a_wrong_password_ends_it(settings: Settings, tmp_path: Path) -> None:
    wrong = msgspec.structs.replace(settings, mysql_password="wrong")
    _ends_in_a_sentence(wrong, tmp_path, "refuses user root", "MYSQL_PASSWORD")


def test_a_drifted_table_ends_it(settings: Settings, tmp_path: Path) -> None:
    schema.prepare(settings)
    execute(settings, "ALTER TABLE orders MODIFY COLUMN quantity VARCHAR(10)")
    _ends_in_a_sentence(settings, tmp_path, "quantity is varchar", "MODIFY COLUMN quantity INT")


def test_a_topic_made_again_ends_it(settings: Settings, tmp_path: Path) -> None:
    topic.ensure(settings)
    assert run(settings, "sink", "--once", cwd=tmp_path).returncode == 0
    admin = AdminClient({"bootstrap.servers": settings.kafka_bootstrap_servers})
    admin.delete_topics([settings.kafka_topic])[settings.kafka_topic].result()
    _ends_in_a_sentence(settings, tmp_path, "does not exist", "though the ledger has positions in it")
    topic.create(settings)
    _ends_in_a_sentence(settings, tmp_path, "was deleted and made again")


class _StrictKafka(Kafka):
    def _script(self) -> str:
        script = super()._script()
        with (self.folder / "server.properties").open("a") as properties:
            properties.write("auto.create.topics.enable=false\n")
        return script


def test_a_missing_topic_ends_it_where_topics_are_not_made_unasked(mysql_server: Settings, tmp_path: Path) -> None:
    broker = _StrictKafka(tmp_path / "kafka", free_port())
    broker.start()
    try:
        broker.wait_ready()
        settings = msgspec.structs.replace(
            mysql_server, kafka_bootstrap_servers=broker.address, mysql_database="strict_topic"
        )
        _ends_in_a_sentence(settings, tmp_path, "Topic orders does not exist", "orderflow init")
        made = run(settings, "init", cwd=tmp_path)
        assert made.returncode == 0 and "Made topic orders" in made.stdout
        assert len(topic.describe(settings).partitions) == topic.DEFAULT_PARTITIONS
    finally:
        broker.kill()


@pytest.fixture
def own(mysql_server: Settings, kafka: str, topic: str) -> Settings:
    return msgspec.structs.replace(
        mysql_server, kafka_bootstrap_servers=kafka, kafka_topic=topic, mysql_database=topic.replace("-", "_")
    )


def _changed_sink(change: str, settings: Settings, folder: Path, *arguments: str) -> Process:
    """A sink, not started yet, one of whose constants in `orderflow.pipeline` is another."""
    code = f"from orderflow import cli; from orderflow.pipeline import spark, supervisor; {change}; cli.main()"
    return Process(
        "sink",
        [sys.executable, "-c", code, "sink", *arguments],
        log=folder / "sink.log",
        env=os.environ | settings.environment(),
        cwd=folder,
    )


@pytest.mark.parametrize("engine", ["spark", "direct"])
def test_an_engine_that_hangs_is_started_again(settings: Settings, tmp_path: Path, engine: str) -> None:
    schema.prepare(settings)
    topic.ensure(settings)
    _send_in_transactions(settings)
    sink = _changed_sink("supervisor._STALLED = 3", settings, tmp_path, "--engine", engine, "--json")
    sink.start()
    try:
        until(lambda: select(settings, "SELECT COUNT(*) FROM orders") == [(20,)], sink)
        until(lambda: sum('"state":"running"' in line for line in sink.last_lines(1000)) > 3, sink)
        assert not says(sink, "Nothing was stored for")(), "the marker at the end of partition 0 is no record"
        with raw_session(settings) as other:  # whoever waits for a lock is silent
            other.cursor().execute("SELECT * FROM orders_ledger FOR UPDATE")
            assert run(settings, "produce", "--count", "50", cwd=tmp_path).returncode == 0
            until(says(sink, "Nothing was stored for"), sink)
        until(lambda: select(settings, "SELECT COUNT(*) FROM orders") == [(70,)], sink)
    finally:
        sink.kill()
    assert audit.run(settings).proven


def test_sparks_micro_batches_follow_each_other(own: Settings, tmp_path: Path) -> None:
    short = "spark._MICRO_BATCH = 0.3"
    assert run(own, "produce", "--count", "60000", cwd=tmp_path).returncode == 0
    once = _changed_sink(short, own, tmp_path, "--once")  # which takes longer than a micro-batch
    once.start()
    until(lambda: not once.alive)
    assert once.exit_code == 0, once.last_lines()
    assert _accounted(own) == 60_000
    endless = _changed_sink(short, own, tmp_path)
    endless.start()
    try:
        assert run(own, "produce", "--count", "1000", "--rate", "150", cwd=tmp_path).returncode == 0
        until(lambda: _accounted(own) == 61_000, endless)
    finally:
        endless.kill()
    assert "Starting again" not in "\n".join(endless.last_lines(1000))
    assert audit.run(own).proven


@pytest.mark.parametrize("engine", ["spark", "direct"])
def test_it_stops_gracefully(own: Settings, tmp_path: Path, engine: str) -> None:
    with running(own, "sink", "--engine", engine, "--json", folder=tmp_path) as sink:
        for whole_group in (False, True):  # Airflow and timeout(1) signal Spark's JVM as well
            until(says(sink, '"running"'), sink)
            if whole_group:
                os.killpg(sink.identity[0], signal.SIGTERM)
            else:
                sink.terminate()
            until(lambda: not sink.alive)
            assert sink.exit_code == 0, sink.last_lines()
            assert not says(sink, "Traceback")(), sink.last_lines()
            if not whole_group:
                sink.start()


def test_new_partitions_are_noticed_and_either_engine_goes_on_where_the_other_was(
    own: Settings, tmp_path: Path
) -> None:
    assert run(own, "init", cwd=tmp_path).returncode == 0
    messages = iter(Generator(800_000_000, seed=1))
    for engine, partitions in (("direct", 4), ("spark", 5), ("direct", 6)):
        with running(own, "sink", "--engine", engine, folder=tmp_path, name=engine) as sink:
            for wanted in (partitions - 1, partitions):
                if wanted == partitions:
                    admin = AdminClient({"bootstrap.servers": own.kafka_bootstrap_servers})
                    admin.create_partitions([NewPartitions(own.kafka_topic, wanted)])[own.kafka_topic].result()
                    until(lambda: len(topic.describe(own).partitions) == partitions)  # noqa: B023
                producer = Producer(topic.client_config(own))
                for partition in range(wanted):
                    key, value, _ = next(messages)
                    producer.produce(own.kafka_topic, key=key, value=value, partition=partition)
                producer.flush()
                until(lambda: _accounted(own) == _sent(own), sink)
            sink.kill()
    report = audit.run(own)
    assert report.proven and not report.not_yet_stored, report


def _accounted(settings: Settings) -> int:
    [(accounted,)] = select(settings, "SELECT SUM(next_offset) FROM orders_ledger")
    return int(accounted or 0)


def _sent(settings: Settings) -> int:
    info = topic.describe(settings)
    return sum(bounds.end for bounds in topic.bounds(settings, info.partitions).values())
