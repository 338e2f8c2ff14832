"""The units of deploy/systemd: checked with systemd's own checker where it exists, and their settings exist."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from orderflow import settings as settings_module

UNITS = Path(__file__).parents[2] / "deploy/systemd"
PROGRAM = "/opt/orderflow/.venv/bin/orderflow"
WORST_EXPOSURE = 20  # tenths; systemd calls values up to 2.0 "OK", and a service without hardening has 9.6


def test_the_settings_of_the_units_exist_and_their_credentials_are_loaded() -> None:
    known = {name.upper() for name in settings_module.names()} | {"XDG_CACHE_HOME"}
    services = [*UNITS.glob("*.service")]
    assert len(services) == 3
    for unit in (*services, *UNITS.glob("*/*.conf")):
        text = unit.read_text("utf-8")
        variables = dict(
            variable.split("=", 1)
            for line in re.findall(r"^Environment=(.*)", text, re.MULTILINE)
            for variable in line.split()
        )
        assert variables.keys() <= known
        credentials = re.findall(r"^LoadCredential=([\w-]+):/etc/orderflow/\1$", text, re.MULTILINE)
        assert sorted(value for name, value in variables.items() if name.endswith("_FILE")) == sorted(
            f"%d/{name}" for name in credentials
        )


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="no systemd-analyze")
def test_systemd_accepts_the_units_and_rates_them_as_hardened(tmp_path: Path) -> None:
    copies = shutil.copytree(UNITS, tmp_path / "units")
    program = tmp_path / "orderflow"  # its path has no space
    program.symlink_to(sys.executable)
    for unit in copies.glob("*.service"):
        text = unit.read_text("utf-8")
        assert f"ExecStart={PROGRAM} " in text
        unit.write_text(text.replace(PROGRAM, str(program)))
    units = [path.name for path in copies.iterdir() if path.is_file()]
    verified = _analyze(copies, "verify", *(f"./{name}" for name in units))
    assert (verified.returncode, verified.stderr) == (0, "")
    for name in units:
        if name.endswith(".service"):
            rated = _analyze(copies, "security", "--offline=true", f"--threshold={WORST_EXPOSURE}", f"./{name}")
            assert rated.returncode == 0, rated.stdout


def _analyze(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = ["systemd-analyze", "--no-pager", *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
