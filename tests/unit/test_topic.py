"""The search for damaged offsets, and the topic's identity, with a simulated broker."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from concurrent.futures import Future
from types import SimpleNamespace
from typing import Any
from unittest import mock

import pytest
from confluent_kafka import KafkaError, KafkaException, Uuid
from hypothesis import given
from hypothesis import strategies as st

from orderflow import topic
from orderflow.errors import BatchDamaged, KafkaUnavailable, OrderFlowError, TopicUnusable
from orderflow.offsets import DamagedRange
from orderflow.settings import Settings
from orderflow.topic import Bounds, Record, _connection, _consumers, _damage, _metadata, _range_reading
from orderflow.topic._damage import _ProbeResult
from orderflow.topic._error_codes import classify
from orderflow.topic._range_reading import GAP_STALL_TIMEOUT

SETTINGS = Settings(kafka_topic="orders")
CRC = KafkaError._BAD_MSG


class Broker:
    """A partition with a damaged batch, on a broker that answers nothing from second `pause` on, for `seconds`."""

    def __init__(self, end: int, damaged: range, code: int, pause: float = 0, seconds: float = 0) -> None:
        """Reading the damaged batch ends with this error code, or, if it is 0, without an answer."""
        self.end, self.damaged, self.code = end, damaged, code
        self.pause, self.resume, self.now = pause, pause + seconds, 0.0

    def probe(
        self, settings: Settings, partition: int, offset: int, stall_timeout: float = GAP_STALL_TIMEOUT
    ) -> _ProbeResult:
        self.now += 0.01
        if self.pause <= self.now < self.resume:
            waited = min(stall_timeout, self.resume - self.now)
            self.now += waited
            if waited == stall_timeout:
                return _ProbeResult(offset, True, reason="nothing arrived")
        if offset not in self.damaged:
            return _ProbeResult(offset, False)
        if self.code:
            return _ProbeResult(self.damaged.start, True, self.code, "CRC")
        self.now += stall_timeout
        return _ProbeResult(offset, True, reason="nothing arrived")

    def find(self, position: int) -> DamagedRange | None:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(_damage, "_probe", self.probe)
            patch.setattr(_damage, "bounds", lambda *_: {0: Bounds(0, self.end)})
            return topic.find_damage(SETTINGS, 0, position)


@pytest.mark.parametrize("code", [CRC, 0])
def test_the_damaged_range_is_found_if_the_broker_answers(code: int) -> None:
    broken = Broker(100, range(25, 50), code).find(25)
    assert broken and (broken.first, broken.end) == (25, 50)
    assert Broker(100, range(25, 50), code).find(50) is None


def test_a_pause_of_the_broker_is_not_damage() -> None:
    """It begins after the bounds were read, and ends while the search bisects."""
    with pytest.raises(KafkaUnavailable, match="orders partition 0 did not answer for a while at offset 25") as error:
        Broker(100, range(0), CRC, pause=0, seconds=40).find(25)
    assert error.value.hint


@given(st.integers(0, 60), st.integers(0, 30), st.sampled_from([0, CRC]), st.floats(0, 300), st.floats(0, 300))
def test_no_readable_offset_is_in_a_damaged_range(
    start: int, length: int, code: int, pause: float, seconds: float
) -> None:
    """A single pause at any moment may delay the result, but not falsify it."""
    damaged = range(start, start + length)
    try:
        broken = Broker(100, damaged, code, pause, seconds).find(start)
    except KafkaUnavailable:
        return
    assert (range(broken.first, broken.end) if broken else range(0)) in (damaged, range(0))
    assert broken or not damaged


def described(monkeypatch: pytest.MonkeyPatch, topic_id: Uuid | None) -> topic.TopicInfo:
    answer: Future[Any] = Future()
    answer.set_result(SimpleNamespace(topic_id=topic_id, partitions=[SimpleNamespace(id=1), SimpleNamespace(id=0)]))

    def describe_topics(*_: object, **__: object) -> Mapping[str, Future[Any]]:
        return {"orders": answer}

    monkeypatch.setattr(_metadata, "admin_client", lambda _: SimpleNamespace(describe_topics=describe_topics))
    return topic.describe(SETTINGS)


@pytest.mark.parametrize(
    ("code", "message", "hint"),
    [
        (KafkaError.TOPIC_AUTHORIZATION_FAILED, "refuses the request", "init --grants"),
        (KafkaError.TOPIC_EXCEPTION, "refuses the request", "KAFKA_TOPIC"),
        (KafkaError.POLICY_VIOLATION, "refuses the request", "policy"),
        (KafkaError._SSL, "does not accept the TLS connection", "KAFKA_SECURITY_PROTOCOL"),
    ],
)
def test_each_kafka_refusal_has_its_message_and_hint(code: int, message: str, hint: str) -> None:
    error = classify(KafkaError(code), SETTINGS)
    assert message in error.message
    assert hint in error.hint


@pytest.mark.parametrize("missing", [None, Uuid(0, 0)])
def test_a_topic_without_an_id_is_refused(monkeypatch: pytest.MonkeyPatch, missing: Uuid | None) -> None:
    """Brokers before Kafka 2.8 give no ids: two topics of one name would look the same."""
    with pytest.raises(TopicUnusable, match="Topic orders has no id on") as error:
        described(monkeypatch, missing)
    assert "Kafka 2.8" in error.value.hint


def test_a_topic_with_an_id_is_described(monkeypatch: pytest.MonkeyPatch) -> None:
    assert described(monkeypatch, Uuid(0, 1)) == topic.TopicInfo("orders", "AAAAAAAAAAAAAAAAAAAAAQ", (0, 1))


@pytest.mark.parametrize("policy", ["delete", "", None])
def test_a_topic_without_compaction_is_accepted(monkeypatch: pytest.MonkeyPatch, policy: str | None) -> None:
    monkeypatch.setattr(_metadata, "_config", lambda *_: policy)
    assert topic.check_cleanup_policy(SETTINGS) == policy


@pytest.mark.parametrize("policy", ["compact", "compact,delete", "delete,compact"])
def test_a_compacted_topic_is_refused(monkeypatch: pytest.MonkeyPatch, policy: str) -> None:
    monkeypatch.setattr(_metadata, "_config", lambda *_: policy)
    with pytest.raises(TopicUnusable, match=f"Topic orders has cleanup.policy={policy}: ") as error:
        topic.check_cleanup_policy(SETTINGS)
    assert "--add-config cleanup.policy=delete" in error.value.hint


@pytest.mark.parametrize(
    ("cached", "answers", "expected"),
    [
        ((0, 2000), [], 2000),
        ((0, 1040), [1040, 1040, 1041], 1041),  # a broker that has just restarted
        ((0, 1040), [1040] * 1000, 1040),  # the offset itself is damaged
        (None, [], None),
        ((0, -1001), [], None),
    ],
)
def test_an_end_before_a_known_record_is_read_again(
    cached: tuple[int, int] | None, answers: list[int], expected: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_consumers, "_OLDER_END_TIMEOUT", 0.3)
    reader = mock.Mock()
    reader.get_watermark_offsets = lambda _, **options: cached if options["cached"] else (0, answers.pop(0))
    assert topic.end_after(reader, Settings(), 0, 1040) == expected


@pytest.mark.parametrize(
    "code",
    [KafkaError._TIMED_OUT, KafkaError.FENCED_LEADER_EPOCH, KafkaError.UNKNOWN_LEADER_EPOCH, KafkaError._STATE],
)
def test_an_admin_client_that_may_not_recover_is_replaced(code: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """It may wait for a controller that was killed, or have a newer leader epoch than a broker restored from a copy."""
    monkeypatch.setattr(_connection, "check_connection", lambda _: None)
    settings = Settings(kafka_bootstrap_servers="127.0.0.1:1")
    before = _connection.admin_client(settings)
    with pytest.raises(KafkaUnavailable), topic.translate_errors(settings, before):
        raise KafkaException(KafkaError(code))
    assert (_connection.admin_client(settings) is before) == (code == KafkaError._STATE)


@pytest.mark.parametrize(
    "error", [KafkaUnavailable("A newer epoch."), BatchDamaged("A wrong checksum.", hint="x"), None]
)
def test_a_reader_that_has_failed_is_replaced(error: OrderFlowError | None, monkeypatch: pytest.MonkeyPatch) -> None:
    clients: list[object] = []

    def read_(reader: object, *_: Any) -> Iterator[Record]:
        clients.append(reader)
        if error and len(clients) == 1:
            raise error
        yield from ()

    monkeypatch.setattr(_range_reading, "_read", read_)
    settings = Settings(kafka_bootstrap_servers="127.0.0.1:1")
    if error:
        with pytest.raises(type(error)):
            topic.holds_records(settings, 0, 0, 9)
    for _ in range(2):
        assert not topic.holds_records(settings, 0, 0, 9)
    assert len(set(map(id, clients))) == (2 if error else 1)
