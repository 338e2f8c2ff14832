"""Every fault on Spark with micro-batches, one after the other on one running system."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.faults.stage import FAULT_NAMES, Stage
from tests.faults.system import Servers


@pytest.fixture(scope="module")
def stage(fault_servers: Servers) -> Iterator[Stage]:
    stage = Stage(fault_servers, "spark")
    yield stage
    stage.close()


@pytest.mark.parametrize("fault", FAULT_NAMES["spark"])
def test_nothing_is_lost_or_duplicated(stage: Stage, fault: str) -> None:
    stage.inject(fault)


def test_the_independent_count_agrees(stage: Stage) -> None:
    stage.drain()
