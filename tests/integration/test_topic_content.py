"""Checks of the topic's content: damaged batches, gaps, end offsets, new partitions."""

from __future__ import annotations

import base64
import json
import os
import re
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from confluent_kafka import Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

from orderflow import audit, topic
from orderflow.embedded.kafka import Kafka
from orderflow.embedded.ports import free_port
from orderflow.errors import (
    BatchDamaged,
    KafkaUnavailable,
    OffsetsLost,
    OffsetsReused,
    OrderFlowError,
    TopicRecreated,
)
from orderflow.positions.kafka_topic_reader import KafkaTopicReader
from orderflow.settings import Settings
from orderflow.spark import prepare_ledger
from orderflow.store import ledger, schema
from orderflow.store.connection import Connection
from tests.faults.proxy import Proxy
from tests.support import damage, servers
from tests.support.corpus import numbered
from tests.support.processes import has_logged, run, running, until
from tests.support.sql import execute, select

CODECS = ("none", "gzip", "lz4", "snappy", "zstd")


class Broker(Kafka):
    """A broker whose files the tests may damage, and which may advertise another address."""

    advertised = ""

    def _script(self) -> str:
        script = super()._script()
        if self.advertised:
            path = self.folder / "server.properties"
            listener = f"advertised.listeners=PLAINTEXT://{self.address}"
            path.write_text(path.read_text().replace(listener, f"advertised.listeners=PLAINTEXT://{self.advertised}"))
        return script

    @property
    def data(self) -> Path:
        return self.folder / "data"


@pytest.fixture(scope="module")
def broker(server_folder: Path) -> Iterator[Broker]:
    server = Broker(server_folder / "damaged-kafka", free_port())
    with servers.running(server):
        yield server


@pytest.fixture
def mysql(mysql_server: Settings, topic: str) -> Settings:
    return msgspec.structs.replace(mysql_server, mysql_database=topic.replace("-", "_"))


@pytest.fixture
def broker_settings(broker: Broker, mysql: Settings, topic: str) -> Settings:
    """Return settings of a new database, and of a new topic on the broker that tests may damage."""
    return msgspec.structs.replace(mysql, kafka_bootstrap_servers=broker.address, kafka_topic=topic)


def damage_second_batch(broker: Broker, settings: Settings, byte: int = damage.PAYLOAD, bit: int = 0) -> damage.Batch:
    path = damage.segment(broker.data, settings.kafka_topic)
    batch = damage.batches(path)[1]
    damage.flip(path, batch, byte, bit)
    return batch


@pytest.mark.parametrize("codec", CODECS)
def test_a_damaged_batch_is_reported_and_its_end_is_found(
    broker: Broker, broker_settings: Settings, codec: str, caplog: pytest.LogCaptureFixture
) -> None:
    topic.get_or_create(broker_settings)
    damage.send_batches(broker_settings, codec, 0, 4, 25)
    assert len(list(topic.read(broker_settings, 0, 0, 100))) == 100
    damage_second_batch(broker, broker_settings)
    offsets = []
    with pytest.raises(
        BatchDamaged, match=f"{broker_settings.kafka_topic} partition 0 cannot be read at offset 25"
    ) as raised:
        offsets += [record.offset for record in topic.read(broker_settings, 0, 0, 100)]
    assert "accept-loss" in raised.value.hint
    with pytest.raises(BatchDamaged):
        topic.holds_records(broker_settings, 0, 30, 40)
    assert topic.holds_records(broker_settings, 0, 50, 51)
    for position in (25, 40, 49):
        broken = topic.find_damage(broker_settings, 0, position)
        assert broken and broken[:4] == (0, position, position if position > 25 else 25, 50)
    assert topic.find_damage(broker_settings, 0, 0) is None and topic.find_damage(broker_settings, 0, 50) is None
    next_broken = topic.find_next_damage(broker_settings, 0, 0, 100)
    assert next_broken and next_broken[:4] == (0, 25, 25, 50)
    assert topic.find_next_damage(broker_settings, 0, 50, 100) is None
    around = [record.offset for record in topic.read_around_damage(broker_settings, 0, 0, 100)]
    assert around == [*range(25), *range(50, 100)]
    assert "Offsets 25 to 49 are skipped." in caplog.text


