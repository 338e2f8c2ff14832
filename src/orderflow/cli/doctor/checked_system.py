"""What several checks of `orderflow doctor` read. Each value is read once."""

from __future__ import annotations

from functools import cached_property
from typing import Literal

from orderflow import topic
from orderflow.settings import Settings
from orderflow.store import schema, server
from orderflow.store.schema_steps import SchemaStep
from orderflow.store.server import Server
from orderflow.topic import TopicInfo

Status = Literal["ok", "warning", "error", "skipped"]
Result = tuple[Status, str] | tuple[Status, str, str]  # the status, what was found, and a hint


class CheckedSystem:
    """The settings, and the state of the servers that they name."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings

    @cached_property
    def server(self) -> Server:
        return server.read(self.settings)

    @cached_property
    def server_variables(self) -> dict[str, str]:
        return server.variables(self.settings)

    @cached_property
    def topic_info(self) -> TopicInfo:
        return topic.describe(self.settings)

    @cached_property
    def missing_steps(self) -> list[SchemaStep]:
        return schema.missing_steps(self.settings)
