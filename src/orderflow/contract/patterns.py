"""The patterns of contracts: regular expressions that mean the same in Python, in RE2 and in JSON Schema.

RE2 checks whole columns in a batch, and takes linear time for any pattern. A Python regular expression checks a single
text ten times as fast, so it is used where the pattern cannot make it slow.
"""

from __future__ import annotations

import re
import string
from collections.abc import Callable
from functools import cache

import pyarrow as pa
import pyarrow.compute as pc

_CLASS = re.compile(r"\[\^?\]?(?:\\.|[^\]\\])*\]")
_DOT = re.compile(rf"({_CLASS.pattern}|\\.)|\.", re.DOTALL)
_QUANTIFIER = re.compile(r"[*+?]|\{[0-9]+(?:,[0-9]*)?\}")
_MAX_REPEATS = 1_000  # RE2's limit
_MAX_VARIABLE_QUANTIFIERS = 2  # in a pattern without groups: the time grows with the square of the text's length


def check(pattern: str) -> None:
    """Raise ValueError, with the reason, if Python, RE2 and JSON Schema may disagree on the pattern's meaning."""
    without_classes = _CLASS.sub("x", pattern)
    if escape := re.search(r"\\[A-Za-z0-9]", pattern):
        raise ValueError(f"{escape[0]} has several meanings; write the characters, such as [0-9] or [A-Za-z]")
    if "(?" in without_classes.replace("(?:", ""):
        raise ValueError("(? is supported only as (?:…)")
    if re.search(r"[\^$]", re.sub(r"\\.", "x", without_classes)):
        raise ValueError("^ and $ are not needed: a pattern describes the whole text")
    if any(text in pattern for text in ("[[", "[:", "&&", "||", "~~", "--")) or "{," in without_classes:
        raise ValueError("[[, [:, {, and && have several meanings; put a backslash before the bracket or brace")
    if re.search(r"[*+?}][*+?]", re.sub(r"\\.", "x", without_classes)):
        raise ValueError("lazy and possessive quantifiers are not supported")
    if any(
        int(count) > _MAX_REPEATS
        for counts in re.findall(r"\{([0-9]+)|,([0-9]+)\}", without_classes)
        for count in counts
        if count
    ):
        raise ValueError(f"a part can be repeated {_MAX_REPEATS} times at most")
    try:
        re.compile(pattern)
        pc.match_substring_regex(pa.array([""]), as_re2(pattern))
    except (re.error, pa.ArrowInvalid, RecursionError) as error:
        raise ValueError(str(error)) from None


def as_re2(pattern: str) -> str:
    """Return the expression with which RE2 matches the whole text."""
    return rf"\A(?s:{pattern})\z"


def as_json_schema(pattern: str) -> str:
    """Return the expression for the whole text in JSON Schema, where a dot matches no line break."""
    return "^(?:" + _DOT.sub(lambda match: match[1] or r"[\s\S]", pattern) + ")$"


def is_caseless(pattern: str) -> bool:
    """Whether two texts that match the pattern never differ only in upper and lower case."""
    letters = {
        letter
        for token in re.findall(rf"\\.|{_CLASS.pattern}|.", pattern, re.DOTALL)
        for letter in string.ascii_letters
        if token in (letter, ".") or (token[0] == "[" and re.fullmatch(token, letter))
    }
    return not letters & {letter.swapcase() for letter in letters}


@cache
def matcher(pattern: str) -> Callable[[str], bool]:
    """Return the function that checks a whole text."""
    if _is_quick(pattern):
        matches = re.compile(pattern, re.DOTALL).fullmatch
        return lambda text: matches(text) is not None
    expression = as_re2(pattern)
    return lambda text: bool(pc.match_substring_regex(pa.scalar(text), expression).as_py())


def _is_quick(pattern: str) -> bool:
    """Whether Python's regular expressions, which backtrack, take little time for every text."""
    outside = re.sub(r"\\.", "x", _CLASS.sub("x", pattern))
    quantifiers = [text for text in _QUANTIFIER.findall(outside) if not re.fullmatch(r"\{[0-9]+\}", text)]
    return "(" not in outside and "|" not in outside and len(quantifiers) <= _MAX_VARIABLE_QUANTIFIERS
