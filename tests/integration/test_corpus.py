"""The corpus in the whole pipeline, mixed with valid orders: each record's outcome, and the audit's result."""

from __future__ import annotations

import os
import re
import signal
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient, AlterConfigOpType, ConfigEntry, ConfigResource

from orderflow import audit, topic
from orderflow.contract.definition import STANDARD_FIELDS, Order, Reason
from orderflow.embedded.process import Process
from orderflow.settings import Settings
from orderflow.store import schema
from tests.support.corpus import CASES, STORIES, TRUNCATED, Case, Step, numbered
from tests.support.processes import running, sum_of_positions, until
from tests.support.sql import select

_Coordinates = tuple[int, int]


@pytest.mark.parametrize(("engine", "kind"), [("spark", "mysql"), ("direct", "mariadb")])
def test_every_record_of_the_corpus_has_its_expected_outcome(
    engine: str, kind: str, kafka: str, topic: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    settings = msgspec.structs.replace(
        request.getfixturevalue(f"{kind}_server"),
        mysql_database=f"corpus_{engine}",
        kafka_bootstrap_servers=kafka,
        kafka_topic=topic,
        kafka_headers="keep",
    )
    schema.prepare(settings)
    _create_topic(settings)
    cases = [_with_its_own_id(number, case) for number, case in enumerate(CASES)]
    stories = [[_renamed(batch, number) for batch in story.batches] for number, story in enumerate(STORIES)]
    stories[0][0] += [Step(value, Reason.EMPTY_VALUE if not value else Reason.MALFORMED_JSON) for value in TRUNCATED]
    sent_steps: list[list[tuple[_Coordinates, Step]]] = [[] for _ in stories]
    case_coordinates: list[_Coordinates] = []
    valid_coordinates: list[_Coordinates] = []
    with running(settings, "sink", "--engine", engine, folder=tmp_path) as sink:
        for turn in range(max(map(len, stories))):
            with _group_stopped(sink):  # so that it reads all records of a turn at once
                producer = _Sender(settings)
                if not turn:
                    for number, case in enumerate(cases):
                        case_coordinates.append(producer.send(0, case.value))
                        valid_coordinates.append(producer.send(number % 3, numbered(900_000 + number)))
                for batches, steps in zip(stories, sent_steps, strict=True):
                    for step in batches[turn] if turn < len(batches) else ():
                        steps.append((producer.send(step.partition, step.value, step.key), step))
                producer.flush()
            until(lambda producer=producer: producer.all_stored(), sink)  # type: ignore[misc]
        sink.terminate()
        until(lambda: not sink.alive)
        assert sink.exit_code == 0, sink.last_lines()

    quarantined = {
        (partition, offset): (reason, value)
        for partition, offset, reason, value in select(
            settings, "SELECT kafka_partition, kafka_offset, reason, record_value FROM orders_quarantine"
        )
    }
    rows = {
        tuple(row[:2]): row[2:]
        for row in select(settings, f"SELECT kafka_partition, kafka_offset, {', '.join(STANDARD_FIELDS)} FROM orders")
    }
    seen: dict[str, Order] = {}
    for coordinates, case in zip(case_coordinates, cases, strict=True):
        expected = case.expected
        if isinstance(expected, Order):
            first = seen.setdefault(expected.order_id, expected)
            if first is expected:
                assert rows.get(coordinates) == expected.row(), (case.name, quarantined.get(coordinates))
            else:
                outcome = quarantined.get(coordinates, (None,))[0]
                assert outcome == (None if first == expected else Reason.CONFLICT), case.name
        else:
            assert quarantined[coordinates] == (expected, case.value), case.name
    assert all(coordinates in rows for coordinates in valid_coordinates)
    for story, steps in zip(STORIES, sent_steps, strict=True):
        # Partitions read in parallel may arrive in any order, so only the number of each outcome counts.
        outcomes = Counter(
            quarantined[position][0] if position in quarantined else "stored" if position in rows else "duplicate"
            for position, _ in steps
        )
        assert outcomes == Counter(step.outcome for _, step in steps), story.name

    report = audit.run(settings)
    assert report.is_proven and not report.not_yet_stored, report
    assert report.records == len(cases) * 2 + sum(map(len, sent_steps))
    assert (report.stored, report.quarantined) == (len(rows), len(quarantined))


@contextmanager
def _group_stopped(process: Process) -> Iterator[None]:
    """Stop the process and its children while the block lasts."""
    os.killpg(process.identity[0], signal.SIGSTOP)
    yield
    os.killpg(process.identity[0], signal.SIGCONT)


def _create_topic(settings: Settings) -> None:
    topic.create(settings)
    largest = ConfigEntry("max.message.bytes", str(32 * 1024 * 1024), incremental_operation=AlterConfigOpType.SET)
    resource = ConfigResource(ConfigResource.Type.TOPIC, settings.kafka_topic, incremental_configs=[largest])
    admin = AdminClient(topic.client_config(settings))
    admin.incremental_alter_configs([resource])[resource].result()


def _with_its_own_id(number: int, case: Case) -> Case:
    """Cases share an order_id. Give each accepted case its own if its value contains the id unescaped."""
    own = f"ORDER-8{number:05}"
    if not isinstance(case.expected, Order) or not case.value or case.value.count(b'"ORDER-000001"') != 1:
        return case
    value = case.value.replace(b'"ORDER-000001"', f'"{own}"'.encode())
    return case._replace(value=value, expected=msgspec.structs.replace(case.expected, order_id=own))


def _renamed(steps: Iterable[Step], story: int) -> list[Step]:
    return [step._replace(value=re.sub(rb"(?i)(order-)(?=0)", rb"\g<1>7%03d" % story, step.value)) for step in steps]


class _Sender:
    """Sends record by record. `send` returns the record's partition and offset."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._topic = settings.kafka_topic
        self._producer = Producer(
            topic.client_config(settings)
            | {"message.max.bytes": 32 * 1024 * 1024, "acks": "all", "enable.idempotence": True}
        )
        info = topic.describe(settings)
        self._next = {part: bounds.end for part, bounds in topic.bounds(settings, info.partitions).items()}

    def send(self, partition: int, value: bytes | None, key: bytes | None = None) -> _Coordinates:
        self._producer.produce(self._topic, value, key, partition)
        self._producer.poll(0)
        offset = self._next[partition]
        self._next[partition] += 1
        return partition, offset

    def all_stored(self) -> bool:
        return sum_of_positions(self._settings) == sum(self._next.values())

    def flush(self) -> None:
        assert self._producer.flush(60) == 0
