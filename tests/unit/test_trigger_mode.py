"""When Spark's Real-Time Mode starts, and when micro-batches take over."""

from __future__ import annotations

import pytest

from orderflow.pipeline.trigger_mode import LONGEST_PAUSE, MICRO_BATCH_LAG, REALTIME_LAG, SHORTEST_PAUSE, TriggerMode
from tests.support.clock import Clock


@pytest.mark.parametrize("trigger", ["micro-batch", "2 seconds"])
def test_a_trigger_of_micro_batches_never_changes(trigger: str) -> None:
    mode = TriggerMode(trigger)
    assert not mode.wants_realtime(0)
    mode.mark_started(realtime=False)
    assert not mode.update_trigger(0) and not mode.update_trigger(10**9)


def test_auto_drains_a_backlog_first() -> None:
    mode = TriggerMode("auto", Clock())
    assert not mode.wants_realtime(REALTIME_LAG + 1)
    mode.mark_started(realtime=False)
    assert not mode.update_trigger(REALTIME_LAG + 1)
    assert mode.update_trigger(REALTIME_LAG)
    assert mode.wants_realtime(REALTIME_LAG)


def test_auto_pauses_realtime_longer_each_time_the_lag_grows() -> None:
    clock = Clock()
    mode = TriggerMode("auto", clock)
    pauses = []
    for _ in range(10):
        mode.mark_started(realtime=True)
        assert not mode.update_trigger(MICRO_BATCH_LAG)
        assert mode.update_trigger(MICRO_BATCH_LAG + 1)
        mode.mark_started(realtime=False)
        started_at = clock.now
        while not mode.wants_realtime(0):
            clock.now += 1
        pauses.append(clock.now - started_at)
    assert pauses[:3] == [2 * SHORTEST_PAUSE, 4 * SHORTEST_PAUSE, 8 * SHORTEST_PAUSE]
    assert pauses[-1] == LONGEST_PAUSE
    mode.mark_started(realtime=True)
    clock.now += 100 * LONGEST_PAUSE
    assert mode.update_trigger(MICRO_BATCH_LAG + 1)
    clock.now += SHORTEST_PAUSE
    assert mode.wants_realtime(0), "after a long time in real-time mode, the pause is short again"


def test_an_unsupported_platform_stays_with_micro_batches() -> None:
    mode = TriggerMode("auto", Clock())
    assert mode.wants_realtime(0)
    mode.mark_unsupported()
    mode.mark_started(realtime=False)
    assert not mode.update_trigger(0)


def test_realtime_stops_only_after_a_failure() -> None:
    clock = Clock()
    mode = TriggerMode("realtime", clock)
    assert mode.wants_realtime(10**9)
    mode.mark_started(realtime=True)
    assert not mode.update_trigger(10**9)
    mode.mark_failed()
    assert not mode.wants_realtime(0)
    mode.mark_started(realtime=False)
    clock.now += LONGEST_PAUSE
    assert not mode.update_trigger(REALTIME_LAG + 1), "it has to catch up first"
    assert mode.update_trigger(REALTIME_LAG)
    mode.mark_started(realtime=True)
    assert mode.wants_realtime(10**9)
