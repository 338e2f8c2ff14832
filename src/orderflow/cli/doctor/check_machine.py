"""The checks of this machine: Python, the settings' names, extras, Java, jars, the MySQL client, disk space."""

from __future__ import annotations

import platform
import shutil
import tempfile
from pathlib import Path

import mysql.connector

from orderflow import extras, settings
from orderflow.cli.doctor.checked_system import CheckedSystem, Result
from orderflow.jvm import jars, java
from orderflow.plurals import counted

_LOW_SPACE, _NO_SPACE = 2 * 10**9, 2 * 10**8  # bytes


def check_python(system: CheckedSystem) -> Result:
    return "ok", platform.python_version()


def check_env_names(system: CheckedSystem) -> Result:
    if ignored := settings.ignored():
        meant = ", ".join(dict.fromkeys(ignored.values()))
        return "warning", f".env has lines that set nothing: {', '.join(ignored)}", f"Did you mean {meant}?"
    return "ok", "no line in .env looks like a misspelled setting"


def check_spark(system: CheckedSystem) -> Result:
    if extras.is_installed("spark"):
        from orderflow.spark import session

        session.check_environment()
    return _check_extra("spark", "the sink needs --engine direct")


def check_dashboard(system: CheckedSystem) -> Result:
    return _check_extra("dashboard", "no dashboard and no metrics endpoints; `orderflow top` works without it")


def _check_extra(name: extras.Name, without: str) -> Result:
    if extras.is_installed(name):
        return "ok", extras.versions()[name]
    return "skipped", f"not installed: {without}", extras.install_command(name)


def check_java(system: CheckedSystem) -> Result:
    if not extras.is_installed("spark") and not extras.is_installed("local"):
        return "skipped", "only Spark and the Kafka that `orderflow up` starts need it"
    jdk = java.find()
    return "ok", f"{jdk.version} from {jdk.source}: {jdk.home}"


def check_jars(system: CheckedSystem) -> Result:
    return "ok", f"Spark's Kafka connector, {counted(len(jars.spark_paths()), 'jar')}, verified against jars.lock"


def check_mysql_client(system: CheckedSystem) -> Result:
    version = mysql.connector.__version__
    if not mysql.connector.HAVE_CEXT:
        return (
            "warning",
            f"mysql-connector {version} without its C extension, so it is slower",
            "Install the version that requirements.txt pins, on a platform that has a wheel of it on PyPI.",
        )
    return "ok", f"mysql-connector {version} with its C extension"


def check_disk(system: CheckedSystem) -> Result:
    home = system.settings.home
    folders = [next(path for path in (home, *home.parents) if path.exists()), Path(tempfile.gettempdir())]
    free = {folder: shutil.disk_usage(folder).free for folder in folders}
    least = min(free.values())
    description = ", ".join(f"{free_bytes / 1e9:,.1f} GB free in {folder}" for folder, free_bytes in free.items())
    if least < _LOW_SPACE:
        return (
            "error" if least < _NO_SPACE else "warning",
            description,
            "Free some space, or set ORDERFLOW_HOME or TMPDIR to another disk.",
        )
    return "ok", description
