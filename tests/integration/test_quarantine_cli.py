"""`orderflow quarantine` and `accept-loss`: every command that docs/quarantine.md shows, and its output."""

from __future__ import annotations

import base64
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from orderflow import audit
from orderflow.errors import OffsetsLost
from orderflow.settings import Settings
from tests.support import processes
from tests.support.records import lose, order, send, store
from tests.support.sql import select

PAGE = Path(__file__).parents[2] / "docs/quarantine.md"
HOSTILE = b"\x1b]0;x\x07\xe2\x80\xae\xff{"


def shell(settings: Settings, command: str, cwd: Path, **environ: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["bash", "-c", f'orderflow() {{ "{sys.executable}" -m orderflow "$@"; }}; {command}'],
        env=os.environ | settings.environment() | environ,
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=processes.TIMEOUT,
        check=False,
    )


@pytest.fixture
def kept(settings: Settings) -> Settings:
    """Records 1 to 6: two that are valid without ORDER_RANGES, a quoted number, two malformed, a conflict."""
    send(settings, [order(1), order(2), order(3, quantity="2"), HOSTILE, None])
    store(msgspec.structs.replace(settings, order_ranges="enforce"))
    send(settings, [order(10), order(10, customer_id=5)])
    store(settings)
    return settings


def test_the_commands_of_the_page_work_as_documented(kept: Settings, tmp_path: Path) -> None:
    outputs: dict[str, str] = {}
    for command in re.findall(r"^\$ (.*)$", PAGE.read_text("utf-8"), re.MULTILINE):
        if command == "orderflow accept-loss":
            lose(kept, 1, 3)
            with pytest.raises(OffsetsLost, match="partition 1 offsets 0 to 2") as raised:
                store(kept)
            assert "orderflow accept-loss" in raised.value.hint
        result = shell(kept, command, tmp_path)
        # Exit code 1: some records of the dry run are invalid, and the loss is not accepted yet.
        exits_with_1 = command.endswith("--dry-run") or command == "orderflow accept-loss"
        assert (result.returncode, "Traceback" in result.stderr) == (int(exits_with_1), False), (command, result.stderr)
        assert result.stdout.replace("\n", "").isprintable(), command
        outputs[command] = result.stdout
    assert (
        "ORDER-000010" in outputs["orderflow quarantine list"] and "\\x1b" not in outputs["orderflow quarantine list"]
    )
    assert "00000000  7b 22 63 75 73 74 6f 6d  65 72" in outputs["orderflow quarantine show 1"]
    assert outputs["orderflow quarantine replay --all --dry-run"].endswith(
        "Would be: 2 stored, 3 rejected, 1 conflict.\n"
    )
    assert outputs["orderflow quarantine replay --reason outside_ranges"].endswith("\n2 stored.\n")
    assert outputs["orderflow quarantine replay 1 2 --by ann"].endswith("\n2 replayed before.\n")
    assert (tmp_path / "records/3.bin").read_bytes() == order(3, quantity="2")
    [exported] = [json.loads(line) for line in (tmp_path / "records.jsonl").read_text().splitlines()]
    assert base64.b64decode(exported["value"]).decode() == exported["value_text"] == order(10, customer_id=5).decode()
    assert "offsets 0 to 2 (3) are lost\nNothing was changed" in outputs["orderflow accept-loss"]
    assert "offsets 0 to 2 (3) are accepted as lost" in outputs["orderflow accept-loss --yes"]
    store(kept)
    report = audit.run(kept)
    assert report.sentence().startswith(
        "Proven: 7 records = 4 stored + 0 duplicates + 3 quarantined. Replayed from the quarantine"
    )
    assert (report.replayed, report.discarded, report.lost_offsets) == (3, 2, 3)
    repeated = shell(kept, "orderflow accept-loss --yes --json", tmp_path)
    assert (repeated.returncode, json.loads(repeated.stdout)["losses"]) == (0, [])


def test_a_record_is_shown_and_corrected(kept: Settings, tmp_path: Path) -> None:
    shown = shell(kept, "orderflow quarantine show 4", tmp_path).stdout
    assert "|.]0;x.....{|" in shown and shown.replace("\n", "").isprintable()
    as_json = json.loads(shell(kept, "orderflow quarantine show 4 --json", tmp_path).stdout)
    assert (base64.b64decode(as_json["value"]), as_json["value_text"]) == (HOSTILE, None)
    assert as_json["quarantined_at"].endswith("Z")

    editor = tmp_path / "an editor"
    editor.write_text('#!/bin/sh\ncp "$1" seen\ncat corrected >"$1"\n')
    editor.chmod(0o755)
    (tmp_path / "corrected").write_bytes(order(4))
    edit = "orderflow quarantine replay --edit 4"
    for editor_program, hint in (("", "Set one"), ("true", ""), ("false", ""), ("/nowhere", "another")):
        refused = shell(kept, edit, tmp_path, EDITOR=editor_program, VISUAL="")
        assert (refused.returncode, "Traceback" in refused.stderr) == (2, False) and hint in refused.stderr
    still_bad = shell(kept, f"echo '{{}}' | {edit} --value-file -", tmp_path)
    assert (still_bad.returncode, "rejected" in still_bad.stdout) == (1, True)
    corrected = shell(kept, f"{edit} --by ann@desk --json", tmp_path, VISUAL=f"'{editor}'", EDITOR="false")
    assert (corrected.returncode, json.loads(corrected.stdout)["result"]) == (0, "stored")
    assert (tmp_path / "seen").read_bytes() == HOSTILE
    assert select(
        kept, "SELECT record_value, corrected_value, status, resolved_by FROM orders_quarantine WHERE quarantine_id = 4"
    ) == [(HOSTILE, order(4), "replayed", "ann@desk")]
    assert shell(kept, edit, tmp_path, EDITOR="true").returncode == 2
    assert audit.run(kept).is_proven


def test_impossible_requests_are_reported(kept: Settings, tmp_path: Path) -> None:
    for arguments, code, words in (
        ("replay", 2, "--all"),
        ("replay --edit 1 --all", 2, "--edit cannot be combined with"),
        ("replay 1 --reason conflict", 2, "not both"),
        ("replay --value-file x", 2, "--edit ID"),
        ("replay --edit 1 --value-file nowhere", 2, "nowhere cannot be read"),
        ("replay 99", 2, "no record 99"),
        ("replay --reason no_reason", 2, "unknown reason no_reason"),
        ("replay --partition 7", 0, "No quarantined record matches."),
        ("discard 1", 2, "--because"),
        ("discard 1 --because ' '", 2, "1 to 1,000"),
        ("discard --because x", 2, "--all"),
        ("list --order-id x", 0, "No quarantined record matches."),
        ("show 99", 2, "no record 99"),
    ):
        result = shell(kept, f"orderflow quarantine {arguments}", tmp_path, COLUMNS="200", TERM="dumb")
        assert (result.returncode, words in result.stderr) == (code, True), (arguments, result.stderr)
        assert "Traceback" not in result.stderr and not result.stdout
    first, second = (shell(kept, "orderflow quarantine discard 1 --because x", tmp_path) for _ in range(2))
    assert (first.returncode, second.returncode) == (0, 1)
    assert audit.run(kept).is_proven
