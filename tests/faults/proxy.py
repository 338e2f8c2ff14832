"""A TCP proxy that can cut, freeze or slow down its connections, discard replies, or react to a byte pattern."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Self

_CHUNK = 64 * 1024


def mysql_error(number: int, message: str) -> bytes:
    """Return the packet with which a server reports this error (MySQL's client/server protocol, ERR_Packet)."""
    payload = b"\xff" + number.to_bytes(2, "little") + b"#HY000" + message.encode()
    return len(payload).to_bytes(3, "little") + b"\x01" + payload


def without_tls(greeting: bytes) -> bytes:
    """Remove the TLS offer from a server's first packet (Protocol::HandshakeV10): the proxy reads the statements."""
    low_capabilities = greeting.index(b"\0", 5) + 1 + 4 + 8 + 1
    high_byte = low_capabilities + 1
    return greeting[:high_byte] + bytes([greeting[high_byte] & ~0x08]) + greeting[high_byte + 1 :]


@dataclass
class Trap:
    """Triggers when a client sends `pattern`.

    With an `answer`, the proxy sends the answer to the client, and the server never receives the data. Without one, the
    server receives the data, and the proxy cuts the connection when the reply arrives.
    """

    pattern: bytes
    answer: bytes | None = None
    hits: int = 0


@dataclass(eq=False)
class _Link:
    client: asyncio.StreamWriter
    server: asyncio.StreamWriter
    greeted: bool = False
    cut_at_reply: bool = False
    half_closed: bool = False

    def half_close(self) -> None:
        self.half_closed = True
        with suppress(OSError):  # it has already closed
            self.client.write_eof()

    def cut(self) -> None:
        for end in (self.client, self.server):
            end.transport.abort()


@dataclass
class Proxy:
    """Forwards 127.0.0.1:`port` to 127.0.0.1:`target`, subject to the faults that are set."""

    target: int
    port: int = 0
    greeting: Callable[[bytes], bytes] = bytes  # transforms the first data from the server
    source: str = "127.0.0.1"  # the address from which the proxy connects to the server
    down: bool = False  # refuses all clients
    frozen: bool = False  # passes nothing and closes nothing, like a pulled cable
    discards_replies: bool = False  # discards everything that servers send
    delay: float = 0.0  # seconds by which each chunk of data is delayed
    rate: float = 0.0  # bytes per second and direction; 0: unlimited
    trap: Trap | None = None
    discarded_bytes: int = 0
    _links: set[_Link] = field(default_factory=set)

    def __enter__(self) -> Self:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="proxy", daemon=True)
        self._thread.start()
        self._server = self._call(asyncio.start_server(self._serve, "127.0.0.1", self.port))
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    def __exit__(self, *_: object) -> None:
        self.down = True
        self._loop.call_soon_threadsafe(self._server.close)  # calling it from this thread is not safe
        self.cut()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()

    def cut(self) -> None:
        """Reset every connection."""
        self._call(self._each(_Link.cut))

    def half_close(self) -> None:
        """Signal every client that its server will send nothing more, while the server still receives."""
        self._call(self._each(_Link.half_close))

    def remove_faults(self) -> None:
        """Remove all faults. Reset the connections whose data a fault has discarded."""
        has_gaps = self.discards_replies
        self.down = self.frozen = self.discards_replies = False
        self.delay = self.rate = 0.0
        self.trap = None
        if has_gaps:
            self.cut()

    def _call(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(10)

    async def _each(self, act: Any) -> None:
        for link in list(self._links):
            if not link.client.is_closing():
                act(link)

    async def _serve(self, from_client: asyncio.StreamReader, client: asyncio.StreamWriter) -> None:
        try:
            if self.down:
                raise ConnectionRefusedError
            from_server, server = await asyncio.open_connection("127.0.0.1", self.target, local_addr=(self.source, 0))
        except OSError:
            client.transport.abort()
            return
        link = _Link(client, server)
        self._links.add(link)
        try:
            await asyncio.gather(self._pump(link, from_client, server), self._pump(link, from_server, client))
        except OSError:
            pass  # one side is closed, so the other side closes too
        finally:
            self._links.discard(link)
            link.cut()

    async def _pump(self, link: _Link, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        to_client = sink is link.client
        while chunk := await source.read(_CHUNK):
            while self.frozen:
                await asyncio.sleep(0.02)
            await asyncio.sleep(self.delay + (len(chunk) / self.rate if self.rate else 0))
            if to_client and self.discards_replies:
                self.discarded_bytes += len(chunk)
                continue
            if to_client and not link.greeted:
                chunk, link.greeted = self.greeting(chunk), True
            if to_client and link.half_closed:
                continue
            if to_client and link.cut_at_reply:
                link.cut()
                return
            if not to_client and self.trap and self.trap.pattern in chunk:
                self.trap.hits += 1
                if self.trap.answer:
                    link.client.write(self.trap.answer)
                    continue
                link.cut_at_reply = True
            sink.write(chunk)
            await sink.drain()
        if not (to_client and link.half_closed) and sink.can_write_eof():
            sink.write_eof()
