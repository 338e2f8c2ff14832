"""Creates the Spark session, with options for short micro-batches and for Python workers that mostly wait for MySQL.

On 2 cores at 1,000 orders/s, these options reduced the p50 latency from event to commit from 515 to 93 ms.
"""

from __future__ import annotations

import logging
import os
import pwd
import re
import signal
import subprocess
import sys
import tempfile
import threading
import warnings
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from orderflow.errors import EngineFailed, FileUnusable
from orderflow.store.record_batch import MAX_TRANSACTION_RECORDS

if TYPE_CHECKING:
    import psutil
    from pyspark.sql import SparkSession

log = logging.getLogger(__name__)

# One task slot more than the default topic has partitions: tasks wait for MySQL (46 k → 57 k rows/s on 2 cores).
MASTER = "local[4]"
_LOOPBACK = re.compile(r"spark://(localhost|127\.)")
_PACKAGES = "orderflow-packages"  # the folder into which executors unpack the archive of packages
_LOGGING = Path(__file__).with_name("log4j2.properties")
_START_TIMEOUT = 180.0  # seconds that the JVM has to start
_EXIT_TIMEOUT = 10.0  # seconds that the JVM has to exit
_PACKAGE_ROOT = str(Path(__file__).resolve().parents[2])


class Runtime(NamedTuple):
    """The parameters of Spark's JVM: the Kafka connector's jars, a JAVA_HOME, and JVM options for a fast start.

    `master` is Spark's master URL. `packages` is an archive of Python packages for machines without them. `ui` enables
    Spark's web UI.
    """

    jars: Sequence[Path]
    java_home: Path
    java_options: Sequence[str]
    master: str = MASTER
    packages: Path | None = None
    ui: bool = False

    @property
    def is_on_cluster(self) -> bool:
        """Whether the tasks run on a cluster instead of in the driver's process."""
        return not self.master.startswith("local")


def runtime(master: str | None = None, *, packages: Path | None = None, ui: bool = False) -> Runtime:
    """Return the runtime for this machine.

    Raises StartFailed if the Kafka connector cannot be downloaded.
    """
    from orderflow.jvm import jars, java

    if is_submitted():  # its JVM is already running
        return Runtime((), Path(), (), master or MASTER, packages, ui)
    jvm, classpath = java.find(), jars.spark_paths()
    return Runtime(classpath, jvm.home, jvm.options(*java.spark_jvm()), master or MASTER, packages, ui)


def local_session(name: str) -> SparkSession:
    """Return a Spark session on this machine with the Kafka connector; under `spark-submit`, its session.

    Ctrl-C ends the process at once with exit code 130. This is safe, because the ledger has the positions.
    Raises StartFailed if the connector cannot be downloaded.
    """
    session = _session(name, runtime(), {"spark.sql.session.timeZone": "UTC", "spark.sql.shuffle.partitions": "4"})
    # Replaces Spark's handler, which calls the JVM and prints a traceback if another call is in progress.
    signal.signal(signal.SIGINT, lambda *_: os._exit(130))
    return session


def start(runtime: Runtime, scratch: Path) -> SparkSession:
    """Start Spark for the sink, or use the session that `spark-submit` has started."""
    logging.getLogger().addFilter(_is_not_py4j)
    _silence_accumulator_server()
    session = _session("orderflow sink", runtime, _options(scratch))
    if is_submitted():
        session.sparkContext.setLogLevel("ERROR")  # otherwise log4j2.properties sets the level
    return session


def _session(name: str, runtime: Runtime, options: Mapping[str, str]) -> SparkSession:
    if not runtime.is_on_cluster:
        os.environ["PYSPARK_PYTHON"] = sys.executable
    elif "PYSPARK_PYTHON" not in os.environ:  # without an archive, Python has the same path on each machine
        version = f"python{sys.version_info.major}.{sys.version_info.minor}"
        os.environ["PYSPARK_PYTHON"] = version if runtime.packages else sys.executable
    if not is_submitted():
        check_environment()
        _prepare_environment(runtime)
        options = {**options, **_launch_options(runtime)}
    from pyspark import SparkConf, SparkContext
    from pyspark.java_gateway import launch_gateway
    from pyspark.sql import SparkSession

    conf = SparkConf(loadDefaults=False).setAppName(name).setAll(list(options.items()))
    if not is_submitted() and SparkContext._active_spark_context is None:
        # A new session protects the JVM from signals to the process group: this process stops it in order. A JVM whose
        # context did not start is used again.
        process_options = {"start_new_session": True}
        with _end_jvm_that_does_not_start(_START_TIMEOUT):
            gateway = SparkContext._gateway or launch_gateway(conf, process_options)  # type: ignore[no-untyped-call]
            SparkContext(conf=conf, gateway=gateway)
    return SparkSession.builder.config(conf=conf).getOrCreate()


