"""Every fault on the direct engine, one after the other on one running system."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.faults.stage import FAULT_NAMES, LARGE, Stage
from tests.faults.system import Servers


@pytest.fixture(scope="module")
def stage(fault_servers: Servers) -> Iterator[Stage]:
    stage = Stage(fault_servers, "direct")
    yield stage
    stage.close()


@pytest.mark.parametrize("fault", FAULT_NAMES["direct"])
def test_nothing_is_lost_or_duplicated(stage: Stage, fault: str) -> None:
    stage.inject(fault)


def test_the_independent_count_agrees(stage: Stage) -> None:
    stage.drain()


def test_producers_queue_full(stage: Stage) -> None:
    stage.inject(LARGE)
