"""The audit of topics that do not keep every record, and of several topics."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
from confluent_kafka import Producer, TopicPartition
from confluent_kafka.admin import AdminClient

from orderflow import audit, topic
from orderflow.errors import OffsetsLost, TopicMissing, TopicRecreated, TopicUnusable
from orderflow.settings import Settings
from orderflow.spark import prepare_ledger
from tests.support.audited import NO_FINDINGS, counts
from tests.support.processes import run
from tests.support.records import configure_topic, delete_before, delete_topic, lose, order, send, store
from tests.support.sql import execute


def test_aborted_transactions_are_no_records(settings: Settings) -> None:
    topic.get_or_create(settings)
    producer = Producer(topic.client_config(settings) | {"transactional.id": settings.kafka_topic})
    producer.init_transactions(30)
    for number, ends in enumerate((producer.abort_transaction, producer.commit_transaction) * 3):
        producer.begin_transaction()
        producer.produce(settings.kafka_topic, value=order(number), partition=0)
        ends(30)
    store(settings)
    report = audit.run(settings)
    assert (report.is_proven, counts(report)) == (True, (3, 3, 0, 0))


def test_offsets_before_the_ledger_are_reported(settings: Settings) -> None:
    """Records deleted from the topic before OrderFlow's first start are not a loss, and are not accounted for."""
    lose(settings, 0, 3)
    send(settings, [order(1), order(2)])
    store(settings)
    report = audit.run(settings)
    assert (report.is_proven, report.before_ledger, counts(report)) == (True, 3, (2, 2, 0, 0))
    assert report.sentence().endswith(" Before the ledger's first offsets, so not accounted for: 3 offsets.")
    execute(settings, "UPDATE orders_ledger SET first_offset = 4, `stored` = 1 WHERE kafka_partition = 0")
    execute(settings, "DELETE FROM orders WHERE order_id = 'ORDER-000001'")
    report = audit.run(settings)
    assert not report.is_proven
    assert "the topic holds records at offsets 3 to 3, before the ledger's first_offset" in {
        finding.description for finding in report.counters
    }


def test_several_topics_may_fill_one_table(settings: Settings) -> None:
    """The second topic is a mirror of the first with one more record, so its records have the same coordinates."""
    mirror = msgspec.structs.replace(settings, kafka_topic=f"{settings.kafka_topic}-mirror")
    values = [order(1), order(2), b"{"]
    for number, current in enumerate((mirror, settings)):  # not in alphabetical order
        send(current, [*values, order(7 + number)])
        store(current)
    try:
        for current in (settings, mirror):
            report = audit.run(current)
            assert (report.is_proven, report.counts, counts(report)) == (True, NO_FINDINGS, (8, 4, 2, 2))
        execute(settings, "DELETE FROM orders WHERE order_id = 'ORDER-000002'")
        assert audit.run(settings).counts == NO_FINDINGS | {"missing": 2, "counters": 2, "rollup": 1}
    finally:
        delete_topic(mirror)


def test_a_deleted_former_topic_cannot_be_read_again(stored: Settings) -> None:
    later = msgspec.structs.replace(stored, kafka_topic=f"{stored.kafka_topic}-2")
    send(later, [order(1), order(9)], partition=2)
    store(later)
    try:
        assert audit.run(later).records == 11
        delete_topic(stored)
        report = audit.run(later)
        assert (report.is_proven, counts(report)) == (True, (2, 1, 1, 0))
        assert (report.removed_offsets, report.unprovable) == (9, 8)
        with pytest.raises(TopicMissing, match="although the ledger has positions in it"):
            audit.run(stored)
        send(stored, [order(1)])
        with pytest.raises(TopicRecreated):
            audit.run(stored)
        assert audit.run(later).removed_offsets == 9
    finally:
        delete_topic(later)


def test_records_removed_by_retention_are_no_longer_provable(stored: Settings) -> None:
    admin = AdminClient(topic.client_config(stored))
    coordinates = TopicPartition(stored.kafka_topic, 0, 2)  # orders 1 and 2; the duplicate of order 1 remains
    admin.delete_records([coordinates])[coordinates].result()
    report = audit.run(stored)
    assert (report.is_proven, report.counts, counts(report)) == (True, NO_FINDINGS, (7, 3, 1, 3))
    assert (report.removed_offsets, report.unprovable) == (2, 2)
    assert "Gone from the topic: 2 older offsets, so " in report.sentence()
    coordinates = TopicPartition(stored.kafka_topic, 1, 4)  # includes a conflict and a malformed record
    admin.delete_records([coordinates])[coordinates].result()
    report = audit.run(stored)
    assert (report.is_proven, report.counts, counts(report)) == (True, NO_FINDINGS, (3, 1, 1, 1))
    assert (report.removed_offsets, report.unprovable) == (6, 6)
    execute(stored, "DELETE FROM orders WHERE order_id = 'ORDER-000002'")  # detected, but the order is unknown
    assert audit.run(stored).counts == NO_FINDINGS | {"counters": 1, "rollup": 1}


