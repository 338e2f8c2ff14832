"""How the audit reads a topic: in bounded chunks, and only once its end has reached the ledger's position."""

from __future__ import annotations

from datetime import datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orderflow import topic
from orderflow.audit import scope
from orderflow.audit.topic_records import CHUNK, CHUNK_BYTES, split
from orderflow.errors import OffsetsLost
from orderflow.settings import Settings
from orderflow.store.ledger import LedgerEntry
from orderflow.topic import Bounds, Record, TopicInfo

LARGE = b"x" * CHUNK_BYTES


def record(offset: int, value: bytes = b"x") -> Record:
    return Record(0, offset, 0, None, value)


@given(st.sets(st.integers(0, 100)), st.integers(1, 10))
def test_chunks_contain_all_records_up_to_the_end(offsets: set[int], large: int) -> None:
    records = [record(offset, LARGE if offset % large == 0 else b"x") for offset in sorted(offsets)]
    chunks = list(split(records, 101))
    assert [chunk_record for chunk, _ in chunks for chunk_record in chunk] == records
    assert chunks[-1][1] == 101
    position = 0
    for chunk, end in chunks:
        assert all(position <= chunk_record.offset < end for chunk_record in chunk)
        assert sum(len(chunk_record.value or b"") for chunk_record in chunk) < 2 * CHUNK_BYTES
        position = end


def test_chunks_are_bounded() -> None:
    assert [len(chunk) for chunk, _ in split(map(record, range(2 * CHUNK + 1)), 3 * CHUNK)] == [CHUNK, CHUNK, 1]


def test_an_end_before_the_ledgers_position_is_read_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """A broker that restarts may briefly report an older end. Records that it has lost stay away."""
    entry = LedgerEntry("orders", 0, "id", 0, 9, 0, 0, 0, 0, datetime(2025, 1, 1))  # noqa: DTZ001
    info, ends = TopicInfo("orders", "id", (0,)), iter([5, 5, 9])
    monkeypatch.setattr(scope, "_END_INTERVAL", 0.0)
    monkeypatch.setattr(topic, "bounds", lambda *_: {0: Bounds(0, next(ends, 5))})
    assert scope._wait_for_ends(Settings(), info, [entry], 10.0) == ({("orders", 0): Bounds(0, 9)}, [])
    with pytest.raises(OffsetsLost, match="ends at offset 5, before the ledger's position 9: Kafka is rec") as raised:
        scope._wait_for_ends(Settings(), info, [entry], 0.0)
    assert "MYSQL_TABLE" in raised.value.hint
