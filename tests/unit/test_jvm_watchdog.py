"""A JVM that does not answer is killed, and only then."""

from __future__ import annotations

import threading

import pytest

from orderflow.pipeline import jvm_watchdog
from orderflow.pipeline.jvm_watchdog import JvmWatchdog


@pytest.fixture(autouse=True)
def _frequent_checks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jvm_watchdog, "_CHECK_INTERVAL", 0.01)


def test_a_call_that_takes_too_long_ends_with_the_jvm() -> None:
    is_killed = threading.Event()
    watchdog = JvmWatchdog(is_killed.set, threading.Event())
    with watchdog.limit(0.05):
        assert is_killed.wait(30)


def test_after_a_stop_request_the_limit_is_shorter(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jvm_watchdog, "_STOPPING_TIMEOUT", 0.05)
    is_killed, stop_event = threading.Event(), threading.Event()
    watchdog = JvmWatchdog(is_killed.set, stop_event)
    with watchdog.limit():
        assert not is_killed.wait(0.2)
        stop_event.set()
        assert is_killed.wait(30)


def test_short_calls_and_the_time_between_them_are_not_limited() -> None:
    is_killed = threading.Event()
    watchdog = JvmWatchdog(is_killed.set, threading.Event())
    for _ in range(20):
        with watchdog.limit(0.1):
            is_killed.wait(0.01)
    assert not is_killed.wait(0.3)
