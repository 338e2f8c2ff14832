"""The servers that faults are done to: they must not be those of the other tests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.faults.system import Servers, servers
from tests.servers import scratch_folder


@pytest.fixture(scope="session")
def fault_servers() -> Iterator[Servers]:
    with scratch_folder() as folder, servers(folder) as started:
        yield started
