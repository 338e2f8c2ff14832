"""What a start checks: that the topic still is what the ledger accounts for."""

from __future__ import annotations

from datetime import UTC, datetime
from unittest import mock

import pytest

from orderflow import topic
from orderflow.errors import BatchDamaged, OffsetsLost, OffsetsReused, OrderFlowError, TopicMissing, TopicUnusable
from orderflow.positions.start_checks import (
    AccountedOffsets,
    accounted_offsets,
    check_accounted_offsets,
    check_not_deleted,
    get_or_create_topic,
    prepare_start,
)
from orderflow.settings import Settings
from orderflow.store import ledger
from orderflow.store.ledger import LastRecord, LedgerEntry, Loss
from orderflow.topic import Bounds, Record, TopicInfo

SETTINGS = Settings(kafka_topic="orders")
MOMENT = datetime(2026, 1, 1, tzinfo=UTC)
MISSING = TopicMissing("The topic orders does not exist.", hint="Create it.")


def _entry(topic_name: str = "orders", *, stored: int = 10) -> LedgerEntry:
    return LedgerEntry(topic_name, 0, "id", 4, 16, stored, 0, 0, 0, MOMENT)


def _set_ledger(
    monkeypatch: pytest.MonkeyPatch,
    *entries: LedgerEntry,
    last_records: dict[int, LastRecord] | None = None,
    losses: list[Loss] | None = None,
) -> None:
    def of_topic(_: object, name: str = "") -> list[LedgerEntry]:
        return [entry for entry in entries if name in ("", entry.topic)]

    monkeypatch.setattr(ledger, "read_entries", of_topic)
    monkeypatch.setattr(ledger, "read_last_records", lambda *_: last_records or {})
    monkeypatch.setattr(ledger, "read_losses", lambda *_: losses or [])


def test_an_existing_topic_is_returned(monkeypatch: pytest.MonkeyPatch) -> None:
    topic_info = TopicInfo("orders", "id", (0,))
    monkeypatch.setattr(topic, "describe", lambda _: topic_info)
    assert get_or_create_topic(SETTINGS, mock.Mock()) is topic_info


def test_a_missing_topic_is_created_if_the_ledger_does_not_know_it(monkeypatch: pytest.MonkeyPatch) -> None:
    created = mock.Mock()
    monkeypatch.setattr(topic, "describe", mock.Mock(side_effect=MISSING))
    monkeypatch.setattr(topic, "get_or_create", created)
    _set_ledger(monkeypatch, _entry("another"))
    assert get_or_create_topic(SETTINGS, mock.Mock()) is created.return_value


