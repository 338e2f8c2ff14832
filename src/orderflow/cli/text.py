"""What others wrote, made harmless for a terminal."""

from __future__ import annotations

import unicodedata


def safe(text: str, width: int | None = None) -> str:
    """The text with control, bidirectional and other invisible characters escaped, cut to `width` characters."""
    shown = "".join(
        character if unicodedata.category(character)[0] not in "CZ" or character == " " else ascii(character)[1:-1]
        for character in text
    )
    return shown if width is None or len(shown) <= width else shown[: width - 1] + "…"
