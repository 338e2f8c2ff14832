"""A TCP proxy whose line can be cut, frozen, slowed, made deaf, or trapped at a byte pattern."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Self

_PIECE = 64 * 1024


def mysql_error(number: int, message: str) -> bytes:
    """The packet by which a server answers a command with this error (MySQL's client/server protocol, ERR_Packet)."""
    payload = b"\xff" + number.to_bytes(2, "little") + b"#HY000" + message.encode()
    return len(payload).to_bytes(3, "little") + b"\x01" + payload


def without_tls(greeting: bytes) -> bytes:
    """A server's first packet (Protocol::HandshakeV10) that offers no TLS, so that the proxy can read along."""
    low_capabilities = greeting.index(b"\0", 5) + 1 + 4 + 8 + 1
    high_byte = low_capabilities + 1
    return greeting[:high_byte] + bytes([greeting[high_byte] & ~0x08]) + greeting[high_byte + 1 :]


@dataclass
class Trap:
    """Springs when a client sends `pattern`.

    With an `answer` the server never sees the piece, and the client gets the answer; without, the server gets it,
    and the connection is cut when its reply comes.
    """

    pattern: bytes
    answer: bytes | None = None
    sprung: int = 0


@dataclass(eq=False)
class _Link:
    client: asyncio.StreamWriter
    server: asyncio.StreamWriter
    greeted: bool = False
    doomed: bool = False
    half_closed: bool = False

    def half_close(self) -> None:
        self.half_closed = True
        with suppress(OSError):  # it has gone by itself
            self.client.write_eof()

    def cut(self) -> None:
        for end in (self.client, self.server):
            end.transport.abort()


@dataclass
class Proxy:
    """127.0.0.1:`port` leads to 127.0.0.1:`target`, as well as the faults that are set let it."""

    target: int
    port: int = 0
    greeting: Callable[[bytes], bytes] = bytes  # what becomes of the server's first piece
    down: bool = False  # nobody is let in
    frozen: bool = False  # nothing passes and nothing is closed, as with a pulled cable
    deaf: bool = False  # what servers say is thrown away
    delay: float = 0.0  # seconds that each piece waits
    rate: float = 0.0  # bytes per second and direction; 0: as many as come
    trap: Trap | None = None
    swallowed: int = 0  # bytes thrown away
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
        self._server.close()
        self.cut()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()

    def cut(self) -> None:
        """Reset every connection."""
        self._call(self._each(_Link.cut))

    def half_close(self) -> None:
        """Tell every client that its server has said its last word, while the server still listens."""
        self._call(self._each(_Link.half_close))

    def heal(self) -> None:
        """A sound line again; connections that a fault has garbled are reset."""
        garbled = self.deaf
        self.down = self.frozen = self.deaf = False
        self.delay = self.rate = 0.0
        self.trap = None
        if garbled:
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
            from_server, server = await asyncio.open_connection("127.0.0.1", self.target)
        except OSError:
            client.transport.abort()
            return
        link = _Link(client, server)
        self._links.add(link)
        try:
            await asyncio.gather(self._pump(link, from_client, server), self._pump(link, from_server, client))
        except OSError:
            pass  # an end is gone: so is the other
        finally:
            self._links.discard(link)
            link.cut()

    async def _pump(self, link: _Link, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        to_client = sink is link.client
        while piece := await source.read(_PIECE):
            while self.frozen:
                await asyncio.sleep(0.02)
            await asyncio.sleep(self.delay + (len(piece) / self.rate if self.rate else 0))
            if to_client and self.deaf:
                self.swallowed += len(piece)
                continue
            if to_client and not link.greeted:
                piece, link.greeted = self.greeting(piece), True
            if to_client and link.half_closed:
                continue
            if to_client and link.doomed:
                link.cut()
                return
            if not to_client and self.trap and self.trap.pattern in piece:
                self.trap.sprung += 1
                if self.trap.answer:
                    link.client.write(self.trap.answer)
                    continue
                link.doomed = True
            sink.write(piece)
            await sink.drain()
        if not (to_client and link.half_closed) and sink.can_write_eof():
            sink.write_eof()
