"""The original design: Spark's JDBC writer, in a script that stands beside this file."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from orderflow.bench.arena import Arena
from orderflow.bench.rivals import jars
from orderflow.bench.rivals.rival import Rival, jdbc_url
from orderflow.embedded import java
from orderflow.embedded.process import Process
from orderflow.settings import Settings


class Original(Rival):
    """Spark Structured Streaming, foreachBatch, JDBC append."""

    name = "Spark JDBC"
    guarantees = "at least once; a batch that is repeated after a crash fails on its keys for ever"
    rewrite = False

    def _process(self, arena: Arena, settings: Settings) -> Process:
        checkpoint = arena.folder / f"checkpoint-{settings.mysql_database}"
        classpath = os.pathsep.join(map(str, jars.paths("spark")))
        script = Path(__file__).with_name("spark_jdbc.py")
        return arena.command(
            self.name,
            settings,
            [sys.executable, str(script), jdbc_url(settings, rewrite=self.rewrite), str(checkpoint), classpath],
            {"JAVA_HOME": str(java.find().home), "SPARK_LOCAL_IP": "127.0.0.1", "PYSPARK_PYTHON": sys.executable},
        )


class OriginalRewritten(Original):
    """The same with rewriteBatchedStatements: many rows in one statement."""

    name, rewrite = "Spark JDBC, rewritten batches", True
