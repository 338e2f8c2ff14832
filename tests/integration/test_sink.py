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

import msgspec
import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient, NewPartitions
from kafka import KafkaProducer

from orderflow import audit, topic
from orderflow.contract.definition import EIGHT
from orderflow.embedded import cache
from orderflow.embedded.kafka import Kafka
from orderflow.embedded.process import Process, free_port
from orderflow.produce.generator import Generator
from orderflow.settings import Settings
from orderflow.store import schema
from tests.processes import PATIENCE, run, running, says, until
from tests.sql import execute, raw_session, select

SAMPLE = (
    b'{"customer_id": 87654, "order_id": "ORDER-000001", "product_name": "Yoga Mat",'
    b' "product_category": "Sports & Outdoors", "unit_price": 45.99, "quantity": 2, "total_price": 91.98,'
    b' "order_timestamp": "2025-01-15T14:30:45"}'
)


@pytest.mark.parametrize("engine", ["spark", "direct"])
def test_everything_that_flows_is_accounted_for(settings: Settings, tmp_path: Path, engine: str) -> None:
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
    stored = run(settings, *sink, cwd=tmp_path)
    assert stored.returncode == 0, stored.stderr

    report = audit.run(settings)
    assert report.proven, report
    assert report.records == 5000 + 1 + 20
    assert report.duplicates == counts["repeated"]
    assert report.stored + report.quarantined == report.records - report.duplicates
    rows = select(settings, "SELECT * FROM orders WHERE order_id = 'ORDER-000001' AND customer_id = 87654")
    assert [row[4:7] for row in rows] == [(Decimal("45.99"), 2, Decimal("91.98"))]
    assert len(rows[0]) == len(EIGHT)
    assert run(settings, "audit", cwd=tmp_path).returncode == 0

    again = run(settings, *sink, cwd=tmp_path)
    assert again.returncode == 0, again.stderr
    assert audit.run(settings) == report


