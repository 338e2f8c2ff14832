"""A short run of the fuzz test: native.c under its sanitizers. `make fuzz SECONDS=600` runs it longer."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from orderflow.contract import native
from tests.support import fuzz

ROOT = Path(__file__).parents[2]


def run(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "tests.support.fuzz", *map(str, arguments)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module", autouse=True)
def _has_sanitizers(tmp_path_factory: pytest.TempPathFactory) -> None:
    try:
        fuzz.build(Path(native.__file__).with_name("native.c"), tmp_path_factory.mktemp("fuzz"))
    except fuzz.CannotFuzz as error:
        pytest.skip(str(error))


def test_random_contracts_and_messages_find_no_fault() -> None:
    result = run("--seconds", 20)
    assert result.returncode == 0, result.stdout + result.stderr
    assert "no fault" in result.stdout


@pytest.mark.parametrize(
    ("right", "wrong", "found"),
    [
        ("while (at < end && (*at == ' '", "while (at <= end && (*at == ' '", "heap-buffer-overflow"),
        ("1ull << (first + found)", "1ull << (first + found + 60)", "runtime error"),
        ("product != order->number[TOTAL]", "product < order->number[TOTAL]", "AssertionError"),
    ],
)
def test_a_planted_fault_is_found(right: str, wrong: str, found: str, tmp_path: Path) -> None:
    source = tmp_path / "native.c"
    code = Path(native.__file__).with_name("native.c").read_text("utf-8")
    assert code.count(right) == 1
    source.write_text(code.replace(right, wrong), "utf-8")
    result = run("--seconds", 60, "--source", source)
    assert result.returncode == 1 and found in result.stderr
    assert "To repeat it: python -m tests.support.fuzz --rounds 1 --seed" in result.stdout


def test_without_a_compiler_it_ends_with_a_sentence(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    result = run("--seconds", 1)
    assert result.returncode == 0
    assert result.stdout == "This machine has no C compiler (cc, gcc or clang), so native.c is not fuzzed.\n"
