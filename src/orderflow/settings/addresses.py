"""Validates hosts and ports in settings. It accepts only what every client can parse."""

from __future__ import annotations

import ipaddress
import re

# DNS host names have no underscores, but Docker Compose and Windows networks use them.
_LABEL = re.compile(r"(?!-)[A-Za-z0-9_-]{1,63}(?<!-)")
_LIKE_IPV4 = re.compile(r"[0-9.]+")
_BROKER = re.compile(r"(?:\[(?P<ipv6>[^\[\]]*)\]|(?P<host>[^:\[\]]*)):(?P<port>[0-9]{1,10})")


def parse_host(text: str) -> str:
    """Return the text if it is a host name, or an IP address without brackets.

    Raises ValueError with the reason.
    """
    if fault := _fault(text):
        raise ValueError(f"it {fault}")
    return text


def parse_brokers(text: str) -> str:
    """Return the brokers (host:port or [IPv6]:port), separated by commas, without spaces and empty entries.

    Raises ValueError with the reason.
    """
    brokers = [broker for part in text.split(",") if (broker := part.strip())]
    if not brokers:
        raise ValueError("it contains no broker")
    for broker in brokers:
        _check_broker(broker)
    return ",".join(brokers)


def _check_broker(text: str) -> None:
    if "//" in text:
        raise ValueError(f"{text!a} is a URL; a broker is host:port, and KAFKA_SECURITY_PROTOCOL sets the protocol")
    match = _BROKER.fullmatch(text)
    if match is None:
        bare_ipv6 = text.count(":") > 1 and "[" not in text
        form = "[IPv6 address]:port" if bare_ipv6 else "host:port, with a number as the port"
        raise ValueError(f"{text!a} is not {form}")
    if not 1 <= int(match["port"]) <= 65535:
        raise ValueError(f"the port of {text!a} is not 1 to 65535")
    ipv6 = match["ipv6"]
    if fault := _fault(match["host"]) if ipv6 is None else _ipv6_fault(ipv6):
        raise ValueError(f"the host of {text!a} {fault}")


def _fault(host: str) -> str:
    """Return what is wrong with the host; empty if it is valid."""
    if ":" in host or "[" in host:
        return _ipv6_fault(host)
    if _LIKE_IPV4.fullmatch(host):
        try:
            ipaddress.IPv4Address(host)
        except ValueError:
            return "is not an IPv4 address"
    elif len(host) > 253 or not all(map(_LABEL.fullmatch, host.removesuffix(".").split("."))):
        return "is neither an IP address nor a host name (letters, digits, '-', '_' and '.')"
    return ""


def _ipv6_fault(address: str) -> str:
    try:
        ipaddress.IPv6Address(address)
    except ValueError:
        return "is not an IPv6 address, nor a host name without port, protocol and brackets"
    return ""