@pytest.mark.skipif(os.geteuid() != 0 or not shutil.which("setpriv"), reason="only root may take another user id")
@pytest.mark.parametrize("engine", ["spark", "direct"])
def test_a_user_unknown_to_the_system(settings: Settings, tmp_path: Path, engine: str) -> None:
    """A container may run under any user id. Hadoop cannot log in then; the direct engine needs no user name."""
    home = tmp_path / "größe mit platz"
    home.mkdir()
    os.chown(home, 54321, 54321)
    assert run(settings, "produce", "--count", "100", cwd=tmp_path).returncode == 0
    user = ["--reuid", "54321", "--regid", "54321", "--clear-groups"]
    rights = ["--inh-caps", "+dac_read_search", "--ambient-caps", "+dac_read_search"]
    hosts = {"HOME": str(home), "LC_ALL": "C", "XDG_CACHE_HOME": str(cache.folder().parent), "TMPDIR": str(home)}
    environment = {name: value for name, value in os.environ.items() if name not in ("USER", "LOGNAME")}
    done = subprocess.run(
        ["setpriv", *user, *rights, sys.executable, "-m", "orderflow", "sink", "--engine", engine, "--once"],
        env=environment | settings.environment() | hosts,
        cwd=home,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    if engine == "spark":
        assert done.returncode == 2 and "the system has no name for the user id 54321" in done.stderr, done.stderr
        return
    assert done.returncode == 0, done.stderr
    assert select(settings, "SELECT COUNT(*) FROM orders") == [(100,)]
    assert done.stderr.splitlines()[-1].endswith("100 stored, 0 duplicates, 0 quarantined, lag 0"), done.stderr


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
    done = subprocess.run(
        [sys.executable, "-c", _STARTED_TWICE], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


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
    topic.get_or_create(settings)
    assert run(settings, "sink", "--once", cwd=tmp_path).returncode == 0
    admin = AdminClient({"bootstrap.servers": settings.kafka_bootstrap_servers})
    admin.delete_topics([settings.kafka_topic])[settings.kafka_topic].result()
    _ends_in_a_sentence(settings, tmp_path, "does not exist", "though the ledger has positions in it")
    topic.create(settings)
    _ends_in_a_sentence(settings, tmp_path, "was deleted and created again")


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
        assert made.returncode == 0 and "Created topic orders" in made.stdout
        assert len(topic.describe(settings).partitions) == topic.DEFAULT_PARTITIONS
    finally:
        broker.kill()


@pytest.fixture
def own(mysql_server: Settings, kafka: str, topic: str) -> Settings:
    return msgspec.structs.replace(
        mysql_server, kafka_bootstrap_servers=kafka, kafka_topic=topic, mysql_database=topic.replace("-", "_")
    )


def _changed_sink(change: str, settings: Settings, folder: Path, *arguments: str) -> Process:
    """Return a sink, not started yet, with a changed constant in `orderflow.pipeline`."""
    code = f"from orderflow import cli; from orderflow.pipeline import direct, spark_engine; {change}; cli.main()"
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
    topic.get_or_create(settings)
    _send_in_transactions(settings)
    change = "direct.STALL_TIMEOUT = 3; spark_engine.STALL_TIMEOUT = 8"
    sink = _changed_sink(change, settings, tmp_path, "--engine", engine, "--json")
    sink.start()
    try:
        until(lambda: select(settings, "SELECT COUNT(*) FROM orders") == [(20,)], sink)
        started, before = _count(sink, "Nothing was stored for"), _count(sink, '"state":"running"')
        until(lambda: _count(sink, '"state":"running"') > before + 3, sink)
        assert _count(sink, "Nothing was stored for") == started, "the marker at the end of partition 0 is no record"
        with raw_session(settings) as other:  # a sink that waits for a lock logs nothing
            other.cursor().execute("SELECT * FROM orders_ledger FOR UPDATE")
            assert run(settings, "produce", "--count", "50", cwd=tmp_path).returncode == 0
            until(lambda: _count(sink, "Nothing was stored for") > started, sink)
        until(lambda: select(settings, "SELECT COUNT(*) FROM orders") == [(70,)], sink)
    finally:
        sink.kill()
    assert audit.run(settings).proven


def _count(sink: Process, words: str) -> int:
    return sum(words in line for line in sink.last_lines(10_000))


def test_micro_batches_are_as_large_and_as_frequent_as_asked_for(own: Settings, tmp_path: Path) -> None:
    schema.prepare(own)
    assert run(own, "produce", "--count", "20000", cwd=tmp_path).returncode == 0
    small = msgspec.structs.replace(own, max_offsets_per_trigger=3000)
    with running(small, "sink", "--trigger", "1 second", "--json", folder=tmp_path) as sink:
        until(lambda: _accounted(own) == 20_000, sink)
        until(lambda: _batch_ids(sink)[-1:] >= [6], sink)
        began, before = time.monotonic(), _batch_ids(sink)[-1]
        assert run(own, "produce", "--count", "300", "--rate", "100", cwd=tmp_path).returncode == 0
        until(lambda: _accounted(own) == 20_300, sink)
        until(lambda: _batch_ids(sink)[-1] >= before + 2, sink)
        assert _batch_ids(sink)[-1] - before <= time.monotonic() - began + 2, "a second apart"
    assert audit.run(own).proven


def _batch_ids(sink: Process) -> list[int]:
    told = [json.loads(line) for line in sink.last_lines(1000) if line.startswith("{")]
    return [one["query"]["batch_id"] for one in told if one["query"]]


@pytest.mark.parametrize("engine", ["spark", "direct"])
def test_it_stops_gracefully(own: Settings, tmp_path: Path, engine: str) -> None:
    with running(own, "sink", "--engine", engine, "--json", folder=tmp_path) as sink:
        for whole_group in (False, True):  # Airflow and timeout(1) also signal Spark's JVM
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
