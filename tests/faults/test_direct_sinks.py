"""The faults of sinks on the direct engine, one after the other on one running system."""

from __future__ import annotations

from typing import Final

import pytest

from tests.faults.stage import Stage, fault_names

ENGINE: Final = "direct"


@pytest.mark.parametrize("fault", fault_names(ENGINE, "sink", "takeovers"))
def test_nothing_is_lost_or_duplicated(stage: Stage, fault: str) -> None:
    stage.inject(fault)


def test_the_independent_count_agrees(stage: Stage) -> None:
    stage.drain()
