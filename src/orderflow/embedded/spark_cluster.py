"""A Spark standalone cluster from the package pyspark: a master, and workers that start executors."""

from __future__ import annotations

import json
import shlex
import urllib.request
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from urllib.error import URLError

from orderflow.embedded.ports import free_port
from orderflow.embedded.process import LocalServer
from orderflow.jvm import java

_DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # a configured proxy cannot reach loopback
SLOTS = 2  # concurrent tasks of a worker; tasks mostly wait for MySQL


class _Daemon(LocalServer):
    def _build_script(self, kind: str, arguments: str) -> str:
        """The start script. The web UI, which `_probe` reads, gets a new port at each start."""
        import pyspark

        self._ui_port = free_port()
        home = Path(pyspark.__file__).parent
        environment = {
            "JAVA_HOME": java.find().home,
            "SPARK_HOME": home,
            "SPARK_LOCAL_IP": "127.0.0.1",
            "SPARK_DAEMON_MEMORY": "256m",
            # A restarted master recovers its applications. The folder is relative, because Spark splits these options
            # at spaces.
            "SPARK_DAEMON_JAVA_OPTS": "-XX:+UseSerialGC -XX:TieredStopAtLevel=1 -Dspark.deploy.recoveryMode=FILESYSTEM"
            " -Dspark.deploy.recoveryDirectory=recovery",
        }
        exports = "".join(f"export {name}={shlex.quote(str(value))}\n" for name, value in environment.items())
        name = f"org.apache.spark.deploy.{kind.lower()}.{kind}"
        listen = f"--host 127.0.0.1 --port {self.port} --webui-port {self._ui_port}"
        return f"{exports}exec {shlex.quote(str(home / 'bin' / 'spark-class'))} {name} {listen} {arguments}\n"

    def _state(self) -> dict[str, object]:
        try:
            with _DIRECT.open(f"http://127.0.0.1:{self._ui_port}/json/", timeout=1) as response:
                state: dict[str, object] = json.load(response)
                return state
        except (URLError, ConnectionError, TimeoutError, json.JSONDecodeError):  # it is still starting
            return {}

    def describe(self) -> str:
        return f"Apache Spark {metadata.version('pyspark')}, embedded"


class SparkMaster(_Daemon):
    """The master, which assigns executors to applications."""

    name = "Spark master"

    @property
    def url(self) -> str:
        """The value for `orderflow sink --master`."""
        return f"spark://{self.address}"

    def _script(self) -> str:
        return self._build_script("Master", "")

    def _probe(self) -> Callable[[], bool]:
        return lambda: self._state().get("status") == "ALIVE"


class SparkWorker(_Daemon):
    """A worker, which starts an executor for each application."""

    def __init__(self, folder: Path, number: int, master: SparkMaster) -> None:
        self.name = f"Spark worker {number}"
        self._master = master
        super().__init__(folder, free_port())

    def _script(self) -> str:
        folder = shlex.quote(str(self.folder / "work"))
        return self._build_script("Worker", f"--cores {SLOTS} --memory 1g --work-dir {folder} {self._master.url}")

    def _probe(self) -> Callable[[], bool]:
        return lambda: bool(self._state().get("masterurl"))
