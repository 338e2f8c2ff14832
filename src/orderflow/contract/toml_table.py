"""Reads the tables of a contract file. Each error names the file and the line, and its hint names the fix."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Collection, Sequence
from decimal import Decimal
from typing import Any

from orderflow.errors import ContractInvalid

_HEADER = re.compile(r"\s*\[\s*([^\[\]]+?)\s*\]")
_KEY = re.compile(r"""\s*["']?([A-Za-z0-9_-]+)["']?\s*=""")
_TOML_ERROR_POSITION = re.compile(r" \(at line (\d+), column \d+\)| \(at end of document\)")
_EXAMPLES = "docs/contract.md shows examples."


class TomlFile:
    """The text of a contract file; `name` is the file's name in messages."""

    def __init__(self, text: str, name: str) -> None:
        self._text, self._lines, self._name = text, text.splitlines(), name

    def parse(self) -> TomlTable:
        """Return the whole file as a table without a name. Raises ContractInvalid."""
        try:
            return TomlTable(self, "", tomllib.loads(self._text, parse_float=Decimal))
        except RecursionError:
            raise ContractInvalid(f"The contract file {self._name} has too many levels.", hint=_EXAMPLES) from None
        except tomllib.TOMLDecodeError as error:
            position = _TOML_ERROR_POSITION.search(str(error))
            line = int(position[1]) if position and position[1] else len(self._lines)
            problem = str(error).replace(position[0], "") if position else str(error)
            raise self._error_in(line, f"this is not TOML: {problem}", _EXAMPLES) from None

    def error(self, problem: str, fix: str, table: str, key: str) -> ContractInvalid:
        """Return an error about a key of a table, with its line."""
        return self._error_in(self._line_of(table, key), problem, fix)

    def _error_in(self, line: int, problem: str, fix: str) -> ContractInvalid:
        return ContractInvalid(f"The contract file {self._name}, line {line}: {problem}.", hint=fix)

    def _line_of(self, table: str, key: str) -> int:
        """Return the number of the line of a key, of its table, or of the first line."""
        current_table, table_line = "", 1
        for number, line in enumerate(self._lines, 1):
            if header := _HEADER.match(line):
                current_table = re.sub(r"[\s\"']", "", header[1])
                if current_table == table or (table_line == 1 and current_table.startswith(f"{table}.")):
                    table_line = number
            elif current_table == table and key and (line_key := _KEY.match(line)) and line_key[1] == key:
                return number
            elif table.startswith(f"{current_table}.") or not current_table:
                inner_table = table.rpartition(".")[2]
                if (line_key := _KEY.match(line)) and line_key[1] in (inner_table, key):
                    table_line = number
        return table_line


class TomlTable:
    """A table of the file; `entries` are its keys and values. The methods raise ContractInvalid."""

    def __init__(self, file: TomlFile, name: str, entries: dict[str, Any]) -> None:
        self._file, self.name, self.entries = file, name, entries

    def error(self, problem: str, fix: str, key: str = "") -> ContractInvalid:
        """Return an error about the table, or about one of its keys."""
        return self._file.error(problem, fix, self.name, key)

    def inner(self, name: str, entries: dict[str, Any]) -> TomlTable:
        """Return a table of the same file."""
        return TomlTable(self._file, name, entries)

    def check_keys(self, allowed: Collection[str]) -> None:
        """Check that each key is one of the allowed keys."""
        for key in self.entries.keys() - allowed:
            location = f" in [{self.name}]" if self.name else ""
            raise self.error(f"the key {key!a} is unknown{location}", f"Use: {', '.join(sorted(allowed))}.", key)

    def typed(self, key: str, type_: type, expected: str) -> Any:
        """Return the value of this key, which must have this type."""
        value = self.entries[key]
        if type(value) is not type_:
            raise self.error(f"{key} is {toml_value(value)}, not {expected}", f"Write {expected}.", key)
        return value

    def one_of(self, key: str, allowed: Sequence[str]) -> str:
        """Return the text of this key; the first of the allowed ones if it is missing."""
        text = self.entries.get(key, allowed[0])
        if text not in allowed:
            raise self.error(f"{key} is {toml_value(text)}", f"Use one of: {', '.join(allowed)}.", key)
        return str(text)

    def integer(self, key: str, lowest: int, highest: int) -> int | None:
        """Return the integer of this key; None if it is missing."""
        if key not in self.entries:
            return None
        number = int(self.typed(key, int, "an integer"))
        if not lowest <= number <= highest:
            raise self.error(f"{key} is {number}", f"Use a number from {lowest:,} to {highest:,}.", key)
        return number

    def texts(self, key: str) -> tuple[str, ...]:
        """Return the list of texts of this key."""
        texts = self.entries[key]
        if not isinstance(texts, list) or not texts or not all(isinstance(text, str) for text in texts):
            raise self.error(f"{key} is {toml_value(texts)}", f'Write a list of texts: {key} = ["web", "store"].', key)
        return tuple(texts)


def toml_value(value: object) -> str:
    """Return a value of a TOML file as it is written there; dates in Python's notation."""
    if isinstance(value, bool):
        return str(value).lower()
    return repr(value) if isinstance(value, (str, list, dict)) else str(value)
