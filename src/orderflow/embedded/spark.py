"""A Spark standalone cluster, from the package pyspark: a master, and workers that start executors."""

from __future__ import annotations

import json
import shlex
import urllib.request
from collections.abc import Callable
from pathlib import Path
from urllib.error import URLError

import pyspark

from orderflow.embedded import java
from orderflow.embedded.process import LocalServer, free_port

_HOME = Path(pyspark.__file__).parent
SLOTS = 2  # tasks of a worker at a time; they wait for MySQL more than they compute


class _Daemon(LocalServer):
    def _run(self, kind: str, arguments: str) -> str:
        """Its page, which tells how it is, gets another port at each start."""
        self._page = free_port()
        environment = {
            "JAVA_HOME": java.find().home,
            "SPARK_HOME": _HOME,
            "SPARK_LOCAL_IP": "127.0.0.1",
            "SPARK_DAEMON_MEMORY": "256m",
            # A master that is started again goes on with the applications it had.
            "SPARK_DAEMON_JAVA_OPTS": "-XX:+UseSerialGC -XX:TieredStopAtLevel=1 -Dspark.deploy.recoveryMode=FILESYSTEM"
            f" -Dspark.deploy.recoveryDirectory={self.folder / 'recovery'}",
        }
        exports = "".join(f"export {name}={shlex.quote(str(value))}\n" for name, value in environment.items())
        name = f"org.apache.spark.deploy.{kind.lower()}.{kind}"
        listen = f"--host 127.0.0.1 --port {self.port} --webui-port {self._page}"
        return f"{exports}exec {shlex.quote(str(_HOME / 'bin' / 'spark-class'))} {name} {listen} {arguments}\n"

    def _state(self) -> dict[str, object]:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self._page}/json/", timeout=1) as answer:
                state: dict[str, object] = json.load(answer)
                return state
        except (URLError, ConnectionError, TimeoutError, json.JSONDecodeError):  # it is still coming up
            return {}

    def describe(self) -> str:
        return f"Apache Spark {pyspark.__version__}, embedded"


class SparkMaster(_Daemon):
    """Gives applications their executors."""

    name = "Spark master"

    @property
    def url(self) -> str:
        """What `orderflow sink --master` takes."""
        return f"spark://{self.address}"

    def _script(self) -> str:
        return self._run("Master", "")

    def _probe(self) -> Callable[[], bool]:
        return lambda: self._state().get("status") == "ALIVE"


class SparkWorker(_Daemon):
    """Starts an executor for each application."""

    def __init__(self, folder: Path, number: int, master: SparkMaster) -> None:
        self.name = f"Spark worker {number}"
        self._master = master
        super().__init__(folder, free_port())

    def _script(self) -> str:
        folder = shlex.quote(str(self.folder / "work"))
        return self._run("Worker", f"--cores {SLOTS} --memory 1g --work-dir {folder} {self._master.url}")

    def _probe(self) -> Callable[[], bool]:
        return lambda: bool(self._state().get("masterurl"))
