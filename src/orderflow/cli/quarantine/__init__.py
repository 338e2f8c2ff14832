"""`orderflow quarantine`: each command is a function in the file of its name."""

from __future__ import annotations

import typer

from orderflow.cli.quarantine.discard import discard
from orderflow.cli.quarantine.export import export
from orderflow.cli.quarantine.list import list_
from orderflow.cli.quarantine.replay import replay
from orderflow.cli.quarantine.show import show

app = typer.Typer(
    name="quarantine",
    no_args_is_help=True,
    help="List, show, replay, discard or export the records that broke the contract.",
)
app.command("list")(list_)
for command in (show, replay, discard, export):
    app.command()(command)
