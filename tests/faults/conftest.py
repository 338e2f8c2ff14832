"""The servers that the faults damage. The other tests use other servers."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.faults.system import Servers, servers
from tests.support.servers import scratch_folder


@pytest.fixture(scope="session")
def fault_servers() -> Iterator[Servers]:
    with scratch_folder() as folder, servers(folder) as started:
        yield started
