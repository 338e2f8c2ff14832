"""Errors that only an operator can fix end the sink with exit code 2. After the fix the sink continues."""

from __future__ import annotations

from collections.abc import Iterator
from random import Random

import pytest
from confluent_kafka import TopicPartition

from orderflow import audit, topic
from tests.faults.proxy import without_tls
from tests.faults.system import Servers, System, ended
from tests.processes import until


@pytest.fixture(params=["direct", "spark"])
def system(request: pytest.FixtureRequest, fault_servers: Servers) -> Iterator[System]:
    name = f"{request.node.originalname}_{request.param}".removeprefix("test_")
    with System(fault_servers, name[:50], request.param, Random(1)) as running:
        yield running
        print("\n".join(running.sink.last_lines(60)))  # shown if the test fails


def _ends_with(system: System, words: str) -> None:
    code, output = ended(system.sink), "\n".join(system.sink.last_lines(40))
    assert code == 2, output
    assert words in output, output
    assert "Traceback" not in output[output.rindex("error: ") :], output  # Spark may log a worker's traceback before


def _stop_producers(system: System) -> None:
    """Kill the producers, because they would recreate a deleted topic."""
    system.producer.kill()
    system.transactional.kill()


def _delete_topic(system: System) -> None:
    name = system.direct.kafka_topic
    system.admin.delete_topics([name])[name].result()
    until(lambda: name not in system.admin.list_topics(timeout=10).topics)


def test_topic_deleted(system: System) -> None:
    _stop_producers(system)
    _delete_topic(system)
    _ends_with(system, f"Topic {system.direct.kafka_topic} does not exist")


def test_topic_recreated(system: System) -> None:
    _stop_producers(system)
    line = system.kafka.for_sink
    line.down = True
    line.cut()  # otherwise the sink would detect that the topic is missing
    _delete_topic(system)
    topic.create(system.direct)
    line.heal()
    _ends_with(system, f"Topic {system.direct.kafka_topic} was deleted and created again")


def test_retention_overtakes_the_sink(system: System) -> None:
    _stop_producers(system)
    system.until_caught_up()
    position = system.positions()[0]
    line = system.kafka.for_sink
    line.down = True
    line.cut()  # a stopped process would read the pending reply when it resumes
    system.send(10**13, 20, partition=0)
    where = TopicPartition(system.direct.kafka_topic, 0, position + 20)
    system.admin.delete_records([where])[where].result()
    system.send(10**14, 1, partition=0)
    line.heal()
    _ends_with(system, "Records are gone from the topic before they were stored")
    lost = f"{system.direct.kafka_topic} partition 0 offsets {position} to {position + 19}"
    assert system.said(lost)
    system.run("accept-loss", "--yes")
    system.sink.start()
    system.prove()
    assert audit.run(system.direct).lost_offsets == 20


def test_credentials_changed(system: System) -> None:
    system.until_caught_up()  # every worker has its session
    system.database.proxy.greeting = bytes  # with TLS: without it, MySQL requests TLS before it checks the password
    system.database.know_the_sink("second")
    if system.engine == "direct":  # Spark may open a session at any time
        system.until_it_stores()
    system.cut_sessions()
    _ends_with(system, f"refuses user {system.settings.mysql_user}: Access denied")
    system.database.know_the_sink("first")
    system.database.proxy.greeting = without_tls
    system.sink.start()
    assert system.drain().stored
