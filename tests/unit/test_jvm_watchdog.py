"""A JVM that does not answer is killed, and only then."""

from __future__ import annotations

import threading

from orderflow.pipeline.jvm_watchdog import JvmWatchdog


def test_a_call_that_takes_too_long_ends_with_the_jvm() -> None:
    is_killed = threading.Event()
    watchdog = JvmWatchdog(is_killed.set, threading.Event(), check_interval=0.01)
    with watchdog.limit(0.05):
        assert is_killed.wait(30)


def test_after_a_stop_request_the_limit_is_shorter() -> None:
    is_killed, stop_event = threading.Event(), threading.Event()
    watchdog = JvmWatchdog(is_killed.set, stop_event, check_interval=0.01, stopping_timeout=0.05)
    with watchdog.limit():
        assert not is_killed.wait(0.2)
        stop_event.set()
        assert is_killed.wait(30)


def test_short_calls_and_the_time_between_them_are_not_limited() -> None:
    is_killed = threading.Event()
    watchdog = JvmWatchdog(is_killed.set, threading.Event(), check_interval=0.01)
    for _ in range(20):
        with watchdog.limit(0.1):
            is_killed.wait(0.01)
    assert not is_killed.wait(0.3)