@pytest.mark.parametrize(("byte", "bit"), [(16, 2), (20, 0), (22, 1), (26, 3), (60, 0)])
def test_a_damaged_header_is_a_damaged_batch(broker: Broker, broker_settings: Settings, byte: int, bit: int) -> None:
    topic.get_or_create(broker_settings)
    damage.send_batches(broker_settings, "lz4", 0, 3, 10)
    damage_second_batch(broker, broker_settings, byte, bit)
    with pytest.raises(BatchDamaged, match="partition 0 cannot be read at offset 10"):
        list(topic.read(broker_settings, 0, 0, 30))
    broken = topic.find_damage(broker_settings, 0, 10)
    assert broken and (broken.first, broken.end) == (10, 20)


@pytest.mark.parametrize(("byte", "bit"), [(7, 1), (0, 2)])
def test_an_impossible_first_offset_is_a_damaged_batch(
    broker: Broker, broker_settings: Settings, byte: int, bit: int
) -> None:
    """Kafka's checksum does not cover the offset."""
    topic.get_or_create(broker_settings)
    damage.send_batches(broker_settings, "lz4", 0, 3, 10)
    damage_second_batch(broker, broker_settings, byte, bit)
    with pytest.raises(BatchDamaged, match="partition 0 cannot be read at offset 10"):
        list(topic.read(broker_settings, 0, 0, 30))
    broken = topic.find_damage(broker_settings, 0, 10)
    assert broken is None if byte else broken and broken.first == 10 and broken.end >= 20


def test_two_damaged_batches_in_a_row_are_one_range(broker: Broker, broker_settings: Settings) -> None:
    topic.get_or_create(broker_settings)
    damage.send_batches(broker_settings, "gzip", 0, 5, 20)
    path = damage.segment(broker.data, broker_settings.kafka_topic)
    for batch in damage.batches(path)[1:3]:
        damage.flip(path, batch)
    broken = topic.find_damage(broker_settings, 0, 20)
    assert broken and (broken.first, broken.end) == (20, 60)
    damage.flip(path, damage.batches(path)[4])
    broken = topic.find_damage(broker_settings, 0, 80)
    assert broken and (broken.first, broken.end) == (80, 100)


# Spark's client, too, checks a batch's CRC before it decompresses the batch, so Spark needs one codec only.
@pytest.mark.parametrize(("engine", "codec"), [("direct", "gzip"), ("direct", "none"), ("spark", "gzip")])
def test_a_damaged_batch_stops_only_its_partition(
    broker: Broker, broker_settings: Settings, tmp_path: Path, engine: str, codec: str
) -> None:
    topic.get_or_create(broker_settings)
    damage.send_batches(broker_settings, codec, 0, 4, 25)
    damage.send_batches(broker_settings, codec, 1, 4, 800, start=100_000)
    damage_second_batch(broker, broker_settings)
    once = run(broker_settings, "sink", "--engine", engine, "--once", cwd=tmp_path)
    assert once.returncode == 2, once.stderr
    assert f"{broker_settings.kafka_topic} partition 0 cannot be read at offset 25" in once.stderr
    assert "accept-loss" in once.stderr and "Traceback" not in once.stderr
    assert select(broker_settings, "SELECT COUNT(*) FROM orders") == [(25 + 3200,)]

    with running(broker_settings, "sink", "--engine", engine, folder=tmp_path) as sink:
        until(has_logged(sink, "partition 0 cannot be read at offset 25"), sink)
        damage.send_batches(broker_settings, codec, 1, 1, 10, start=200_000)
        until(lambda: select(broker_settings, "SELECT COUNT(*) FROM orders") == [(25 + 3210,)], sink)

        shown = run(broker_settings, "accept-loss", cwd=tmp_path)
        assert shown.returncode == 1 and "offsets 25 to 49 (25) are lost" in shown.stdout, shown
        accepted = run(broker_settings, "accept-loss", "--yes", cwd=tmp_path)
        assert accepted.returncode == 0 and "offsets 25 to 49 (25) are accepted as lost" in accepted.stdout, accepted
        until(lambda: select(broker_settings, "SELECT COUNT(*) FROM orders") == [(75 + 3210,)], sink)

    report = audit.run(broker_settings)
    assert report.is_proven, report
    assert (report.records, report.lost_offsets) == (75 + 3210, 25)
    repeated = run(broker_settings, "accept-loss", cwd=tmp_path)
    assert repeated.returncode == 0 and "Nothing is lost" in repeated.stdout, repeated


