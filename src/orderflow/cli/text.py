"""Makes text from outside safe for a terminal, and formats JSON that is safe for one."""

from __future__ import annotations

import json
import re
import unicodedata

import msgspec

_NOT_ASCII = re.compile(r"[^\0-~]")


def safe(text: str, width: int | None = None) -> str:
    """Return the text with control, bidirectional and other invisible characters escaped, cut to `width` characters."""
    shown = "".join(
        character if unicodedata.category(character)[0] not in "CZ" or character == " " else ascii(character)[1:-1]
        for character in text
    )
    return shown if width is None or len(shown) <= width else shown[: width - 1] + "…"


def number(value: int | None) -> str:
    """Return the number with thousands separators; "unknown" for None."""
    return "unknown" if value is None else f"{value:,}"


def to_json(value: object) -> str:
    """Return one line of ASCII JSON: every encoding has its characters, and it cannot control a terminal."""
    try:
        text = msgspec.json.encode(value).decode()
    except UnicodeEncodeError:  # text of bytes that are not UTF-8: file names, names of Kafka headers
        text = json.dumps(msgspec.to_builtins(value), separators=(",", ":"))
    return _NOT_ASCII.sub(_escaped, text)


def _escaped(match: re.Match[str]) -> str:
    units = match[0].encode("utf-16-be")
    return "".join(f"\\u{units[at]:02x}{units[at + 1]:02x}" for at in range(0, len(units), 2))
