"""How often a transaction is repeated after a deadlock or a lock timeout."""

from __future__ import annotations

import random

import pytest

from orderflow.errors import Contention
from orderflow.pipeline.engine import STALL_TIMEOUT
from orderflow.store import contention
from orderflow.store.connection import LOCK_WAIT
from orderflow.store.contention import ContentionRetries

DEADLOCK = Contention("MySQL at db:3306: Deadlock found (1213).", hint="See SHOW PROCESSLIST.")
SUBJECT = "orders partition 0 offsets 1 to 9"


def test_the_pauses_grow_up_to_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(random, "uniform", lambda _, longest: longest)
    retries = ContentionRetries(12)
    pauses = [retries.pause_after(DEADLOCK, SUBJECT) for _ in range(11)]
    assert pauses[:3] == [0.01, 0.02, 0.04] and pauses[-2:] == [2.0, 2.0]


def test_the_last_attempt_names_what_is_stored_and_the_last_cause() -> None:
    retries = ContentionRetries(2)
    retries.pause_after(DEADLOCK, SUBJECT)
    with pytest.raises(Contention) as raised:
        retries.pause_after(DEADLOCK, SUBJECT)
    assert raised.value.message == (
        f"{SUBJECT}: 2 attempts met deadlocks or lock timeouts. MySQL at db:3306: Deadlock found (1213)."
    )
    assert raised.value.__cause__ is DEADLOCK and "PROCESSLIST" in raised.value.hint


def test_retries_end_after_the_timeout() -> None:
    with pytest.raises(Contention, match="1 attempt met"):
        ContentionRetries(timeout=-1).pause_after(DEADLOCK, SUBJECT)


def test_the_log_names_the_locks_before_the_supervisor_reports_a_stall() -> None:
    assert contention.TIMEOUT + LOCK_WAIT < STALL_TIMEOUT