def test_a_topic_in_the_ledger_is_never_created_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its records are lost, and the offsets of a new topic would mean other records."""
    created = mock.Mock()
    monkeypatch.setattr(topic, "describe", mock.Mock(side_effect=MISSING))
    monkeypatch.setattr(topic, "get_or_create", created)
    _set_ledger(monkeypatch, _entry("another"), _entry())
    with pytest.raises(TopicMissing, match="does not exist, although the ledger has positions in it") as raised:
        get_or_create_topic(SETTINGS, mock.Mock())
    assert "KAFKA_BOOTSTRAP_SERVERS names another cluster" in raised.value.hint
    created.assert_not_called()


def test_a_topic_that_the_ledger_does_not_know_was_not_deleted(monkeypatch: pytest.MonkeyPatch) -> None:
    _set_ledger(monkeypatch)
    check_not_deleted(SETTINGS, mock.Mock(), MISSING)


def test_a_start_is_at_the_positions_of_the_ledger(monkeypatch: pytest.MonkeyPatch) -> None:
    topic_info, ensured = TopicInfo("orders", "id", (0, 1)), mock.Mock(return_value={0: 5, 1: 0})
    monkeypatch.setattr(topic, "describe", lambda _: topic_info)
    monkeypatch.setattr(topic, "check_cleanup_policy", lambda _: "delete")
    monkeypatch.setattr(topic, "bounds", lambda *_: {0: Bounds(3, 9), 1: Bounds(0, 0)})
    monkeypatch.setattr(ledger, "ensure_partitions", ensured)
    _set_ledger(monkeypatch)
    start = prepare_start(SETTINGS, mock.Mock())
    assert start == (topic_info, "delete", {0: 5, 1: 0}, AccountedOffsets({}, []))
    assert ensured.call_args.args[1:] == ("orders", "id", {0: 3, 1: 0})


def test_a_compacted_topic_is_refused_before_the_ledger_gets_its_partitions(monkeypatch: pytest.MonkeyPatch) -> None:
    ensured = mock.Mock()
    monkeypatch.setattr(topic, "describe", lambda _: TopicInfo("orders", "id", (0,)))
    monkeypatch.setattr(topic, "check_cleanup_policy", mock.Mock(side_effect=TopicUnusable("It is compacted.")))
    monkeypatch.setattr(ledger, "ensure_partitions", ensured)
    with pytest.raises(TopicUnusable):
        prepare_start(SETTINGS, mock.Mock())
    ensured.assert_not_called()


def test_a_first_start_needs_no_kafka_client(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(topic, "records_at", mock.Mock(side_effect=AssertionError))
    monkeypatch.setattr(topic, "holds_records", mock.Mock(return_value=False))
    _set_ledger(monkeypatch)
    check_accounted_offsets(SETTINGS, accounted_offsets(SETTINGS, mock.Mock(), {0: 0}))


@pytest.mark.parametrize(
    ("entry", "last_offset", "first_offset", "ranges"),
    [
        (_entry(), 9, 0, [(0, 10, 16)]),
        (_entry(), 15, 0, []),
        (_entry(), 9, 12, [(0, 12, 16)]),  # retention has removed the last record
        (_entry(), 9, 16, []),
        (_entry(stored=0), None, 0, [(0, 4, 16)]),  # nothing was stored yet
        (_entry(), None, 0, []),  # stored by an earlier version, which kept no last offset
    ],
)
def test_empty_ranges_begin_after_the_last_record(
    entry: LedgerEntry,
    last_offset: int | None,
    first_offset: int,
    ranges: list[tuple[int, int, int]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    last = {} if last_offset is None else {0: LastRecord(last_offset, 0)}
    _set_ledger(monkeypatch, entry, last_records=last)
    accounted = accounted_offsets(SETTINGS, mock.Mock(), {0: first_offset})
    assert accounted.empty_ranges == ranges
    assert accounted.last_records == {key: record for key, record in last.items() if record.offset >= first_offset}


def test_a_partition_that_the_topic_lacks_is_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    _set_ledger(monkeypatch, _entry(), last_records={0: LastRecord(9, 0)})
    assert accounted_offsets(SETTINGS, mock.Mock(), {1: 0}) == AccountedOffsets({}, [])


STORED = Record(0, 99, 1_736_951_445_123, b"key", b"value")
NO_TIME = STORED._replace(timestamp=-1)


@pytest.mark.parametrize(
    ("stored", "found", "is_same"),
    [
        (STORED, STORED, True),
        (STORED, STORED._replace(value=None), True),  # write_orders was given another value
        (STORED, STORED._replace(key=b"another"), False),
        (STORED, STORED._replace(key=None), False),
        (STORED._replace(key=None), STORED._replace(key=b""), False),
        (STORED, STORED._replace(timestamp=STORED.timestamp + 1), False),
        (NO_TIME, NO_TIME._replace(timestamp=2**62), True),  # neither time can be stored
        (STORED, None, True),  # nothing can be compared
    ],
)
def test_the_last_record_is_compared(
    stored: Record, found: Record | None, is_same: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    last = LastRecord(99, ledger.hash_record(stored.timestamp, stored.key))
    # Partition 1 begins after its last record, and the topic does not have partition 2.
    _set_ledger(monkeypatch, last_records=dict.fromkeys(range(3), last))
    read = mock.Mock(return_value={0: found} if found else {})
    monkeypatch.setattr(topic, "records_at", read)
    accounted = accounted_offsets(SETTINGS, mock.Mock(), {0: 99, 1: 100})
    if is_same:
        check_accounted_offsets(SETTINGS, accounted)
    else:
        with pytest.raises(OffsetsReused, match="orders partition 0 has another record at offset 99 than the one"):
            check_accounted_offsets(SETTINGS, accounted)
    read.assert_called_once_with(SETTINGS, {0: 99})


@pytest.mark.parametrize(
    ("last_offset", "stored", "records", "reused"),
    [
        (9, 10, {9}, None),
        (9, 10, {9, 16}, None),  # not stored yet
        (9, 10, {9, 13, 14}, None),  # an accepted loss whose batch can be read again
        (9, 10, {9, 12}, "has records at offsets 10 to 12, which held none before"),
        (9, 10, {9, 15}, "has records at offsets 15 to 15, which held none before"),
        (None, 0, {5}, "has records at offsets 4 to 12, which held none before"),
        (None, 0, {3}, None),  # before the ledger's first offset
        (None, 10, {5}, None),  # stored by an earlier version, which kept no last offset
    ],
)
def test_offsets_without_records_must_stay_so(
    last_offset: int | None, stored: int, records: set[int], reused: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The ledger is at 16 and begins at 4; the offsets 13 and 14 are accepted as lost."""
    last = {} if last_offset is None else {0: LastRecord(last_offset, ledger.hash_record(STORED.timestamp, STORED.key))}
    loss = Loss("orders", "id", 0, 13, 15, MOMENT, "ann")
    _set_ledger(monkeypatch, _entry(stored=stored), last_records=last, losses=[loss])
    monkeypatch.setattr(topic, "records_at", lambda *_: {0: STORED._replace(offset=9)})
    monkeypatch.setattr(topic, "holds_records", lambda _, __, start, end: bool(records & {*range(start, end)}))
    accounted = accounted_offsets(SETTINGS, mock.Mock(), {0: 0})
    if reused is None:
        check_accounted_offsets(SETTINGS, accounted)
    else:
        with pytest.raises(OffsetsReused, match=reused):
            check_accounted_offsets(SETTINGS, accounted)


@pytest.mark.parametrize("error", [OffsetsLost("Gone."), BatchDamaged("A wrong checksum.")])
def test_offsets_that_cannot_be_read_any_more_prove_nothing(
    error: OrderFlowError, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Otherwise a damaged transaction marker behind the last order would stop each start."""
    monkeypatch.setattr(topic, "holds_records", mock.Mock(side_effect=[error, True]))
    accounted = AccountedOffsets({}, [(0, 10, 12), (1, 20, 22)])
    with pytest.raises(OffsetsReused, match="partition 1 has records at offsets 20 to 21"):
        check_accounted_offsets(SETTINGS, accounted)