def test_an_accepted_loss_of_readable_records_is_a_finding(
    broker: Broker, broker_settings: Settings, tmp_path: Path
) -> None:
    topic.get_or_create(broker_settings)
    damage.send_batches(broker_settings, "gzip", 0, 4, 25)
    batch = damage_second_batch(broker, broker_settings)
    assert run(broker_settings, "sink", "--engine", "direct", "--once", cwd=tmp_path).returncode == 2
    assert run(broker_settings, "accept-loss", "--yes", cwd=tmp_path).returncode == 0
    assert audit.run(broker_settings).is_proven
    execute(
        broker_settings,
        "INSERT INTO orders_quarantine (topic, topic_id, kafka_partition, kafka_offset, quarantined_at, reason, detail)"
        " SELECT topic, topic_id, 0, 30, updated_at, 'null_value', '' FROM orders_ledger WHERE kafka_partition = 0",
    )
    assert [(finding.offset, finding.description) for finding in audit.run(broker_settings).quarantine] == [
        (30, "is in the quarantine, but the ledger accounts for no such record")
    ]
    execute(broker_settings, "DELETE FROM orders_quarantine")
    damage.flip(damage.segment(broker.data, broker_settings.kafka_topic), batch)
    assert [finding.description for finding in audit.run(broker_settings).counters] == [
        "offsets 25 to 49 cannot be lost: they overlap with other losses, or with records of the topic"
    ]


def test_the_console_reports_a_damaged_batch_and_continues(
    broker: Broker, broker_settings: Settings, tmp_path: Path
) -> None:
    topic.get_or_create(broker_settings)
    damage.send_batches(broker_settings, "gzip", 0, 2, 5)
    damage.send_batches(broker_settings, "gzip", 1, 2, 5, start=100)
    damage_second_batch(broker, broker_settings)
    with running(broker_settings, "console", "--from-beginning", folder=tmp_path) as console:
        until(has_logged(console, "partition 0 cannot be read at offset 5"), console)
        until(has_logged(console, "ORDER-000109"), console)


def test_the_console_continues_when_a_partition_has_lost_its_end(mysql: Settings, tmp_path: Path) -> None:
    broker = Broker(tmp_path / "broker", free_port())
    shortened = msgspec.structs.replace(mysql, kafka_bootstrap_servers=broker.address, kafka_topic="shortened")
    with servers.running(broker):
        topic.get_or_create(shortened)
        damage.send_batches(shortened, "none", 0, 2, 25)
        with running(shortened, "console", "--from-beginning", folder=tmp_path) as console:
            until(has_logged(console, "ORDER-000049"), console)
            broker.kill()
            damage.cut_off(damage.segment(broker.data, shortened.kafka_topic), 25)
            broker.start()
            broker.wait_ready()
            until(has_logged(console, "Continuing at offset 25"), console)
            damage.send_batches(shortened, "none", 0, 1, 25, start=1000)
            until(has_logged(console, "ORDER-001024"), console)


@pytest.fixture
def settings(kafka: str, mysql: Settings, topic: str) -> Settings:
    """Return settings on MySQL only: these tests do not depend on the kind of database."""
    return msgspec.structs.replace(mysql, kafka_bootstrap_servers=kafka, kafka_topic=topic)


# End offsets and gaps.


def test_an_end_offset_before_the_requested_one_raises(settings: Settings) -> None:
    topic.get_or_create(settings)
    damage.send_batches(settings, "none", 0, 1, 100)
    started_at = time.monotonic()
    with pytest.raises(KafkaUnavailable, match="ends at offset 100 now, before offset 200"):
        topic.holds_records(settings, 0, 100, 200)
    assert time.monotonic() - started_at < 10
    with pytest.raises(KafkaUnavailable, match="ends at offset 100 now"):
        topic.holds_records(settings, 0, 150, 200)
    with pytest.raises(KafkaUnavailable, match="ends at offset 100 now"):
        list(topic.read(settings, 0, 90, 101))
    with pytest.raises(KafkaUnavailable):
        KafkaTopicReader(settings, "any").holds_records(0, 100, 200)
    assert topic.holds_records(settings, 0, 99, 200)


def test_records_that_arrive_during_the_wait_are_found(settings: Settings) -> None:
    topic.get_or_create(settings)
    damage.send_batches(settings, "none", 0, 1, 100)
    delayed = threading.Timer(0.3, damage.send_batches, (settings, "none", 0, 1, 10))
    delayed.start()
    assert topic.holds_records(settings, 0, 100, 110)
    delayed.join()