@pytest.mark.parametrize("first", [3, 9])  # 9: all of the partition's records
def test_what_retention_removes_meanwhile_is_no_longer_provable(stored: Settings, first: int) -> None:
    """The bounds are read once, and the partitions one after another."""
    send(stored, [order(10 + number) for number in range(5)], partition=1)
    store(stored)
    removed: list[int] = []

    def remove(done: int, total: int) -> None:
        if not removed:
            assert (done, total) == (5, 14)
            removed.append(first)
            delete_before(stored, TopicPartition(stored.kafka_topic, 1, first))

    report = audit.run(stored, remove)
    assert removed and (report.is_proven, report.counts) == (True, NO_FINDINGS)
    assert (report.records, report.removed_offsets) == (14 - first, first)
    assert f" Gone from the topic: {first} older offsets," in report.sentence()
    again = audit.run(stored)
    assert (counts(again), again.sentence()) == (counts(report), report.sentence())


def test_unstored_records_that_left_are_a_finding_until_accepted(stored: Settings, tmp_path: Path) -> None:
    lose(stored, 1, 3)
    topic.add_partitions(stored, 4)
    lose(stored, 3, 2)
    report = audit.run(stored)
    assert report.counts == NO_FINDINGS | {"topics": 2}
    assert {(finding.partition, finding.description) for finding in report.topics} == {
        (1, "offsets 4 to 6 left the topic before they were stored"),
        (3, "offsets 0 to 1 left the topic before they were stored"),
    }
    assert report.sentence().startswith("Not proven: 5 records read, 2 findings: 2 wrong in the topics.")
    assert run(stored, "accept-loss", "--yes", cwd=tmp_path).returncode == 0
    report = audit.run(stored)
    assert (report.is_proven, report.lost_offsets) == (True, 5)


def test_a_compacted_topic_is_a_finding(stored: Settings, tmp_path: Path) -> None:
    """Between two reads, compaction removes records whose absence nothing shows."""
    configure_topic(stored, "cleanup.policy", "compact,delete")
    assert audit.run(stored).counts == NO_FINDINGS | {"topics": 1}
    found = run(stored, "audit", cwd=tmp_path)
    assert found.returncode == 1
    assert f"topics: Topic {stored.kafka_topic} has cleanup.policy=compact,delete: Kafka removes" in found.stdout
    assert "So it cannot be proven that every order was stored." in found.stdout
    for arguments in (["sink", "--once", "--engine", "direct"], ["init"]):
        refused = run(stored, *arguments, cwd=tmp_path)
        assert (refused.returncode, "Traceback" in refused.stderr) == (2, False)
        assert "has cleanup.policy=compact,delete" in refused.stderr
        assert f"--topic {stored.kafka_topic} --add-config cleanup.policy=delete" in refused.stderr
    with pytest.raises(TopicUnusable):
        prepare_ledger(stored)
    configure_topic(stored, "cleanup.policy", "delete")
    assert run(stored, "sink", "--once", "--engine", "direct", cwd=tmp_path).returncode == 0
    assert audit.run(stored).is_proven


def test_a_cleanup_policy_that_may_not_be_read_is_reported(stored: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("orderflow.topic._metadata._config", lambda *_: None)
    report = audit.run(stored)
    assert (report.is_proven, report.policies_unknown) == (True, [stored.kafka_topic])
    assert report.sentence().endswith(
        f" The user may not read the cleanup.policy of topic {stored.kafka_topic}. If it is compact, records may be"
        " missing."
    )


def test_a_topic_that_lost_its_end_cannot_be_checked(stored: Settings) -> None:
    execute(stored, "UPDATE orders_ledger SET next_offset = 9 WHERE kafka_partition = 0")
    with pytest.raises(OffsetsLost, match="ends at offset 5, before the ledger's position 9") as caught:
        audit.run(stored, end_timeout=1.0)
    assert "MYSQL_TABLE" in caught.value.hint
