"""`orderflow contract`: print the contract; infer, check and compare contract files."""

from __future__ import annotations

import json
from typing import Annotated, Literal

import typer

from orderflow.cli import context, output
from orderflow.cli.contract.check import check
from orderflow.cli.contract.diff import diff
from orderflow.cli.contract.infer import infer

app = typer.Typer(name="contract", invoke_without_command=True)
for command in (infer, check, diff):
    app.command()(command)


@app.callback()
def contract(
    ctx: typer.Context,
    format_: Annotated[
        Literal["json-schema", "asyncapi", "sql"],
        typer.Option("--format", help="json-schema (2020-12), asyncapi (3.0), or sql (the tables and views)."),
    ] = "json-schema",
) -> None:
    """Print the contract of the orders for other tools; infer, check and compare contract files.

    Without a subcommand, it prints the contract: that of ORDER_CONTRACT, or the default one. Names of topic and tables
    are those of the settings. Only `diff` connects to a server.

    Exit codes: 0 the contract is printed; 2 a setting or the contract file is wrong.

    Examples:

    - `orderflow contract > order.schema.json`
    - `orderflow contract --format asyncapi > asyncapi.json`
    - `orderflow contract --format sql > orderflow.sql`
    - `orderflow contract infer orders.jsonl --output contract.toml`
    - `orderflow contract check contract.toml orders.jsonl`
    - `orderflow contract diff contract.toml`
    """
    if ctx.invoked_subcommand:
        return
    from orderflow.contract import exports, loader
    from orderflow.store import schema

    settings = context.load()
    if format_ == "sql":
        output.use_utf8()
        for step in schema.all_steps(settings):
            print(f"-- {step.description}\n{schema.statement_of(step, settings)}\n")
        return
    document = (
        exports.json_schema(loader.contract_of(settings)) if format_ == "json-schema" else exports.asyncapi(settings)
    )
    print(json.dumps(document, indent=2))