def test_markers_and_aborted_records_are_no_records(settings: Settings) -> None:
    topic.get_or_create(settings)
    producer = Producer(topic.client_config(settings) | {"transactional.id": settings.kafka_topic})
    producer.init_transactions()
    for commit in (True, False, True):
        producer.begin_transaction()
        for number in range(10):
            producer.produce(settings.kafka_topic, value=numbered(number), partition=0)
        producer.flush()  # otherwise an aborted record might never leave the client
        producer.commit_transaction() if commit else producer.abort_transaction()
    # 0-9, marker, 11-20 aborted, marker, 22-31, marker
    assert [record.offset for record in topic.read(settings, 0, 0, 33)] == [*range(10), *range(22, 32)]
    assert not topic.holds_records(settings, 0, 10, 22)
    assert topic.holds_records(settings, 0, 10, 23)
    assert not topic.holds_records(settings, 0, 32, 33)
    assert topic.records_at(settings, {0: 31})[0].offset == 31
    assert [topic.records_at(settings, {0: offset}) for offset in (11, 21, 32)] == [{}] * 3


def test_one_record_of_each_partition_is_read_and_missing_ones_skipped(settings: Settings) -> None:
    topic.get_or_create(settings)
    for partition in range(3):
        damage.send_batches(settings, "none", partition, 1, 20)
    where = TopicPartition(settings.kafka_topic, 1, 10)
    admin = AdminClient({"bootstrap.servers": settings.kafka_bootstrap_servers})
    admin.delete_records([where])[where].result()
    found = topic.records_at(settings, {0: 19, 1: 9, 2: 0})
    assert {part: (record.offset, record.key) for part, record in found.items()} == {0: (19, b"19"), 2: (0, b"0")}
    assert topic.records_at(settings, {0: 20, 1: 500}) == topic.records_at(settings, {}) == {}


def test_a_lost_end_whose_offsets_have_new_records_stops_the_sink(mysql: Settings, tmp_path: Path) -> None:
    """Nothing before the ledger's position would be read again."""
    sink = ("sink", "--engine", "direct", "--once")
    broker = Broker(tmp_path / "broker", free_port())
    restored = msgspec.structs.replace(mysql, kafka_bootstrap_servers=broker.address, kafka_topic="lost-end")
    with servers.running(broker):
        topic.get_or_create(restored)
        damage.send_batches(restored, "none", 0, 4, 25)
        damage.send_batches(restored, "none", 1, 1, 10, start=500)
        for _ in range(2):
            assert run(restored, *sink, cwd=tmp_path).returncode == 0
        broker.kill()
        damage.cut_off(damage.segment(broker.data, restored.kafka_topic), 75)
        broker.start()
        broker.wait_ready()
        topic.wait_for_leaders(restored)
        damage.send_batches(restored, "none", 0, 2, 25, start=1000)
        stopped = run(restored, *sink, cwd=tmp_path)
        assert stopped.returncode == 2, stopped
        assert "lost-end partition 0 has another record at offset 99 than the one" in stopped.stderr
        assert "MYSQL_TABLE" in stopped.stderr and "Traceback" not in stopped.stderr
        with pytest.raises(OffsetsReused, match="offset 99"):
            prepare_ledger(restored)
        report = audit.run(restored)
    assert (len(report.missing), len(report.extra)) == (25, 25), report
    assert "last_offset 99 is not the one that the ledger accounts for" in report.counters[0].description
    assert select(restored, "SELECT COUNT(*) FROM orders") == [(110,)]


# New partitions.


def test_a_new_partition_of_a_known_topic_begins_at_0(settings: Settings, tmp_path: Path) -> None:
    info = topic.get_or_create(settings)
    damage.send_batches(settings, "none", 0, 1, 10)
    assert run(settings, "sink", "--engine", "direct", "--once", cwd=tmp_path).returncode == 0
    topic.add_partitions(settings, 4)
    topic.wait_for_leaders(settings)
    damage.send_batches(settings, "none", 3, 1, 100, start=1000)
    coordinates = TopicPartition(settings.kafka_topic, 3, 60)
    admin = AdminClient({"bootstrap.servers": settings.kafka_bootstrap_servers})
    admin.delete_records([coordinates])[coordinates].result()

    shown = run(settings, "accept-loss", cwd=tmp_path)  # no sink has seen the partition yet
    assert shown.returncode == 1 and "partition 3: offsets 0 to 59 (60) are lost" in shown.stdout, shown
    stopped = run(settings, "sink", "--engine", "direct", "--once", cwd=tmp_path)
    assert stopped.returncode == 2 and f"{info.name} partition 3 offsets 0 to 59" in stopped.stderr, stopped
    accepted = run(settings, "accept-loss", "--yes", cwd=tmp_path)
    assert accepted.returncode == 0 and "offsets 0 to 59 (60) are accepted as lost" in accepted.stdout, accepted
    assert run(settings, "sink", "--engine", "direct", "--once", cwd=tmp_path).returncode == 0
    report = audit.run(settings)
    assert report.is_proven and (report.records, report.lost_offsets) == (50, 60), report


