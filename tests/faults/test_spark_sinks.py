"""The faults of a sink on Spark with micro-batches, one after the other on one running system."""

from __future__ import annotations

from typing import Final

import pytest

from tests.faults.stage import Stage, fault_names

ENGINE: Final = "spark"


@pytest.mark.parametrize("fault", fault_names(ENGINE, "sink"))
def test_nothing_is_lost_or_duplicated(stage: Stage, fault: str) -> None:
    stage.inject(fault)


def test_the_independent_count_agrees(stage: Stage) -> None:
    stage.drain()
