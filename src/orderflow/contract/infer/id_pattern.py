"""Infers a pattern from ids."""

from __future__ import annotations

import re
from collections.abc import Sequence

from orderflow.contract.patterns import check

_RUNS = re.compile(r"[0-9]+|[A-Z]+|[a-z]+|[^0-9A-Za-z]")
_UUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)
_ANY_ID = "[!-~]{1,50}"
_MARGIN = 6  # more digits than in the samples, for growing numbers


def pattern_of(texts: Sequence[str]) -> str:
    """Return a pattern for ids like these, with room for larger numbers."""
    if all(_UUID.fullmatch(text) for text in texts):
        digit = "[0-9a-f]" if all(text == text.lower() for text in texts) else "[0-9A-Fa-f]"
        return "-".join(f"{digit}{{{count}}}" for count in (8, 4, 4, 4, 12))
    runs = [_RUNS.findall(text) for text in texts]
    shapes = {tuple(_class_of(run) for run in runs_of_text) for runs_of_text in runs}
    if len(shapes) > 1:
        return _mixed_pattern(texts)
    columns = [[*column] for column in zip(*runs, strict=True)]
    last = max((index for index, column in enumerate(columns) if _class_of(column[0]) == "[0-9]"), default=-1)
    pattern = "".join(_run_pattern(column, index == last) for index, column in enumerate(columns))
    try:
        check(pattern)
    except ValueError:
        return _ANY_ID
    return pattern


def _run_pattern(column: list[str], grows: bool) -> str:
    class_ = _class_of(column[0])
    shortest, longest = min(map(len, column)), max(map(len, column))
    if not grows and len({*column}) == 1 and class_ != "[0-9]":
        return "".join(_escaped(character) for character in column[0])
    if len(class_) == 1:
        return _escaped(class_)
    longest += _MARGIN if grows else 0
    if shortest == longest:
        return class_ if longest == 1 else f"{class_}{{{longest}}}"
    return f"{class_}{{{shortest},{longest}}}"


def _class_of(run: str) -> str:
    character = run[0]
    for first, last in ("09", "AZ", "az"):
        if first <= character <= last:
            return f"[{first}-{last}]"
    return character


def _mixed_pattern(texts: Sequence[str]) -> str:
    characters = "".join(texts)
    ranges = [range_ for range_ in ("0-9", "A-Z", "a-z") if re.search(f"[{range_}]", characters)]
    punctuation = {*re.sub("[0-9A-Za-z]", "", characters)}
    if not punctuation <= {*"_-"}:
        return _ANY_ID
    lengths = [len(text) for text in texts]
    class_ = f"[{''.join((*ranges, *sorted(punctuation, reverse=True)))}]"
    return f"{class_}{{{min(lengths)},{min(2 * max(lengths), 50)}}}"


def _escaped(character: str) -> str:
    return f"\\{character}" if character in r"\.^$*+?{}[]()|" else character
