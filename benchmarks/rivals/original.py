"""The original design: Spark's JDBC writer, with the script spark_jdbc.py in this folder."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from benchmarks.arena import Arena
from benchmarks.rivals import rival_jars
from benchmarks.rivals.rival import Rival, jdbc_url
from orderflow.embedded.process import Process
from orderflow.jvm import jars, java
from orderflow.settings import Settings


class Original(Rival):
    """Spark Structured Streaming, foreachBatch, JDBC append."""

    name = "Spark JDBC"
    guarantees = "at least once; a batch repeated after a crash always fails on its keys"
    rewrite = False

    def _process(self, arena: Arena, settings: Settings) -> Process:
        checkpoint = arena.folder / f"checkpoint-{settings.mysql_database}"
        classpath = os.pathsep.join(map(str, [*jars.spark_paths(), *rival_jars.paths("driver")]))
        script = Path(__file__).with_name("spark_jdbc.py")
        return arena.command(
            self.name,
            settings,
            [sys.executable, str(script), jdbc_url(settings, rewrite=self.rewrite), str(checkpoint), classpath],
            {"JAVA_HOME": str(java.find().home), "SPARK_LOCAL_IP": "127.0.0.1", "PYSPARK_PYTHON": sys.executable},
        )


class OriginalRewritten(Original):
    """The original design with rewriteBatchedStatements: many rows in one statement."""

    name, rewrite = "Spark JDBC, rewritten batches", True
