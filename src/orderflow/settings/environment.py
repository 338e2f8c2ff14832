"""Reads the variables of the environment and of `.env`. A variable of the environment overrides one of `.env`."""

from __future__ import annotations

import io
import os
import stat
from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path

from dotenv.parser import parse_stream

from orderflow.errors import SettingInvalid
from orderflow.settings.fields import is_secret, names
from orderflow.settings.text_files import FileUnreadable, read_text


def is_given(name: str, environ: Mapping[str, str] | None = None, dotenv_path: Path | None = None) -> bool:
    """Whether the user set this variable, in the environment or in `.env`."""
    return bool(text_of(name, read_environment(environ, dotenv_path)))


def read_environment(environ: Mapping[str, str] | None = None, dotenv_path: Path | None = None) -> dict[str, str]:
    """Return the environment merged over `.env` (of the working directory unless a path is given).

    An empty variable counts as unset.
    Raises SettingInvalid if `.env` exists and cannot be read, or the working directory no longer exists.
    """
    in_file = {name: value for name, value in _read_dotenv(dotenv_path).items() if value}
    variables = os.environ if environ is None else environ
    return in_file | {name: value for name, value in variables.items() if _without_spaces(name, value)}


def ignored(dotenv_path: Path | None = None) -> dict[str, str]:
    """Return the lines in `.env` that set nothing, by name, each with the setting that the user may have meant.

    Such a line has a name that only resembles a setting, or it has no `=`.
    Raises SettingInvalid as `read_environment`.
    """
    known = {name.upper(): f"{name.upper()}=…" for name in names()}
    meant = {}
    for name, value in sorted(_read_dotenv(dotenv_path).items()):
        similar = get_close_matches(name.upper(), known, n=1, cutoff=0.85)
        if similar and (name not in known or value is None):
            meant[name] = known[similar[0]]
    return meant


def text_of(name: str, values: Mapping[str, str]) -> str:
    """Return the setting's text; empty if it is unset."""
    return _without_spaces(name, values.get(name.upper(), ""))


def _without_spaces(name: str, text: str) -> str:
    return text if is_secret(name) else text.strip()


def working_directory() -> Path:
    """Return the working directory.

    Raises SettingInvalid if it no longer exists.
    """
    try:
        return Path.cwd()
    except OSError as error:
        raise SettingInvalid(
            f"The working directory cannot be used: {error.strerror}.",
            hint="It may have been deleted. Change to another folder with cd.",
        ) from None


def _read_dotenv(path: Path | None) -> dict[str, str | None]:
    """Return the file's variables, with None for a name without `=`; none if the file does not exist."""
    path = path or working_directory() / ".env"
    try:
        # Every process reads the file, some more than once: only a regular file has the same content each time.
        if not stat.S_ISREG(path.stat().st_mode):
            raise FileUnreadable("it is not a regular file")
        bindings = list(parse_stream(io.StringIO(read_text(path).replace("\r\n", "\n"))))
    except FileNotFoundError:
        return {}
    except (OSError, FileUnreadable) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise SettingInvalid(
            f"{path} cannot be read: {reason}.",
            hint="It holds the settings of this folder. Make it a readable text file in UTF-8, or remove it.",
        ) from None
    variables: dict[str, str | None] = {}
    for binding in bindings:
        if binding.error:
            raise SettingInvalid(
                f"Line {binding.original.line} of {path} is neither NAME=value nor a comment.",
                hint="Put a value with special characters into single quotes; begin a comment with #.",
            )
        if binding.key and (binding.value is not None or binding.key not in variables):
            variables[binding.key] = binding.value
    return variables