@contextmanager
def _end_jvm_that_does_not_start(seconds: float) -> Iterator[None]:
    """If the block takes more than `seconds`, kill the JVM that it starts or uses.

    PySpark waits without a limit for the file with the JVM's port, and for each answer. A JVM that cannot write the
    file, as with a full disk, may stay alive.
    """
    import psutil  # here, because a cluster's workers import this module and do not get psutil
    from pyspark import SparkContext

    jvm = SparkContext._gateway.proc.pid if SparkContext._gateway else None
    other_children = [child for child in psutil.Process().children() if child.pid != jvm]

    def end() -> None:
        log.warning("Spark's JVM has not answered for %.0f seconds. It is ended.", seconds)
        kill_jvm(other_children)

    timer = threading.Timer(seconds, end)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def kill_jvm(other_children: Collection[psutil.Process] = ()) -> None:
    """Kill this process's JVM and its launcher: its child processes and theirs, except `other_children`."""
    import psutil

    for child in psutil.Process().children():
        if child not in other_children:
            with suppress(psutil.NoSuchProcess):
                for process in (*child.children(recursive=True), child):
                    with suppress(psutil.NoSuchProcess):
                        process.kill()


def _is_not_py4j(record: logging.LogRecord) -> bool:
    """Whether the record is not py4j's. py4j logs a traceback when the JVM exits; OrderFlow logs its own message."""
    return "py4j" not in Path(record.pathname).parts


def _silence_accumulator_server() -> None:
    """Let PySpark's server of accumulators print no traceback when the JVM exits; OrderFlow logs its own message."""
    from pyspark import accumulators

    for name in ("AccumulatorServer", "AccumulatorTCPServer", "AccumulatorUnixServer"):  # Spark 3.5 has the first
        if server := getattr(accumulators, name, None):
            server.handle_error = lambda *_: None


def stop(session: SparkSession) -> None:
    """Stop the session, and the JVM if this process started it.

    A JVM that records its classes writes the archive at its exit. That takes too long for a stop, so this function
    returns and `make setup` waits for the JVM.
    """
    from orderflow.jvm import java

    gateway = session.sparkContext._gateway
    with warnings.catch_warnings():
        # It would name PySpark's source file. The supervisor reports a JVM that does not answer.
        warnings.filterwarnings("ignore", "Unable to cleanly shutdown Spark JVM")
        session.stop()
    if not is_submitted() and gateway is not None:
        gateway.shutdown()
        gateway.proc.stdin.close()
        if java.RECORD_VARIABLE in os.environ:
            return
        try:
            gateway.proc.wait(_EXIT_TIMEOUT)
        except subprocess.TimeoutExpired:
            gateway.proc.kill()


def is_submitted() -> bool:
    """Whether `spark-submit` has started this process."""
    return "PYSPARK_GATEWAY_PORT" in os.environ


def _prepare_environment(runtime: Runtime) -> None:
    """Set the environment of the JVM: the installed pyspark and the chosen Java, even if others are configured."""
    import pyspark

    os.environ["JAVA_HOME"] = str(runtime.java_home)
    os.environ["LC_ALL"] = "C.UTF-8"  # in an ASCII locale, Java finds no file whose path has other characters
    os.environ["SPARK_HOME"] = str(Path(pyspark.__file__).parent)
    if not runtime.is_on_cluster:
        for name in ("HADOOP_CONF_DIR", "YARN_CONF_DIR", "SPARK_DIST_CLASSPATH"):  # of another file system or Spark
            os.environ.pop(name, None)
    if not runtime.is_on_cluster or _LOOPBACK.match(runtime.master):
        os.environ["SPARK_LOCAL_IP"] = "127.0.0.1"