def test_a_loss_may_be_accepted_before_a_sink_has_seen_the_partition(settings: Settings, tmp_path: Path) -> None:
    schema.prepare(settings)
    with Connection(settings) as connection:
        ledger.ensure_partitions(connection, "orders", "id", {0: 7})
        assert ledger.accept_losses(connection, "orders", "id", {0: 7, 1: 60}, "ann")[0][2:5] == (1, 0, 60)
        assert ledger.ensure_partitions(connection, "orders", "id", {0: 7, 1: 60, 2: 0}) == {0: 7, 1: 60, 2: 0}
        with pytest.raises(OffsetsLost, match="orders partition 3 offsets 0 to 4"):
            ledger.ensure_partitions(connection, "orders", "id", {0: 7, 1: 60, 2: 0, 3: 5})
        with pytest.raises(TopicRecreated):
            ledger.ensure_partitions(connection, "orders", "another", {0: 0, 4: 0})
        assert {entry.topic_id for entry in ledger.read_entries(connection)} == {"id"}


# A recreated topic.


@pytest.mark.parametrize("engine", ["direct", "spark"])
def test_no_record_of_a_recreated_topic_is_committed(settings: Settings, tmp_path: Path, engine: str) -> None:
    """With 300 records at once, a sink could read on from the old position without noticing the new topic."""
    info = topic.get_or_create(settings)
    damage.send_batches(settings, "none", 0, 1, 50)
    admin = AdminClient({"bootstrap.servers": settings.kafka_bootstrap_servers})
    with running(settings, "sink", "--engine", engine, folder=tmp_path) as sink:
        until(has_logged(sink, "50 stored"), sink)
        admin.delete_topics([info.name])[info.name].result()
        until(lambda: info.name not in admin.list_topics(timeout=10).topics)
        topic.create(settings)
        damage.send_batches(settings, "none", 0, 1, 300, start=1000)
        until(lambda: not sink.alive)
        assert sink.exit_code == 2
        assert has_logged(sink, "was deleted and created again")() or has_logged(sink, "does not exist")()
    assert select(settings, "SELECT COUNT(*), MAX(order_id) FROM orders") == [(50, "ORDER-000049")]


def test_the_topic_id_check_detects_a_recreated_topic(settings: Settings) -> None:
    info = topic.get_or_create(settings)
    finish_check = KafkaTopicReader(settings, info.topic_id).request_topic_id_check()
    finish_check()
    finish_check = KafkaTopicReader(settings, "another").request_topic_id_check()
    with pytest.raises(TopicRecreated, match=re.escape(info.topic_id)):  # it may contain a plus sign
        finish_check()


# Timestamps and headers.


