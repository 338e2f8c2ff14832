"""Chooses ports on loopback that are free."""

from __future__ import annotations

import fcntl
import logging
import random
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress

from orderflow.errors import FileUnusable, StartFailed
from orderflow.jvm import cache

log = logging.getLogger(__name__)

# Below the ports that systems choose for outgoing connections (Linux from 32768, macOS from 49152): such a connection
# would take a server's port before its first start, or between two starts.
_PORTS = range(20_000, 30_000)
_random = random.SystemRandom()  # processes that start together choose different ports
_chosen_ports: set[int] = set()


def free_port(preferred: int = 0) -> int:
    """Return `preferred` if it is free on loopback, else (or for 0) another free port.

    A chosen port is never returned again in this process, because it is free until its server listens.
    Raises StartFailed if no port is free.
    """
    if preferred and is_free(preferred):
        return preferred
    for port in _random.sample(_PORTS, len(_PORTS)):
        if port not in _chosen_ports and is_free(port):
            _chosen_ports.add(port)
            return port
    raise StartFailed(f"No port from {_PORTS[0]} to {_PORTS[-1]} is free on 127.0.0.1.")


def is_free(port: int) -> bool:
    """Return whether a server can listen on this port of 127.0.0.1."""
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


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
