"""Limits on what a client can occupy of a listener, over real sockets."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from orderflow.metrics import listener
from orderflow.metrics.listener import Limits

Connect = Callable[..., socket.socket]

REQUEST = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
STREAM = REQUEST.replace(b"/ ", b"/stream ")
FLOOD = REQUEST.replace(b"/ ", b"/flood ")


async def app(scope: dict[str, Any], receive: Any, send: Any) -> None:
    """Answer at once, never end the answer, or send 100 MB."""
    await send({"type": "http.response.start", "status": 200, "headers": []})
    if scope["path"] == "/stream":
        await send({"type": "http.response.body", "body": b"begin", "more_body": True})
        while (await receive())["type"] != "http.disconnect":
            pass
    for _ in range(100 if scope["path"] == "/flood" else 0):
        await send({"type": "http.response.body", "body": bytes(1_000_000), "more_body": True})
    await send({"type": "http.response.body", "body": b"done"})


@pytest.fixture
def connect() -> Iterator[Connect]:
    """Connect to a server with a limit of six connections, four per address. A request must arrive within 1 s."""
    listening = listener.open_socket(*listener.resolve("127.0.0.1", 0))
    limits = Limits(connections=6, per_address=4, request_timeout=1.0, send_timeout=1.0, grace_period=0.2)
    server = listener.create_server(app, limits)
    thread = threading.Thread(target=server.run, args=([listening],))
    thread.start()
    clients: list[socket.socket] = []

    def connect(request: bytes = b"", source: str = "127.0.0.1") -> socket.socket:
        clients.append(socket.create_connection(listening.getsockname(), 10, source_address=(source, 0)))
        clients[-1].sendall(request)
        return clients[-1]

    yield connect
    for client in clients:
        client.close()
    server.should_exit = True
    thread.join()


def is_closed(client: socket.socket, within: float = 5.0) -> bool:
    """Return whether the server closes the connection in this time (seconds), whatever it sends before."""
    client.settimeout(within)
    try:
        while client.recv(1_000_000):
            pass
    except ConnectionError:
        return True
    except TimeoutError:
        return False
    return True


def read_answer(client: socket.socket) -> bytes:
    """Return the answer up to `done`, or up to `begin` for a stream."""
    received = b""
    while not received.endswith((b"done\r\n0\r\n\r\n", b"begin\r\n")):
        chunk = client.recv(65536)
        assert chunk, received
        received += chunk
    return received


def test_a_silent_client_is_closed(connect: Connect) -> None:
    started_at = time.monotonic()
    assert is_closed(connect())
    assert 0.5 < time.monotonic() - started_at < 4


@pytest.mark.parametrize("start", [b"", b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n"])
def test_bytes_that_trickle_in_do_not_move_the_deadline(connect: Connect, start: bytes) -> None:
    client = connect(start or b"GET / HTTP/1.1\r\nX-Slow: ")
    started_at = time.monotonic()
    with pytest.raises(ConnectionError):
        while time.monotonic() - started_at < 5:
            time.sleep(0.1)
            client.sendall(b"a")
    assert time.monotonic() - started_at < 4


def test_the_deadline_holds_for_each_request_of_a_connection(connect: Connect) -> None:
    client = connect()
    for _ in range(4):  # 2 s in total
        time.sleep(0.5)
        client.sendall(REQUEST)
        assert b"200 OK" in read_answer(client)
    client.sendall(REQUEST + REQUEST)
    assert read_answer(client)
    client.sendall(b"GET")
    assert is_closed(client)


def test_a_stream_outlives_the_deadline(connect: Connect) -> None:
    client = connect(STREAM)
    assert read_answer(client)
    assert not is_closed(client, 2.5)


def test_an_answer_that_is_not_read_is_dropped(connect: Connect) -> None:
    client = connect(FLOOD)
    time.sleep(3)
    received = 0
    while chunk := client.recv(1_000_000):
        received += len(chunk)
    assert received < 50_000_000


def test_idle_connections_of_an_address_give_way_to_its_new_ones(connect: Connect) -> None:
    stream = connect(STREAM)
    assert read_answer(stream)
    idle = [connect() for _ in range(3)]
    time.sleep(0.3)
    for _ in range(2):
        assert read_answer(connect(REQUEST))
    assert is_closed(idle[0], 0.5) and is_closed(idle[1], 0.5)
    assert not is_closed(stream, 0.2)


def test_the_oldest_stream_gives_way_when_an_address_holds_nothing_else(connect: Connect) -> None:
    streams = [connect(STREAM) for _ in range(4)]
    assert all(map(read_answer, streams))
    assert read_answer(connect(STREAM))
    assert is_closed(streams[0], 0.5)
    assert not is_closed(streams[1], 0.2)


def test_connections_that_come_at_once_do_not_close_each_other(connect: Connect) -> None:
    streams = [connect(STREAM) for _ in range(4)]
    assert all(map(read_answer, streams))
    time.sleep(0.3)
    new_clients = [connect() for _ in range(3)]
    for client in new_clients:
        client.sendall(REQUEST)
        assert read_answer(client)


def test_an_answer_outlives_connections_that_come_later(connect: Connect) -> None:
    stream = connect(STREAM)
    assert read_answer(stream)
    for _ in range(20):
        connect()
    assert not is_closed(stream, 0.1)


def test_a_full_listener_lets_other_addresses_in(connect: Connect) -> None:
    other = connect(STREAM, "127.0.0.2")
    assert read_answer(other)
    crowd = [connect(STREAM, "127.0.0.3") for _ in range(4)] + [connect(STREAM, "127.0.0.4")]
    assert all(map(read_answer, crowd))
    assert read_answer(connect(REQUEST, "127.0.0.5"))
    assert is_closed(crowd[0], 0.5)
    assert not is_closed(other, 0.2)


@pytest.mark.parametrize(
    ("one", "another", "same"),
    [
        ("192.0.2.1", "192.0.2.2", False),
        ("2001:db8::1", "2001:db8::ffff:2", True),
        ("2001:db8::1", "2001:db8:0:1::1", False),
        ("::ffff:192.0.2.1", "::ffff:192.0.2.2", False),
        ("::ffff:192.0.2.1", "192.0.2.1", True),
        ("fe80::1%eth0", "fe80::2%eth0", True),
    ],
)
def test_a_host_of_many_addresses_counts_once(one: str, another: str, same: bool) -> None:
    assert (listener._counted_address((one, 1)) == listener._counted_address((another, 2))) is same
