"""Command lines: rejects values that no command can use, before any command runs."""

from __future__ import annotations

import math
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup

_INTEGER_LIMIT = 2**63  # one more than the largest integer that a database column or Kafka's client accepts


class Command(TyperCommand):
    """A command that accepts only finite numbers and UTF-8 texts."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        remaining = super().parse_args(ctx, args)
        param: Any
        for param in self.params:
            value = ctx.params.get(param.name)
            for item in value if isinstance(value, (list, tuple)) else [value]:
                if reason := _rejection_reason(item):
                    raise typer.BadParameter(reason, ctx=ctx, param=param)
        return remaining


def _rejection_reason(value: object) -> str:
    """Return why no command can use this value; empty if it is usable."""
    if isinstance(value, float) and not math.isfinite(value):
        return f"{value} is not a finite number."
    if isinstance(value, int) and not -_INTEGER_LIMIT <= value < _INTEGER_LIMIT:
        return f"{str(value)[:40]} is out of range."
    if isinstance(value, str):
        try:
            value.encode()
        except UnicodeEncodeError:
            return f"{value!a} is not UTF-8."
    return ""


class Group(TyperGroup):
    """The commands. Handles an unexpected OSError, because typer silently exits on some."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except OSError as error:
            from orderflow.cli import failure

            raise failure.explain(error) from error
