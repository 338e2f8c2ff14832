"""`orderflow contract diff`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import msgspec
import typer

from orderflow.cli import context, output
from orderflow.cli.contract import input_files
from orderflow.cli.text import safe

if TYPE_CHECKING:
    from orderflow.settings import Settings


def diff(
    file_: Annotated[
        Path | None,
        typer.Argument(metavar="[FILE]", help="A contract file. Default: that of ORDER_CONTRACT.", show_default=False),
    ] = None,
) -> None:
    """Compare a contract file with the contract of the stored orders, and print what would change in the tables.

    Prints each change, and the SQL that `orderflow init` or a start of the sink would run. For a change that needs a
    person or is impossible, it prints the steps instead. It changes nothing.

    Exit codes: 0 no difference; 1 differences that `orderflow init` can apply; 2 somebody must do something first, or
    the tables cannot be read.

    Examples:

    - `orderflow contract diff contract.toml`
    - `ORDER_CONTRACT=contract.toml orderflow contract diff`
    """
    from orderflow.contract import loader
    from orderflow.contract.changes import changes
    from orderflow.store import schema

    settings = context.load()
    if file_:
        settings = msgspec.structs.replace(
            settings,
            order_contract=str(file_.absolute()),
            order_contract_text=input_files.read_contract_text(file_),
        )
    new = loader.contract_of(settings)
    stored = schema.stored_contracts(settings)
    contract_id = stored.last_used_id if stored.is_used else stored.newest_id
    print(f"{settings.mysql_database}.{settings.mysql_table} is at contract version {contract_id}.")
    if new.without_documentation == stored.contracts[contract_id]:
        print("No difference.")
        return
    for change in changes(stored.contracts[contract_id], new):
        is_impossible = bool(change.fix) and stored.is_used  # without records, nothing is lost
        print(safe(f"{'impossible' if is_impossible else 'possible'}: {change.description}"))
        if is_impossible:
            print(safe(f"  {change.fix}"))
    _print_steps(settings)
    raise typer.Exit(1)


def _print_steps(settings: Settings) -> None:
    """Print the SQL. Raises ContractInvalid if a change is impossible."""
    from orderflow.store import schema

    steps = schema.missing_steps(settings)
    output.use_utf8()
    for step in steps:
        print(f"\n-- {step.description}\n{schema.statement_of(step, settings)}")
