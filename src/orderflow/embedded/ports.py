"""Chooses ports on loopback that are free."""

from __future__ import annotations

import fcntl
import logging
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress

from orderflow.errors import FileUnusable
from orderflow.jvm import cache

log = logging.getLogger(__name__)

_chosen_ports: set[int] = set()


def free_port(preferred: int = 0) -> int:
    """Return `preferred` if it is free on loopback, else (or for 0) a port that the system chooses.

    A chosen port is never returned again in this process, because it is free until its server listens.
    """
    with ExitStack() as listeners:
        while True:
            listener = listeners.enter_context(socket.socket())
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                listener.bind(("127.0.0.1", preferred))
            except OSError:
                listener.bind(("127.0.0.1", 0))
            port = int(listener.getsockname()[1])
            if port == preferred:
                return port
            if port not in _chosen_ports:
                _chosen_ports.add(port)
                return port
            preferred = 0


def preferred_port(server_name: str, preferred: int) -> int:
    """Return the preferred port if it is free. Otherwise log a warning, and return another one."""
    port = free_port(preferred)
    if port != preferred:
        log.warning("Port %d is in use: %s uses port %d instead.", preferred, server_name, port)
    return port


@contextmanager
def choosing_ports() -> Iterator[None]:
    """Let other `up` of this user wait: they would choose the same ports, which are free until the servers listen."""
    with ExitStack() as locked:
        with suppress(OSError, FileUnusable):  # a read-only cache
            fcntl.flock(locked.enter_context((cache.folder() / "ports").open("w")), fcntl.LOCK_EX)
        yield