@pytest.mark.parametrize("engine", ["direct", "spark"])
def test_timestamps_in_nanoseconds_and_headers_that_are_not_utf8(
    settings: Settings, tmp_path: Path, engine: str
) -> None:
    """Spark's Kafka source cannot convert these timestamps to microseconds."""
    topic_name, admin = settings.kafka_topic, AdminClient({"bootstrap.servers": settings.kafka_bootstrap_servers})
    config = {"message.timestamp.after.max.ms": str(2**63 - 1)}
    created = NewTopic(topic_name, num_partitions=2, replication_factor=1, config=config)
    admin.create_topics([created])[topic_name].result()
    topic.wait_for_leaders(settings)
    producer = Producer(topic.client_config(settings))
    for number in range(40):
        timestamp = 1_736_951_445_000_000_000 if number in (3, 9) else 1_736_951_445_000
        value = b"{" if number == 9 else numbered(number)
        producer.produce(topic_name, value=value, headers=[("h", b"1")], partition=number // 20, timestamp=timestamp)
    producer.flush()
    keeping = msgspec.structs.replace(settings, kafka_headers="keep")
    for value in (numbered(40), b"no order"):
        damage.send_with_headers(keeping, value, [(b"good", b"1"), (b"b\xffd", b"\xfe"), (b"none", None)])
    damage.send_batches(keeping, "none", 0, 1, 10, start=100)
    done = run(keeping, "sink", "--engine", engine, "--once", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    report = audit.run(keeping)
    assert (report.is_proven, report.stored, report.quarantined) == (True, 39 + 11, 2), report

    assert select(settings, "SELECT order_id FROM orders WHERE produced_at IS NULL") == [("ORDER-000003",)]
    rows = "SELECT produced_at, record_headers, quarantine_id FROM orders_quarantine ORDER BY kafka_offset"
    [(produced_at, own_headers, _), (_, record_headers, quarantine_id)] = select(settings, rows)
    assert (produced_at, own_headers) == (None, '[["h", "MQ=="]]')
    if engine == "spark":
        assert "have a timestamp that Spark cannot read" in done.stderr

    headers = [
        (name.encode(errors="surrogateescape"), value and base64.b64decode(value))
        for name, value in json.loads(record_headers)
    ]
    # Kafka's Java client, which Spark uses, has only text as header names.
    bad_name = b"b\xffd" if engine == "direct" else "b\ufffdd".encode()
    assert headers == [(b"good", b"1"), (bad_name, b"\xfe"), (b"none", None)]
    assert run(keeping, "quarantine", "show", str(quarantine_id), cwd=tmp_path).returncode == 0
    for command in (("show", "--json", str(quarantine_id)), ("export",)):
        shown = json.loads(run(keeping, "quarantine", *command, cwd=tmp_path).stdout.splitlines()[-1])
        assert shown["headers"][1] == [bad_name.decode(errors="surrogateescape"), "/g=="]


# Slow connections and wrong addresses.


@pytest.mark.parametrize("host", ["kafka.internal.invalid", "127.0.0.1"])
def test_an_unreachable_advertised_address_is_reported(tmp_path: Path, host: str) -> None:
    broker = Broker(tmp_path / "broker", free_port())
    broker.advertised = f"{host}:{free_port()}"
    settings = Settings(kafka_bootstrap_servers=broker.address, kafka_topic="any")
    words = f"; broker 1 cannot be reached at its advertised.listeners address {broker.advertised}: "
    broker.start()
    try:
        until(lambda: is_reported(settings, words), timeout=60)
    finally:
        broker.kill()


def is_reported(settings: Settings, words: str) -> bool:
    try:
        topic.describe(settings)
    except OrderFlowError as error:
        assert isinstance(error, KafkaUnavailable), error
        return bool(re.search(f"{re.escape(words)}.+", error.message)) and bool(error.hint)
    return False


def test_a_long_aborted_range_is_read_over_a_slow_connection(tmp_path: Path) -> None:
    """No record arrives during the read, but the client's position shows that it makes progress."""
    broker = Broker(tmp_path / "broker", free_port())
    with Proxy(broker.port) as proxy:
        broker.advertised = f"127.0.0.1:{proxy.port}"
        settings = Settings(kafka_bootstrap_servers=broker.advertised, kafka_topic="aborted")
        with servers.running(broker):
            topic.get_or_create(settings)
            abort_records(settings, 24_000)
            damage.send_batches(settings, "none", 0, 1, 1)
            proxy.rate = 5_000_000
            started_at = time.monotonic()
            assert not topic.holds_records(settings, 0, 0, 24_001, gap_stall_timeout=4.0, stall_timeout=6.0)
            assert time.monotonic() - started_at > 8
            assert [record.offset for record in topic.read(settings, 0, 0, 24_002, stall_timeout=6.0)] == [24_001]


def abort_records(settings: Settings, count: int) -> None:
    """Send this number of records of 2,000 bytes in a transaction and abort it."""
    producer = Producer(topic.client_config(settings) | {"transactional.id": settings.kafka_topic})
    producer.init_transactions()
    producer.begin_transaction()
    for _ in range(count):
        producer.produce(settings.kafka_topic, value=os.urandom(2_000), partition=0)
        if len(producer) > 10_000:
            producer.flush()
    producer.flush()
    producer.abort_transaction()
    until(lambda: topic.bounds(settings, [0])[0].end == count + 1)  # the marker is written after the reply
