"""The Spark session, set up for short micro-batches and for Python workers that only wait for MySQL.

The settings' effect was measured on 2 cores at 1,000 orders/s: event to commit p50 from 515 to 93 ms.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from orderflow.store.run import TRANSACTION_ROWS

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

# One more task than the default topic has partitions: tasks wait for MySQL (46 k → 57 k rows/s on 2 cores).
MASTER = "local[4]"
_LOOPBACK = re.compile(r"spark://(localhost|127\.)")
_PACKAGES = "orderflow-packages"  # the folder that executors unpack them into
_LOGGING = Path(__file__).with_name("log4j2.properties")
_PACKAGE_ROOT = str(Path(__file__).resolve().parents[2])


class Runtime(NamedTuple):
    """What Spark's JVM is made of: the connector's jars, a JAVA_HOME, and options for its quick start.

    `master` is where the tasks run. `packages` is an archive of what they import, where it must be brought along.
    """

    jars: Sequence[Path]
    java_home: Path
    java_options: Sequence[str]
    master: str = MASTER
    packages: Path | None = None

    @property
    def on_cluster(self) -> bool:
        """Whether the tasks run in processes of a cluster, not in the driver's own."""
        return not self.master.startswith("local")


def start(runtime: Runtime, scratch: Path) -> SparkSession:
    """Start Spark, or join the one that `spark-submit` has started."""
    if not runtime.on_cluster:
        os.environ["PYSPARK_PYTHON"] = sys.executable
    elif "PYSPARK_PYTHON" not in os.environ:  # the same place on each machine, unless all is brought along
        version = f"python{sys.version_info.major}.{sys.version_info.minor}"
        os.environ["PYSPARK_PYTHON"] = version if runtime.packages else sys.executable
    if not _submitted():
        os.environ["JAVA_HOME"] = str(runtime.java_home)
        if not runtime.on_cluster or _LOOPBACK.match(runtime.master):
            os.environ["SPARK_LOCAL_IP"] = "127.0.0.1"
    from pyspark.sql import SparkSession

    builder = SparkSession.builder.appName("orderflow sink")
    for name, value in _options(scratch).items():
        builder = builder.config(name, value)
    if not _submitted():
        for name, value in _launch_options(runtime).items():
            builder = builder.config(name, value)
    session = builder.getOrCreate()
    if _submitted():
        session.sparkContext.setLogLevel("ERROR")  # ours is told so by log4j2.properties
    return session


def stop(session: SparkSession) -> None:
    """End the session, and the JVM if it is ours."""
    gateway = session.sparkContext._gateway
    session.stop()
    if not _submitted() and gateway is not None:
        gateway.shutdown()
        gateway.proc.stdin.close()
        gateway.proc.wait()


def add_jars(session: SparkSession, jars: Sequence[Path]) -> None:
    """Give `spark-submit`'s JVM, which is too old for spark.jars, the connector.

    Spark makes it known to the calling thread alone: call this in the one that starts the query.
    """
    if _submitted():
        for jar in jars:
            session.sql(f"ADD JAR '{jar}'")


def _submitted() -> bool:
    return "PYSPARK_GATEWAY_PORT" in os.environ


def _options(scratch: Path) -> dict[str, str]:
    return {
        "spark.executorEnv.PYTHONPATH": _PACKAGE_ROOT,  # workers import orderflow from where this file is
        "spark.local.dir": str(scratch),
        "spark.locality.wait": "0",
        "spark.python.unix.domain.socket.enabled": "true",  # a Python task from 41 to 1 ms
        "spark.python.daemon.module": "orderflow.pipeline.daemon",
        "spark.speculation": "false",
        "spark.sql.adaptive.enabled": "false",
        "spark.sql.execution.arrow.maxBytesPerBatch": "16m",  # 256m by default: records may be large, the heap is not
        "spark.sql.execution.arrow.maxRecordsPerBatch": str(TRANSACTION_ROWS),  # one batch is one transaction
        # Spark hides what looks like a password by itself; plans would show the key of a client certificate.
        "spark.sql.redaction.options.regex": "(?i)url|jaas|keystore",
        "spark.sql.session.timeZone": "UTC",
        "spark.sql.streaming.checkpoint.fileChecksum.enabled": "false",
        "spark.sql.streaming.checkpointFileManagerClass": (
            "org.apache.spark.sql.execution.streaming.checkpointing.FileSystemBasedCheckpointFileManager"
        ),
        "spark.sql.streaming.metricsEnabled": "false",
        "spark.sql.streaming.noDataMicroBatches.enabled": "false",
        "spark.sql.streaming.numRecentProgressUpdates": "2",
        "spark.sql.streaming.pollingDelay": "100ms",  # the default of 10 takes 14 % of a core without orders, not 5
        "spark.sql.streaming.stopTimeout": "30s",  # a query that hangs is left behind, not waited for
    }


def _launch_options(runtime: Runtime) -> dict[str, str]:
    """What only a JVM of our own can be given."""
    logging = [
        f"-Dlog4j2.configurationFile={_LOGGING}",
        # The default looks through the stack for each new logger: p50 at 1,000 orders/s from 218 to 196 ms.
        "-Dlog4j2.contextSelector=org.apache.logging.log4j.core.selector.BasicContextSelector",
    ]
    options = {
        "spark.master": runtime.master,
        "spark.driver.memory": "600m",
        "spark.driver.extraJavaOptions": " ".join([*runtime.java_options, *logging]),
        # On the class path rather than in spark.jars: nothing is copied at start.
        "spark.driver.extraClassPath": os.pathsep.join(map(str, runtime.jars)),
        "spark.ui.enabled": "false",
        "spark.ui.showConsoleProgress": "false",
        # What is remembered for the user interface: with a thousand of each, the default, the heap's old part grew by
        # 11 MB a minute at 2,000 orders/s, with ten by less than one.
        "spark.ui.retainedJobs": "10",
        "spark.ui.retainedStages": "10",
        "spark.sql.ui.retainedExecutions": "10",
    }
    if runtime.on_cluster:
        options["spark.jars"] = ",".join(map(str, runtime.jars))
        if runtime.packages:
            options["spark.archives"] = f"{runtime.packages}#{_PACKAGES}"
            options["spark.executorEnv.PYTHONPATH"] = _PACKAGES
        return options
    return options | {
        "spark.driver.bindAddress": "127.0.0.1",
        "spark.driver.host": "127.0.0.1",
        # Hadoop's own local file system forks a chmod for each checkpoint file; this one does not.
        "spark.hadoop.fs.file.impl": "com.globalmentor.apache.hadoop.fs.BareLocalFileSystem",
    }
