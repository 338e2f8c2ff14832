"""Texts of a contract file: TOML strings and comments that are harmless in a terminal."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any


def toml_key(path: Sequence[str]) -> str:
    """Return the value of `key` in a contract file for this path."""
    if all("." not in key for key in path):
        return toml_string(".".join(path))
    return f"[{', '.join(toml_string(key) for key in path)}]"


def toml_string(text: str) -> str:
    """Return the text as a TOML string; what is not printable is escaped."""
    return "".join(
        character if character.isprintable() else f"\\U{ord(character):08x}"
        for character in json.dumps(text, ensure_ascii=False)
    )


def toml_literal(text: str) -> str:
    """Return a TOML string without escapes, if that is possible."""
    return toml_string(text) if "'" in text else f"'{text}'"


def shortened_json(value: Any) -> str:
    text = json.dumps(value, default=str)
    return text if len(text) <= 60 else f"{text[:57]}..."


def comment(text: str) -> str:
    return "# " + "".join(character if character.isprintable() else ascii(character)[1:-1] for character in text)
