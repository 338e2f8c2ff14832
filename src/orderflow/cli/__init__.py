"""The command line. Each command is a function in the file of its name, registered here.

A file imports at its top only what is cheap (typer, settings) and the rest inside its function, so that
`orderflow --help` answers at once. A function's docstring is its help text: what it does, which settings it reads,
examples.
"""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from orderflow.cli import bench, log, quarantine
from orderflow.cli.accept_loss import accept_loss
from orderflow.cli.audit import audit
from orderflow.cli.console import console
from orderflow.cli.contract import contract
from orderflow.cli.dashboard import dashboard
from orderflow.cli.doctor import doctor
from orderflow.cli.down import down
from orderflow.cli.init import init
from orderflow.cli.produce import produce
from orderflow.cli.sink import sink
from orderflow.cli.status import status
from orderflow.cli.top import top
from orderflow.cli.track import track
from orderflow.cli.up import up
from orderflow.errors import OrderFlowError

app = typer.Typer(
    name="orderflow",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    context_settings={"help_option_names": ["-h", "--help"]},
)
for command in (
    *(up, down, status, top, track),
    *(init, produce, sink, console, dashboard),
    *(audit, accept_loss, doctor, contract),
):
    app.command()(command)
app.add_typer(quarantine.app)
app.add_typer(bench.app)


def _show_version(wanted: bool) -> None:
    if wanted:
        from importlib import metadata  # slow to import

        try:
            print(f"orderflow {metadata.version('orderflow')}")
        except metadata.PackageNotFoundError:
            print("orderflow, run from a clone")
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """Orders from Kafka through Spark into MySQL: every order exactly once, and proven.

    Settings come from the environment and from .env in the working directory; env.example lists them all.
    """


def main() -> None:
    """Entry point. An OrderFlowError becomes its sentence, its hint and its exit code; Ctrl-C exits with 130."""
    try:
        app()
    except OrderFlowError as error:
        log.show_error(error)
        sys.exit(error.exit_code)
