"""Captures the packets that clients and servers exchange on the loopback device."""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress

import pytest

_EVERY_PROTOCOL = 3  # ETH_P_ALL of linux/if_ether.h
_LONGEST_PACKET = 65_536


@contextmanager
def capture(ports: set[int]) -> Iterator[list[bytes]]:
    """Capture the traffic between clients and these ports on the loopback device while the block lasts."""
    try:
        packet_socket = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(_EVERY_PROTOCOL))
    except PermissionError:
        pytest.skip("capturing packets needs root's rights (CAP_NET_RAW)")
    packets: list[bytes] = []
    stop_event = threading.Event()

    def receive() -> None:
        while not stop_event.is_set():
            with suppress(TimeoutError):
                packet = packet_socket.recv(_LONGEST_PACKET)
                header = 4 * (packet[0] & 0x0F)  # the IPv4 header, followed by TCP, which starts with the ports
                if ports.intersection(struct.unpack_from(">HH", packet, header)):
                    packets.append(packet)

    with packet_socket, ThreadPoolExecutor(1) as pool:
        packet_socket.bind(("lo", 0))
        packet_socket.settimeout(0.2)
        packet_socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 64 * 1024 * 1024)
        capturing = pool.submit(receive)
        try:
            yield packets
        finally:
            stop_event.set()
            capturing.result()
