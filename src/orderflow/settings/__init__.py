"""Every setting: what it is (`fields`), where its value comes from (`environment`, `loading`), and its checks."""

from __future__ import annotations

from orderflow.settings.environment import ignored, is_given, read_environment, working_directory
from orderflow.settings.fields import Settings, help_of, is_secret, names, table
from orderflow.settings.loading import load
from orderflow.settings.trigger import parse_trigger

__all__ = [
    "Settings",
    "help_of",
    "ignored",
    "is_given",
    "is_secret",
    "load",
    "names",
    "parse_trigger",
    "read_environment",
    "table",
    "working_directory",
]
