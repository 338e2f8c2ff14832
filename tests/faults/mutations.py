"""Deliberate errors (mutations) in sink and audit, in a copy of the tree. The tests must detect each of them.

`python -m tests.faults.mutations` prints a line per mutation, and ends with exit code 1 if one was not detected.
Arguments select mutations by name.
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

from tests.support import lifeline

_TREE = Path(__file__).resolve().parents[2]
_TIMEOUT = 60  # seconds; how long a test waits for something that a mutated sink may never do
_FAULTS = "tests/faults"


class Mutation(NamedTuple):
    """Replaces texts in `path`; then the test of `fault` must fail.

    `fault` is a fault of the direct engine or, in another file of `tests`, an expression for pytest -k.
    """

    name: str
    fault: str
    path: str
    changes: Mapping[str, str]
    tests: str = _FAULTS


_QUARANTINE = (
    "        quarantine.insert(self._connection, self._topic_reader, decoded.batch, to_quarantine, stored_at)\n"
)
_COMMIT = "        self._commit()\n"
_TRANSACTION = "src/orderflow/store/transaction.py"
_RUN = "src/orderflow/audit/run.py"
_PARTITION = "src/orderflow/audit/partition.py"
_REASONS = "src/orderflow/audit/reasons.py"
_STORED_ROWS = "src/orderflow/audit/stored_rows.py"
_CONTRACT_VERSIONS = "src/orderflow/audit/contract_versions.py"
_LEDGER = "tests/integration/test_store_ledger.py"
_FINDINGS = "tests/integration/test_audit_findings.py"
_CHANGES = "tests/integration/test_audit_changes.py"
_AUDIT_ROWS = "tests/unit/test_audit_rows.py"
_VERSIONS = "tests/integration/test_contract_versions.py"

MUTATIONS = (
    Mutation(
        "an altered table is not noticed",
        "column_was_altered",
        _TRANSACTION,
        {"        self._context.check_table(self._connection)": "        "},
        "tests/integration/test_store_transactions.py",
    ),
    Mutation(
        "ledger update removed",
        "database_line_cut",
        "src/orderflow/store/sql/ledger/advance_ledger.sql",
        {"next_offset = VALUES(next_offset),": "next_offset = next_offset + 0 * VALUES(next_offset),"},
    ),
    Mutation(
        "skip rule one too far",
        "partitions_added",  # elsewhere most batches begin after a transaction marker, and the rule skips nothing
        "src/orderflow/store/record_batch.py",
        {"first >= positions": "first > positions", "if offset >= positions": "if offset > positions"},
    ),
    Mutation(
        "skip rule one too short",
        "zombie_that_awakes_late",
        "src/orderflow/store/record_batch.py",
        {"if offset >= positions": "if offset >= -1 + positions"},
    ),
    Mutation(
        "conflict treated as duplicate",
        "garbage",
        "src/orderflow/store/existing_orders.py",
        {
            '"in this record")):\n        return None\n': '"in this record")) or True:\n        return None\n',
        },
    ),
    Mutation(
        "commit before quarantine",
        "killed_at_insert_quarantine_after",
        _TRANSACTION,
        {_QUARANTINE: "", _COMMIT: f"        self._context.session.connection.commit()\n{_QUARANTINE}{_COMMIT}"},
    ),
    Mutation(
        "gap not checked",
        "test_a_gap_with_records_is_refused and mysql",
        _TRANSACTION,
        {".holds_records(partition, position, first)": ".holds_records(partition, position, position)"},
        _LEDGER,
    ),
    Mutation(
        "gap checked without its last offset",
        "test_a_gap_with_records_is_refused and mysql",
        _TRANSACTION,
        {".holds_records(partition, position, first)": ".holds_records(partition, position, first - 1)"},
        _LEDGER,
    ),
    Mutation(
        "audit: adopted rows are believed",
        "moved and mysql and forged",
        "src/orderflow/audit/extra_rows.py",
        {"    _check_adoption(connection, marked, report)\n": ""},
        _CHANGES,
    ),
    Mutation(
        "audit: the ledger's first offset is believed",
        "moved and mysql and first_offset",
        "src/orderflow/audit/ledger_checks.py",
        {"if first < end and _holds_records": "if first > end and _holds_records"},
        _CHANGES,
    ),
    Mutation(
        "audit: quarantined values are not read again",
        "moved and mysql and good",
        "src/orderflow/audit/quarantined_rows.py",
        {"    if not descriptions:\n": "    if descriptions:\n"},
        _CHANGES,
    ),
    Mutation(
        "audit: conflicts are believed",
        "quarantine_reason",
        _REASONS,
        {"    if row is None or is_same:\n": "    if is_same:\n"},
        _AUDIT_ROWS,
    ),
    Mutation(
        "audit: refusals are believed",
        "quarantine_reason",
        _REASONS,
        {"if row is None or not _existed_at(row, quarantined.record, quarantined_at):": "if row is None or row:"},
        _AUDIT_ROWS,
    ),
    Mutation(
        "audit: produced_at is believed",
        "changed_column and mysql and orders-produced_at",
        _STORED_ROWS,
        {"    if not is_timestamp(row.produced_at, record.timestamp):\n": "    if record.timestamp < -1:\n"},
        _CHANGES,
    ),
    Mutation(
        "audit: stored_at is believed",
        "changed_column and mysql and orders-stored_at",
        "src/orderflow/audit/totals.py",
        {"elif counts_agree and _sum_of_times": "elif not counts_agree and _sum_of_times"},
        _CHANGES,
    ),
    Mutation(
        "audit: losses are not counted",
        "moved and mysql and loss and deleted",
        "src/orderflow/audit/accepted_losses.py",
        {"in_ledger != accepted:": "in_ledger < accepted:"},
        _CHANGES,
    ),
    Mutation(
        "audit: a row's coordinates are those of any record",
        "test_a_change_is_found and mysql and (another and coordinates)",
        _PARTITION,
        {"and self._row_hashes[offset - self.start] == _hash(order_id)": ""},
        _FINDINGS,
    ),
    Mutation(
        "audit: any record of an order_id may be the stored one",
        "moved and mysql and duplicate and offset",
        _STORED_ROWS,
        {"elif _has_later_coordinates(": "elif not row and _has_later_coordinates("},
        _CHANGES,
    ),
    Mutation(
        "audit: the rollup is believed",
        "test_a_change_is_found and mysql and rollup and cent",
        _RUN,
        {"        compare_rollup(connection, report)\n": ""},
        _FINDINGS,
    ),
    Mutation(
        "audit: views are believed",
        "changed_view and mysql and more",
        _RUN,
        {"        compare_views(connection, settings, report)\n": ""},
        _CHANGES,
    ),
    Mutation(
        "audit: engines are believed",
        "another_engine and mysql and orders_ledger",
        "src/orderflow/store/table_definition.py",
        {'if str(existing.engine).upper() != "INNODB":': "if existing.engine is None:"},
        _CHANGES,
    ),
    Mutation(
        "contract: its start is not recorded",
        "three_versions and mysql",
        _TRANSACTION,
        {"                contracts.record_start(": "                len((self,)) or contracts.record_start("},
        _VERSIONS,
    ),
    Mutation(
        "contract: an earlier one may still store",
        "outdated_contract_is_refused and mysql",
        "src/orderflow/store/contracts.py",
        {"if locked_id > contract_id:": "if False:"},
        _VERSIONS,
    ),
    Mutation(
        "audit: one contract for all records",
        "three_versions and mysql",
        _CONTRACT_VERSIONS,
        {"contract_id if contract_id in self._versions.contracts else 0": "self._versions.newest_id"},
        _VERSIONS,
    ),
    Mutation(
        "audit: an earlier contract may follow a later one",
        "moved and mysql and forged",
        _CONTRACT_VERSIONS,
        {"if contract_id <= previous_id:": "if contract_id < 0:"},
        _CHANGES,
    ),
    Mutation(
        "audit: custom columns of adopted rows are believed",
        "moved and mysql and custom",
        "src/orderflow/store/statements.py",
        {"for field in contract.custom_columns)": "for field in ())"},
        _CHANGES,
    ),
)


def main() -> int:
    lifeline.end_processes_with_this_run()
    undetected = 0
    for mutation in (mutation for mutation in MUTATIONS if mutation.name in sys.argv[1:] or not sys.argv[1:]):
        with tempfile.TemporaryDirectory(prefix="orderflow-mutation-") as folder:
            tree = Path(folder) / "tree"
            shutil.copytree(_TREE, tree, ignore=shutil.ignore_patterns(".*", "build", "*.egg-info", "__pycache__"))
            path = tree / mutation.path
            path.write_text(mutated(path.read_text("utf-8"), mutation), "utf-8")
            detected = _fails(tree, mutation)
        undetected += not detected
        print(f"{mutation.name}: {'detected' if detected else 'NOT DETECTED'} by {mutation.fault}", flush=True)
    return 1 if undetected else 0


def mutated(text: str, mutation: Mutation) -> str:
    """Return the file's text with the mutation's changes. Each text to replace must occur exactly once."""
    for old, new in mutation.changes.items():
        assert text.count(old) == 1, f"{old!r} is not in {mutation.path} once"
        text = text.replace(old, new)
    return text


def _fails(tree: Path, mutation: Mutation) -> bool:
    """Return whether the mutation's test fails for the expected reason: a wait or a proof."""
    chosen = f"test_direct and [{mutation.fault}]" if mutation.tests == _FAULTS else mutation.fault
    result = subprocess.run(
        [
            *(sys.executable, "-m", "pytest", mutation.tests, "-p", "no:cacheprovider", "-W", "ignore"),
            *("--timeout", str(_TIMEOUT), "--tb", "short", "-k", chosen),
        ],
        cwd=tree,
        env=os.environ | {"PYTHONPATH": str(tree / "src")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode in (0, 1), result.stdout + result.stderr
    reasons = [line for line in result.stdout.splitlines() if line.startswith("E  ")]
    print("\n".join(reasons[:3]), file=sys.stderr)
    return result.returncode == 1


if __name__ == "__main__":
    sys.exit(main())
