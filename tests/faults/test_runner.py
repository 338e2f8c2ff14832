"""One short round of the runner; `make faults` plays as many as told."""

from __future__ import annotations

from tests.faults import runner
from tests.faults.system import Servers

_SEED = 20


def test_a_round_is_proven(fault_servers: Servers) -> None:
    count = runner.play(fault_servers, runner.drawn(_SEED, "direct", count=4), longest_pause=3)
    assert count.stored and count.duplicates and count.quarantined


def test_a_seed_draws_the_same_round_again() -> None:
    assert runner.drawn(_SEED) == runner.drawn(_SEED)
    assert len({runner.drawn(seed).steps for seed in range(100)}) == 100
