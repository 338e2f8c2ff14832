"""Options that several commands share."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

import typer

_TIME_FORMATS = ["%Y-%m-%d", "%Y-%m-%dT%H:%M:%S", "%Y-%m-%d %H:%M:%S"]


def _reasons(incomplete: str) -> list[str]:
    from orderflow.contract import definition

    return [reason for reason in definition.Reason if reason.startswith(incomplete)]


Ids = Annotated[list[int] | None, typer.Argument(metavar="[ID]...", help="quarantine_id of each record.")]
Reason = Annotated[str | None, typer.Option(help="Only this reason.", autocompletion=_reasons)]
Since = Annotated[datetime | None, typer.Option(formats=_TIME_FORMATS, help="Quarantined at this time (UTC) or later.")]
Until = Annotated[datetime | None, typer.Option(formats=_TIME_FORMATS, help="Quarantined before this time (UTC).")]
Partition = Annotated[int | None, typer.Option(help="Only this partition.")]
OrderId = Annotated[str | None, typer.Option(help="Only records with this order_id, if it could be read.")]
StatusName = Literal["open", "replayed", "discarded", "any"]
Status = Annotated[StatusName, typer.Option(help="Only this status.")]
Everything = Annotated[bool, typer.Option("--all", help="All open records.")]
By = Annotated[str, typer.Option(help="Name to record as the person responsible.", show_default="OS user @ host")]
JsonLines = Annotated[bool, typer.Option("--json", help="Print one JSON object per record.")]
