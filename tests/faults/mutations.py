"""The sink made wrong on purpose, in a copy of the tree: the suite must notice each time.

`python -m tests.faults.mutations` prints a line per mutation, and ends with exit code 1 if one was not noticed. With
names, only these.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

_TREE = Path(__file__).resolve().parents[2]
_PATIENCE = 60  # seconds that a mutated sink is given to do what it no longer can


class Mutation(NamedTuple):
    """In `path`, each text becomes another; then the test that does `fault` must fail."""

    name: str
    fault: str
    path: str
    changes: Mapping[str, str]


_QUARANTINE = "        quarantine.insert(connection, source, run, bad, stored_at)\n"
_COMMIT = "        connection.commit()\n"
_WRITER = "src/orderflow/store/writer.py"

MUTATIONS = (
    Mutation(
        "ledger update removed",
        "database_line_cut",
        "src/orderflow/store/sql/advance_ledger.sql",
        {"next_offset = VALUES(next_offset),": "next_offset = next_offset + 0 * VALUES(next_offset),"},
    ),
    Mutation(
        "skip rule one too far",
        "partitions_added",  # elsewhere most runs begin after a transaction's marker, and the rule skips nothing
        "src/orderflow/store/run.py",
        {"first >= positions": "first > positions", "if offset >= positions": "if offset > positions"},
    ),
    Mutation(
        "skip rule one too short",
        "zombie_that_awakes_late",
        "src/orderflow/store/run.py",
        {"if offset >= positions": "if offset >= -1 + positions"},
    ),
    Mutation(
        "conflict treated as duplicate",
        "garbage",
        "src/orderflow/store/orders.py",
        {"    if not differing:\n        return None\n": "    if differing or not differing:\n        return None\n"},
    ),
    Mutation(
        "commit before quarantine",
        "killed_at_insert_quarantine_after",
        _WRITER,
        {_QUARANTINE: "", _COMMIT: _COMMIT + _QUARANTINE + _COMMIT},
    ),
)


def main() -> int:
    unnoticed = 0
    for mutation in (mutation for mutation in MUTATIONS if mutation.name in sys.argv[1:] or not sys.argv[1:]):
        with tempfile.TemporaryDirectory(prefix="orderflow-mutation-") as folder:
            tree = Path(folder) / "tree"
            shutil.copytree(_TREE, tree, ignore=shutil.ignore_patterns(".*", "build", "*.egg-info", "__pycache__"))
            _mutate(tree, mutation)
            noticed = _fails(tree, mutation.fault)
        unnoticed += not noticed
        print(f"{mutation.name}: {'noticed' if noticed else 'NOT NOTICED'} by {mutation.fault}", flush=True)
    return 1 if unnoticed else 0


def _mutate(tree: Path, mutation: Mutation) -> None:
    path = tree / mutation.path
    text = path.read_text()
    for found, changed in mutation.changes.items():
        assert text.count(found) == 1, f"{found!r} is not in {path} once"
        text = text.replace(found, changed)
    path.write_text(text)


def _fails(tree: Path, fault: str) -> bool:
    """Whether the fault's test fails there, for the reason that a mutation gives: a wait or a proof."""
    done = subprocess.run(
        [
            *(sys.executable, "-m", "pytest", "tests/faults/test_actions.py", "-p", "no:cacheprovider", "-W", "ignore"),
            *("--timeout", str(_PATIENCE), "--tb", "short", "-k", f"direct-{fault}]"),
        ],
        cwd=tree,
        env=os.environ | {"PYTHONPATH": str(tree / "src")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode in (0, 1), done.stdout + done.stderr
    reasons = [line for line in done.stdout.splitlines() if line.startswith("E  ")]
    print("\n".join(reasons[:3]), file=sys.stderr)
    return done.returncode == 1


if __name__ == "__main__":
    sys.exit(main())
