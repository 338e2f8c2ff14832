"""`orderflow doctor`."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated

import typer

from orderflow.cli import context
from orderflow.cli.text import safe

if TYPE_CHECKING:
    from orderflow.cli.doctor.checks import Check

_STYLES = {"ok": "green", "warning": "yellow", "error": "bold red", "skipped": "dim"}


def doctor(
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Check everything that OrderFlow needs: this machine, Kafka, the database, the tables. It changes nothing.

    Each line is ok, a warning (it works, with a limitation), an error (it does not work), or skipped (it does not
    apply, or another check that it depends on failed). Each warning and error suggests a fix. The servers are those of
    the `orderflow up` that runs in ORDERFLOW_HOME, or else of the KAFKA_… and MYSQL_… settings.

    Exit codes: 0 no error; 1 at least one error; 2 a setting is wrong.

    Examples:

    - `orderflow doctor`
    - `orderflow doctor --json`
    """
    from rich.console import Console
    from rich.text import Text

    from orderflow.cli.doctor.checks import checks

    console = Console(highlight=False, soft_wrap=True)
    done: list[Check] = []
    for check in checks(context.load()):
        done.append(check)
        if not as_json:
            console.print(
                Text.assemble((f"{check.status:<8}", _STYLES[check.status]), f"{check.name:<14}{safe(check.found)}")
            )
            if check.hint:
                console.print(Text(f"{'':<22}{safe(check.hint)}", style="cyan"))
    healthy = all(check.status != "error" for check in done)
    if as_json:
        print(json.dumps({"healthy": healthy, "checks": [check._asdict() for check in done]}))
    if not healthy:
        raise typer.Exit(1)
