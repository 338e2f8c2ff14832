"""The Spark session: a small JVM, for no record passes through it."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

MASTER = "local[1]"  # one flow for all partitions: Python takes a third of a core where MySQL is at its limit
_LOOPBACK = re.compile(r"spark://(localhost|127\.)")
_PACKAGES = "orderflow-packages"  # the folder that executors unpack them into
_LOGGING = Path(__file__).with_name("log4j2.properties")
_SMALL = "-Xms64m", "-Xmn24m"  # 90 MB less than by default
_PACKAGE_ROOT = str(Path(__file__).resolve().parents[2])


class Runtime(NamedTuple):
    """What Spark's JVM is made of: a JAVA_HOME, and options for its quick start.

    `master` is where the tasks run. `packages` is an archive of what they import, where it must be brought along.
    """

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


def _submitted() -> bool:
    return "PYSPARK_GATEWAY_PORT" in os.environ


def _options(scratch: Path) -> dict[str, str]:
    return {
        "spark.executorEnv.PYTHONPATH": _PACKAGE_ROOT,  # workers import orderflow from where this file is
        "spark.local.dir": str(scratch),
        "spark.speculation": "false",
        "spark.sql.streaming.stopTimeout": "30s",  # a query that hangs is left behind, not waited for
    }


def _launch_options(runtime: Runtime) -> dict[str, str]:
    """What only a JVM of our own can be given."""
    options = {
        "spark.master": runtime.master,
        "spark.driver.memory": "512m",  # the least that Spark starts with
        "spark.driver.extraJavaOptions": " ".join(
            [*runtime.java_options, *_SMALL, f"-Dlog4j2.configurationFile={_LOGGING}"]
        ),
        "spark.ui.enabled": "false",
        "spark.ui.showConsoleProgress": "false",
    }
    if runtime.on_cluster:
        options["spark.dynamicAllocation.enabled"] = "false"  # the flows need their executors from the start
        if runtime.packages:
            options["spark.archives"] = f"{runtime.packages}#{_PACKAGES}"
            options["spark.executorEnv.PYTHONPATH"] = _PACKAGES
        return options
    return options | {"spark.driver.bindAddress": "127.0.0.1", "spark.driver.host": "127.0.0.1"}
