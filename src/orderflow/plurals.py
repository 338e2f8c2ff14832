"""Nouns in the singular or plural, for messages with a count."""

from __future__ import annotations


def plural(number: int, noun: str) -> str:
    """Return the noun as it follows the number: "record" after 1, "records" after any other."""
    return noun if number == 1 else f"{noun}s"


def counted(number: int, noun: str) -> str:
    """Return the number and the noun: "1 record", "2,000 records"."""
    return f"{number:,} {plural(number, noun)}"
