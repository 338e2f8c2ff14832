"""`orderflow contract`."""

from __future__ import annotations

import json
from typing import Annotated, Literal

import typer

from orderflow.cli import context, output


def contract(
    format_: Annotated[
        Literal["json-schema", "asyncapi", "sql"],
        typer.Option("--format", help="json-schema (2020-12), asyncapi (3.0), or sql: the tables and views."),
    ] = "json-schema",
) -> None:
    """Print the contract of the orders for other tools.

    Kafka, topic and table names are those of the settings. The command connects to no server.

    Examples: `orderflow contract > order.schema.json`; `orderflow contract --format asyncapi > asyncapi.json`;
    `orderflow contract --format sql > orderflow.sql`
    """
    from orderflow.contract import exports, file
    from orderflow.store import schema

    settings = context.load()
    if format_ == "sql":
        output.use_utf8()
        for step in schema.everything(settings):
            print(f"-- {step.what}\n{schema.statement_of(step, settings)}\n")
        return
    document = exports.json_schema(file.of(settings)) if format_ == "json-schema" else exports.asyncapi(settings)
    print(json.dumps(document, indent=2))
