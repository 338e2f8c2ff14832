"""Shell completion in a real bash, with the script that `orderflow --install-completion` installs."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

_COMPLETE = """
export PATH="$1:$PATH"
source "$2"
COMP_WORDS=("${@:3}"); COMP_CWORD=$((${#COMP_WORDS[@]} - 1)); COMP_LINE="${COMP_WORDS[*]}"
"$(complete -p orderflow | sed -E 's/.*-F ([^ ]+).*/\\1/')" orderflow
printf '%s\\n' "${COMPREPLY[@]}"
"""


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a home directory where the completion is installed."""
    if not shutil.which("bash"):
        pytest.skip("no bash")
    folder = tmp_path_factory.mktemp("home")
    program = folder / "bin/orderflow"
    program.parent.mkdir()
    code = "import sys; from orderflow.cli import main; sys.argv[0] = 'orderflow'; main()"
    # Not a script with Python after #!, because its path may contain a space.
    program.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -c "{code}" "$@"\n')
    program.chmod(0o755)
    subprocess.run(
        ["bash", "-c", f'"{program}" --install-completion bash; true'],
        env=_environment(folder),
        check=True,
        capture_output=True,
    )
    assert (folder / ".bash_completions/orderflow.sh").exists()
    assert "orderflow.sh" in (folder / ".bashrc").read_text()
    return folder


def _environment(home: Path) -> dict[str, str]:
    return os.environ | {"HOME": str(home), "PYTHONPATH": str(Path(__file__).parents[2] / "src")}


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        ("orderflow si", {"sink"}),
        ("orderflow quarantine re", {"replay"}),
        ("orderflow sink --on", {"--once"}),
        ("orderflow sink --engine ", {"spark", "direct"}),
        ("orderflow sink --log-format j", {"json"}),
        ("orderflow quarantine list --status re", {"replayed"}),
        ("orderflow quarantine list --reason malformed", {"malformed_json"}),
    ],
)
def test_commands_options_and_values_are_offered(home: Path, words: str, offered: set[str]) -> None:
    arguments = [str(home / "bin"), str(home / ".bash_completions/orderflow.sh"), *words.split(" ")]
    result = subprocess.run(
        ["bash", "-c", _COMPLETE, "bash", *arguments],
        env=_environment(home),
        capture_output=True,
        text=True,
        check=True,
    )
    assert set(result.stdout.split()) == offered, result.stderr
