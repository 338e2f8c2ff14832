"""Faults of the topic: its bytes, its end, its partitions, its identity."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from confluent_kafka import TopicPartition

from orderflow import topic
from tests.faults.registry import action
from tests.faults.system import System, ended
from tests.support import damage
from tests.support.processes import until


@action()
def partitions_added(system: System) -> None:
    added = _add_partition(system)
    system.send(system.rng.randrange(10**9, 10**12), 50, partition=added)
    until(lambda: system.positions().get(added, 0) >= 50, system.sink)


@action()
def partition_added_and_overtaken(system: System) -> None:
    """While the sink is disconnected, a partition is added and filled, and retention removes its first records."""
    with _disconnected(system):
        added = _add_partition(system)
        system.send(system.rng.randrange(10**9, 10**12), 50, partition=added)
        _remove_first_records(system, added, 20)
    assert ended(system.sink) == 2, system.sink.last_lines()
    assert system.has_logged(f"{system.admin_settings.kafka_topic} partition {added} offsets 0 to 19"), (
        system.sink.last_lines()
    )
    system.run("accept-loss", "--yes")
    system.sink.start()


def _remove_first_records(system: System, partition: int, end: int) -> None:
    """Remove the records before offset `end`, and wait until a kill of the broker cannot undo this."""
    coordinates = TopicPartition(system.admin_settings.kafka_topic, partition, end)
    system.admin.delete_records([coordinates])[coordinates].result()
    checkpoint = system.kafka.folder / "data" / "log-start-offset-checkpoint"
    until(lambda: f"{coordinates.topic} {partition} {end}" in checkpoint.read_text().splitlines())


def _add_partition(system: System) -> int:
    """Add a partition and return its number."""
    return len(topic.add_partitions(system.admin_settings, system.partitions() + 1).partitions) - 1


@contextmanager
def _disconnected(system: System) -> Iterator[None]:
    """Cut the sink's connection to Kafka while the block lasts."""
    proxy = system.kafka.for_sink
    proxy.down = True
    proxy.cut()
    yield
    proxy.remove_faults()


@action()
def batch_corrupted(system: System) -> None:
    """A flipped bit blocks only its own partition, until the batch is restored."""
    with _disconnected(system):
        number = system.rng.randrange(10**9, 10**12)
        system.send(number, 50, partition=0)
        path = _segment(system)
        batch = damage.batches(path)[-1]
        damage.flip(path, batch)
    try:
        system.wait_for_log("partition 0 cannot be read at offset")
        before = system.positions()
        until(lambda: any(system.positions()[part] > before[part] for part in before if part), system.sink)
        assert system.positions()[0] <= batch.first
    finally:
        damage.flip(path, batch)
    until(lambda: system.positions()[0] >= batch.end, system.sink)


def _segment(system: System) -> Path:
    """Return the active segment file of partition 0."""
    return max((system.kafka.folder / "data" / f"{system.admin_settings.kafka_topic}-0").glob("*.log"))


@action()
def older_end(system: System) -> None:
    """The broker restarts without its last records, like a lagging replica that became leader. They return later."""
    kafka, producers = system.kafka, system.kafka.for_producers
    producers.down = True
    producers.cut()
    system.send(system.rng.randrange(10**9, 10**12), 200, partition=0)
    system.until_caught_up()
    data, whole = kafka.folder / "data", system.folder / "whole"
    kafka.kill()
    shutil.copytree(data, whole)
    damage.cut_off(_segment(system), system.positions()[0] - 150)
    system.restart(kafka)
    system.wait_for_log("before the ledger's position")
    kafka.kill()
    shutil.rmtree(data)
    whole.rename(data)
    system.restart(kafka)
    producers.remove_faults()


@action()
def topic_made_again(system: System) -> None:
    """Producers write while the topic is recreated. No new record reaches the old tables. An operator sets new ones."""
    system.until_it_stores()
    name = system.admin_settings.kafka_topic
    number = system.rng.randrange(10**9, 10**12)
    system.admin.delete_topics([name])[name].result()
    partitions = topic.create(system.admin_settings).partitions
    if len(partitions) < topic.DEFAULT_PARTITIONS:  # a producer that requested the topic's metadata has created it
        topic.add_partitions(system.admin_settings, topic.DEFAULT_PARTITIONS)
    system.send(number, 300)
    assert ended(system.sink) == 2, system.sink.last_lines()
    assert system.has_logged("was deleted and created again") or system.has_logged("does not exist"), (
        system.sink.last_lines()
    )
    last = f"'ORDER-{number + 299}'"
    assert system.sql(f"SELECT * FROM orders WHERE order_id BETWEEN 'ORDER-{number}' AND {last}") == []
    system.replace_tables()
