"""Errors that only an operator can fix end the sink with exit code 2. After the fix the sink continues."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from confluent_kafka import TopicPartition

from orderflow import audit, topic
from tests.faults.proxy import without_tls
from tests.faults.stage import Stage
from tests.faults.system import Servers, System, ended
from tests.support.processes import until
from tests.support.records import configure_topic
from tests.support.sql import execute


@pytest.fixture(scope="module", params=["direct", "spark"])
def stage(request: pytest.FixtureRequest, fault_servers: Servers) -> Iterator[Stage]:
    """Yield an engine's running system. Each test repairs it, and the last one deletes its topic."""
    stage = Stage(fault_servers, f"operator_{request.param}", request.param)
    yield stage
    stage.close()


def _assert_stops_with(system: System, words: str) -> None:
    code, output = ended(system.sink), "\n".join(system.sink.last_lines(40))
    assert code == 2, output
    assert words in output, output
    assert "Traceback" not in output[output.rindex("error: ") :], output  # Spark may log a worker's traceback before


def _stop_producers(system: System) -> None:
    """Kill the producers, because they would recreate a deleted topic."""
    system.producer.kill()
    system.transactional.kill()


def _delete_topic(system: System) -> None:
    name = system.admin_settings.kafka_topic
    system.admin.delete_topics([name])[name].result()
    until(lambda: name not in system.admin.list_topics(timeout=10).topics)


@pytest.mark.parametrize("stage", ["direct"], indirect=True)
def test_a_topic_that_becomes_compacted_stops_the_sink(stage: Stage) -> None:
    with stage.lent() as system:
        system.until_it_stores()
        configure_topic(system.admin_settings, "cleanup.policy", "compact")
        _assert_stops_with(system, f"Topic {system.admin_settings.kafka_topic} has cleanup.policy=compact")
        configure_topic(system.admin_settings, "cleanup.policy", "delete")
        system.sink.start()
        system.prove()


def test_a_column_that_would_alter_orders_stops_the_sink(stage: Stage) -> None:
    with stage.lent() as system:
        system.until_it_stores()
        execute(system.admin_settings, "ALTER TABLE orders MODIFY unit_price FLOAT NOT NULL")
        _assert_stops_with(system, "cannot store the orders of this contract: column unit_price")
        execute(system.admin_settings, "ALTER TABLE orders MODIFY unit_price DECIMAL(10,2) NOT NULL")
        system.sink.start()
        system.prove()


def test_changed_credentials_stop_the_sink(stage: Stage) -> None:
    with stage.lent() as system:
        system.until_caught_up()  # every worker has its session
        system.database.proxy.greeting = bytes  # with TLS: without it, MySQL requests TLS before it checks the password
        system.database.create_sink_user("second")
        if system.engine == "direct":  # Spark may open a session at any time
            system.until_it_stores()
        system.cut_sessions()
        _assert_stops_with(system, f"refuses user {system.settings.mysql_user}: Access denied")
        system.database.create_sink_user("first")
        system.database.proxy.greeting = without_tls
        system.sink.start()
        assert system.drain().stored


def test_records_lost_to_retention_stop_the_sink(stage: Stage) -> None:
    with stage.lent() as system:
        _stop_producers(system)
        system.until_caught_up()
        position = system.positions()[0]
        proxy = system.kafka.for_sink
        proxy.down = True
        proxy.cut()  # a stopped process would read the pending reply when it resumes
        system.send(10**13, 20, partition=0)
        coordinates = TopicPartition(system.admin_settings.kafka_topic, 0, position + 20)
        system.admin.delete_records([coordinates])[coordinates].result()
        system.send(10**14, 1, partition=0)
        proxy.remove_faults()
        _assert_stops_with(system, "Records are gone from the topic before they were stored")
        lost = f"{system.admin_settings.kafka_topic} partition 0 offsets {position} to {position + 19}"
        assert system.has_logged(lost)
        system.run("accept-loss", "--yes")
        system.sink.start()
        system.prove()
        assert audit.run(system.admin_settings).lost_offsets == 20


def test_a_recreated_topic_stops_the_sink(stage: Stage) -> None:
    with stage.lent() as system:
        _stop_producers(system)
        proxy = system.kafka.for_sink
        proxy.down = True
        proxy.cut()  # otherwise the sink would detect that the topic is missing
        _delete_topic(system)
        topic.create(system.admin_settings)
        proxy.remove_faults()
        _assert_stops_with(system, f"Topic {system.admin_settings.kafka_topic} was deleted and created again")
        system.replace_tables()
        system.prove()


def test_a_deleted_topic_stops_the_sink(stage: Stage) -> None:
    with stage.lent() as system:
        _stop_producers(system)
        _delete_topic(system)
        _assert_stops_with(system, f"Topic {system.admin_settings.kafka_topic} does not exist")
