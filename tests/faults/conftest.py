"""The servers that the faults damage, which no other tests use, and the running system of a file."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.faults.stage import Stage
from tests.faults.system import Servers, servers
from tests.support.servers import scratch_folder


@pytest.fixture(scope="session")
def fault_servers() -> Iterator[Servers]:
    with scratch_folder() as folder, servers(folder) as started:
        yield started


@pytest.fixture(scope="module")
def stage(fault_servers: Servers, request: pytest.FixtureRequest) -> Iterator[Stage]:
    """Yield the running system of a file, which names its engine."""
    stage = Stage(fault_servers, request.path.stem.removeprefix("test_"), request.module.ENGINE)
    yield stage
    stage.close()
