"""The pace of the producer, on a simulated clock."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from types import SimpleNamespace

import pytest

from orderflow.produce import pace
from orderflow.produce.outgoing_message import OutgoingMessage


class Clock:
    """A clock that only the test advances."""

    def __init__(self) -> None:
        self.now = 1_000.0

    def monotonic(self) -> float:
        return self.now

    def wait(self, seconds: float) -> bool:
        self.now += seconds
        return True


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(pace, "time", SimpleNamespace(monotonic=clock.monotonic))
    return clock


def endless() -> Iterator[OutgoingMessage]:
    while True:
        yield b"key", b"value", -1


@pytest.mark.parametrize("rate", [0.5, 10.0, 333.0, 10_000.0, 60_000.0])
def test_messages_come_evenly_and_without_drift(clock: Clock, rate: float) -> None:
    count = max(10, int(rate))
    for number, _ in enumerate(islice(pace.paced(endless(), rate, clock.wait), count)):
        late = clock.now - (1_000.0 + number / rate)
        assert -1e-9 <= late <= 0.0021
        clock.now += 0.2 / rate  # the time that sending takes


def test_a_short_delay_is_made_up_for(clock: Clock) -> None:
    paced = pace.paced(endless(), 10, clock.wait)
    next(paced)
    clock.now += 0.95
    assert sum(1 for _ in islice(paced, 20)) == 20
    assert clock.now == pytest.approx(1_002.0)


def test_an_outage_is_not_followed_by_a_burst(clock: Clock) -> None:
    paced = pace.paced(endless(), 10, clock.wait)
    next(paced)
    clock.now += 60
    assert sum(1 for _ in islice(paced, 20)) == 20
    assert clock.now == pytest.approx(1_061.9)


def test_pacing_ends_with_the_messages_or_a_stop(clock: Clock) -> None:
    assert len(list(pace.paced(islice(endless(), 5), 10, clock.wait))) == 5
    assert len(list(pace.paced(endless(), 10, lambda seconds: False))) == 1
