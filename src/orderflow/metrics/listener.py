"""The HTTP server of metrics and dashboard: uvicorn with limits on connections and request times.

uvicorn does not limit the time in which a request must arrive, because its timeout_keep_alive ends with the first byte.
It does not limit the connections of one address. Its limit_concurrency answers a new connection with 503 instead of
closing an idle one.
"""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import socket
import time
from asyncio import AbstractEventLoop, TimerHandle
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable
from typing import Any, ClassVar, NamedTuple

import h11
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

log = logging.getLogger(__name__)

App = Callable[[Any, Any, Any], Awaitable[None]]

_CLOSE_TIMEOUT = 2  # seconds that open connections have when the server stops
_BACKLOG = 32  # connections that are accepted before _Pool counts the first of them
_REPORT_INTERVAL = 10.0  # seconds between two log lines about connections that cannot be accepted


class Limits(NamedTuple):
    """The maximum numbers of open connections, and times in seconds.

    A new connection is always accepted: an older one is closed for it.
    """

    connections: int
    per_address: int
    request_timeout: float = 10.0  # from the connection or the last response until a complete request has arrived
    send_timeout: float = 30.0  # in which a client must receive some data of a waiting response
    grace_period: float = 1.0  # for which a new connection or response is not closed, if there are older ones


def resolve(host: str, port: int) -> tuple[int, tuple[Any, ...]]:
    """The address family and address to listen on; IPv4 if the host has both.

    Raises OSError.
    """
    candidates = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    family, _, _, _, address = min(candidates, key=lambda info: info[0] != socket.AF_INET)
    return family, address


def open_socket(family: int, address: tuple[Any, ...]) -> socket.socket:
    """Open a socket that listens on this address.

    Raises OSError.
    """
    listener = socket.socket(family)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(_BACKLOG)
    except OSError:
        listener.close()
        raise
    return listener


def create_server(app: App, limits: Limits) -> uvicorn.Server:
    """Create a server. Its `run(sockets=[…])` blocks until `should_exit` is set."""

    class Protocol(_BoundedProtocol):
        pool = _Pool(limits)

    return _Server(
        uvicorn.Config(
            app,
            http=Protocol,
            ws="none",
            loop="asyncio",  # uvloop would accept connections without a limit
            lifespan="off",
            log_config=None,
            log_level=logging.ERROR,  # its warnings are about invalid requests of clients
            access_log=False,
            server_header=False,
            backlog=_BACKLOG,
            timeout_graceful_shutdown=_CLOSE_TIMEOUT,
        )
    )


class _Pool:
    """The open connections of a listener, oldest first."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self._open: dict[_BoundedProtocol, str] = {}  # protocol to the address, or network, that it counts for

    def add(self, new: _BoundedProtocol) -> None:
        """Count the new connection, and close another one if there are too many."""
        address = _counted_address(new.client)
        counts = Counter(self._open.values())
        if counts[address] >= self.limits.per_address:
            self._close_one(address)
        elif len(self._open) >= self.limits.connections:
            [(busiest, _)] = counts.most_common(1)
            self._close_one(busiest)
        self._open[new] = address

    def remove(self, protocol: _BoundedProtocol) -> None:
        self._open.pop(protocol, None)

    def _close_one(self, address: str) -> None:
        """Close one connection: the oldest idle one.

        If none is idle, close the oldest open stream (browsers reopen them), else the oldest new connection.
        """
        candidates: Iterable[_BoundedProtocol] = (
            protocol for protocol, counted in self._open.items() if counted == address
        )
        chosen = min(candidates, key=lambda protocol: (protocol.is_new, protocol.is_answering))
        self.remove(chosen)
        chosen.transport.abort()


class _BoundedProtocol(H11Protocol):
    """A connection that is closed if a request does not arrive in time, or if its response is not received."""

    pool: ClassVar[_Pool]

    @property
    def is_answering(self) -> bool:
        """Whether a complete request has arrived and is not answered yet."""
        arrived = self.conn.their_state in (h11.DONE, h11.MUST_CLOSE)
        return arrived and self.cycle is not None and not self.cycle.response_complete

    @property
    def is_new(self) -> bool:
        """Whether the connection is new, or its response has just begun."""
        return self.loop.time() - self._changed < self.pool.limits.grace_period

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override] # as in uvicorn
        super().connection_made(transport)
        # Not close(), which waits until the client has received the data that was written.
        self._request_deadline = _Deadline(self.loop, self.pool.limits.request_timeout, transport.abort)
        self._send_deadline = _Deadline(self.loop, self.pool.limits.send_timeout, transport.abort)
        self._was_answering, self._changed = False, self.loop.time()
        self.pool.add(self)
        self._update_deadline()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self._update_deadline()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        self._update_deadline()

    def pause_writing(self) -> None:
        super().pause_writing()
        self._send_deadline.start()

    def resume_writing(self) -> None:
        super().resume_writing()
        self._send_deadline.stop()

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self.pool.remove(self)
        self._request_deadline.stop()
        self._send_deadline.stop()

    def _update_deadline(self) -> None:
        """Only a complete request stops the deadline; single bytes do not extend it."""
        if self.is_answering != self._was_answering:
            self._was_answering, self._changed = self.is_answering, self.loop.time()
        if self.is_answering:
            self._request_deadline.stop()
        else:
            self._request_deadline.start()


class _Server(uvicorn.Server):
    """Logs one line, without a traceback, if no connection can be accepted."""

    _reported = -_REPORT_INTERVAL

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        asyncio.get_running_loop().set_exception_handler(self._report)
        await super().startup(sockets)

    def _report(self, loop: AbstractEventLoop, context: dict[str, Any]) -> None:
        error = context.get("exception")
        if not isinstance(error, OSError):
            loop.default_exception_handler(context)
        elif time.monotonic() - self._reported > _REPORT_INTERVAL:
            self._reported = time.monotonic()
            log.warning("A connection cannot be accepted (%s). Retrying.", error.strerror or error)


class _Deadline:
    """Calls `callback` when `seconds` have passed since `start`."""

    def __init__(self, loop: AbstractEventLoop, seconds: float, callback: Callable[[], None]) -> None:
        self._loop, self._seconds, self._callback = loop, seconds, callback
        self._timer: TimerHandle | None = None

    def start(self) -> None:
        """Has no effect if it is already started."""
        if self._timer is None:
            self._timer = self._loop.call_later(self._seconds, self._callback)

    def stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


def _counted_address(client: tuple[str, int] | None) -> str:
    """The address that a client counts for: for IPv6 its /64 network, because one host can use all of it."""
    if client is None:
        return ""
    address = ipaddress.ip_address(client[0].partition("%")[0])
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped:
            return str(address.ipv4_mapped)
        return str(ipaddress.ip_network((int(address) >> 64 << 64, 64)))
    return str(address)