def _options(scratch: Path) -> dict[str, str]:
    """Return the options that can be set on any JVM, including spark-submit's."""
    options = {
        "spark.executorEnv.PYTHONPATH": _PACKAGE_ROOT,  # workers import orderflow from the same path
        "spark.local.dir": str(scratch),
        "spark.locality.wait": "0",
        "spark.python.daemon.module": "orderflow.spark.daemon",
        "spark.speculation": "false",
        "spark.sql.adaptive.enabled": "false",
        "spark.sql.execution.arrow.maxRecordsPerBatch": str(MAX_TRANSACTION_RECORDS),  # one batch is one transaction
        "spark.sql.session.timeZone": "UTC",
        "spark.sql.streaming.metricsEnabled": "false",
        "spark.sql.streaming.noDataMicroBatches.enabled": "false",
        "spark.sql.streaming.numRecentProgressUpdates": "2",
        "spark.sql.streaming.pollingDelay": "100ms",  # without orders 5 % of a core; 14 % with the default of 10 ms
        "spark.sql.streaming.stopTimeout": "30s",  # a query that hangs is abandoned
    }
    if version() >= (4, 1):
        options |= {
            "spark.python.unix.domain.socket.enabled": "true",  # a Python task takes 1 ms instead of 41 ms
            "spark.sql.execution.arrow.maxBytesPerBatch": "16m",  # instead of 256m, because the heap is small
            "spark.sql.streaming.checkpoint.fileChecksum.enabled": "false",
            "spark.sql.streaming.checkpointFileManagerClass": (
                "org.apache.spark.sql.execution.streaming.checkpointing.FileSystemBasedCheckpointFileManager"
            ),
        }
    return options


def version() -> tuple[int, int]:
    """Return the major and minor version of the installed pyspark."""
    import pyspark

    major, minor = pyspark.__version__.split(".")[:2]
    return int(major), int(minor)


def _launch_options(runtime: Runtime) -> dict[str, str]:
    """Return the options that can only be set on a JVM that this process starts."""
    logging = [
        _java_option(f"-Dlog4j2.configurationFile={_LOGGING}"),
        # The default selector walks the stack for each new logger. This one: p50 at 1,000 orders/s from 218 to 196 ms.
        "-Dlog4j2.contextSelector=org.apache.logging.log4j.core.selector.BasicContextSelector",
        f"-Duser.name={os.environ.get('USER', 'orderflow')}",  # Java and Hadoop query the system for it otherwise
    ]
    options = {
        "spark.master": runtime.master,
        "spark.driver.memory": "600m",
        "spark.driver.extraJavaOptions": " ".join([*map(_java_option, runtime.java_options), *logging]),
        # On the class path instead of in spark.jars, so that no jar is copied at start.
        "spark.driver.extraClassPath": os.pathsep.join(map(str, runtime.jars)),
        "spark.ui.enabled": str(runtime.ui).lower(),
        "spark.ui.showConsoleProgress": "false",
        # History for the web UI. At 2,000 orders/s the heap's old generation grew by 11 MB a minute with the default of
        # 1,000 each, and by less than 1 MB with 10 each.
        "spark.ui.retainedJobs": "10",
        "spark.ui.retainedStages": "10",
        "spark.sql.ui.retainedExecutions": "10",
    }
    if runtime.is_on_cluster:
        options["spark.jars"] = ",".join(map(str, runtime.jars))
        if runtime.packages:
            options["spark.archives"] = f"{runtime.packages}#{_PACKAGES}"
            options["spark.executorEnv.PYTHONPATH"] = _PACKAGES
        return options
    return options | {
        "spark.driver.bindAddress": "127.0.0.1",
        "spark.driver.host": "127.0.0.1",
        # Hadoop's local file system runs chmod in a new process for each checkpoint file; this one does not.
        "spark.hadoop.fs.file.impl": "com.globalmentor.apache.hadoop.fs.BareLocalFileSystem",
    }


def check_environment() -> None:
    """Check what would end Spark's JVM without a reason.

    Raises EngineFailed if the system has no name for this process's user, which Hadoop's login needs. Raises
    FileUnusable if no folder of SPARK_LOCAL_DIRS can be written.
    """
    if folders := os.environ.get("SPARK_LOCAL_DIRS"):
        _check_local_folders(folders)
    try:
        pwd.getpwuid(os.getuid())
    except KeyError:
        raise EngineFailed(
            f"Spark cannot start, because the system has no name for the user id {os.getuid()}.",
            hint="Add a line for it to /etc/passwd (`orderflow:x:ID:ID::/tmp:/bin/sh`), run as another user, or use"
            " `--engine direct`.",
        ) from None


def _check_local_folders(folders: str) -> None:
    reason = ""
    for folder in map(Path, folders.split(",")):
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(dir=folder):
                return
        except OSError as error:
            reason = f"{folder}: {error.strerror}"
    raise FileUnusable(
        f"Spark cannot write to any folder of SPARK_LOCAL_DIRS ({reason}).",
        hint="Set SPARK_LOCAL_DIRS to a folder with free space that this user may write to, or remove the variable.",
    )


def _java_option(option: str) -> str:
    """Quote one option for spark.driver.extraJavaOptions, which Spark splits like a shell."""
    return '"' + option.replace("\\", "\\\\").replace('"', '\\"') + '"' if re.search(r"[\s\"'\\]", option) else option
