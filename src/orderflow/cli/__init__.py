"""The command line. Each command is a function in the file or package of its name, registered here.

A file imports at its top only fast modules (typer, settings), and the rest inside its function, so that
`orderflow --help` responds at once. A function's docstring is its help text: what it does, which settings it reads,
examples.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from typing import Annotated, NoReturn

import typer

from orderflow.cli import contract, logs, output, quarantine
from orderflow.cli.accept_loss import accept_loss
from orderflow.cli.arguments import Command, Group
from orderflow.cli.audit import audit
from orderflow.cli.console import console
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

app = typer.Typer(
    name="orderflow",
    cls=Group,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    context_settings={"help_option_names": ["-h", "--help"]},
)
for command in (
    *(up, down, status, top, track),
    *(init, produce, sink, console, dashboard),
    *(audit, accept_loss, doctor),
):
    app.command()(command)
app.add_typer(contract.app)
app.add_typer(quarantine.app)
for group in (app, contract.app, quarantine.app):
    for info in group.registered_commands:
        info.cls = Command


def _show_version(is_requested: bool) -> None:
    if is_requested:
        import platform
        from importlib import metadata  # slow to import

        from orderflow import extras

        try:
            print(f"orderflow {metadata.version('orderflow')}")
        except metadata.PackageNotFoundError:
            print("orderflow, run from a clone")
        print(f"Python {platform.python_version()}")
        for name, installed in extras.versions().items():
            print(f"[{name}] {installed}")
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[
        bool,
        typer.Option(
            "--version",
            callback=_show_version,
            is_eager=True,
            help="Show the versions of OrderFlow, Python and each extra.",
        ),
    ] = False,
) -> None:
    """Store orders from Kafka in MySQL through Spark: every order exactly once, with an audit that proves it.

    Settings are environment variables, or lines in `.env` in the working directory. env.example lists them all.

    Exit codes of every command: 0 success; 1 a negative result, which the command's help describes; 2 an error to fix,
    named in the message; 3 a bug in OrderFlow, with the path of a report; 130 stopped by Ctrl-C.
    """


def main() -> None:
    """The entry point."""
    run(app)


def run(command: Callable[[], object]) -> NoReturn:
    """Run the command, and always exit with one of the codes above and, except for 0 and 1, an error message."""
    output.prepare()
    threading.excepthook = _report_thread_error
    code: object = 0
    try:
        _call(command)
    except SystemExit as exit_:
        code = exit_.code
    except KeyboardInterrupt:  # between the handlers of two commands
        code = 130
    except BaseException as error:  # noqa: BLE001 - the last resort
        if isinstance(error.__cause__, KeyboardInterrupt):  # Python 3.11 wraps it in RuntimeError during an import
            sys.exit(130)
        from orderflow.cli import failure

        shown = failure.explain(error)
        logs.show_error(shown)
        code = shown.exit_code
        output.discard()
    sys.exit(code)  # type: ignore[arg-type]


def _report_thread_error(args: threading.ExceptHookArgs) -> None:
    from orderflow.cli import failure

    if args.exc_value is not None:
        logs.show_error(failure.explain(args.exc_value))


def _call(command: Callable[[], object]) -> None:
    """Run the command. Raises SystemExit, or what the command raised."""
    try:
        command()
    except SystemExit:
        sys.stdout.flush()  # here, where a full disk still ends in an error message
        raise
