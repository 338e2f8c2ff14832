"""`make setup`: have ready what `orderflow up` will run, downloading what is missing, and say what it is."""

from __future__ import annotations

import sys

from rich.console import Console

from orderflow import settings
from orderflow.embedded import jars, java
from orderflow.embedded.database import Database
from orderflow.embedded.kafka import Kafka
from orderflow.errors import OrderFlowError


def main() -> int:
    try:
        home = settings.load().home
        found = java.find()
        print(f"Java {found.version}, from {found.source}")
        print(f"Spark's Kafka connector, {len(jars.paths('spark'))} jars")
        if settings.is_given("kafka_bootstrap_servers"):
            print("Kafka: yours (KAFKA_BOOTSTRAP_SERVERS is set)")
        else:
            jars.paths("kafka")
            print(Kafka(home / "kafka", 0).describe())
        if settings.is_given("mysql_host"):
            print("Database: yours (MYSQL_HOST is set)")
        else:
            print(Database(home / "database", 0).describe())
    except OrderFlowError as error:
        console = Console(stderr=True, highlight=False, markup=False)
        console.print(error.message, style="red")
        console.print(error.hint)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
