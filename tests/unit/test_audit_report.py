"""The audit's report: its counts and sentence, and the stored result."""

from __future__ import annotations

from datetime import datetime

import msgspec
import pytest

from orderflow.audit.report import LISTED, Finding, Report
from orderflow.store.audits import Audit

NOW = datetime(2025, 1, 15, 14, 30, 45, 123456)  # noqa: DTZ001 - as the server returns times


@pytest.mark.parametrize(
    "report",
    [
        Report(records=1000, stored=1000),
        Report(records=1, duplicates=1),
        Report(records=1000, counts={"missing": 1}),
        Report(records=1000, counts={"missing": 2, "rollup": 3}),
    ],
)
def test_a_stored_result_is_consistent_until_a_column_is_changed(report: Report) -> None:
    stored = Audit(
        NOW, is_proven=report.is_proven, records=report.records, findings=report.findings, sentence=report.sentence()
    )
    assert stored.is_consistent
    other = {"is_proven": not stored.is_proven, "records": 999, "findings": stored.findings + 1, "sentence": ""}
    for column, value in other.items():
        assert not msgspec.structs.replace(stored, **{column: value}).is_consistent
    assert not msgspec.structs.replace(
        stored, is_proven=not stored.is_proven, findings=int(stored.is_proven)
    ).is_consistent


@pytest.mark.parametrize(
    "sentence",
    [
        "Not proven: among 1,000 records and the tables, 1 missing.",
        "Not proven: 1 finding among 1,000 records and the tables: 1 missing.",
    ],
)
def test_the_stored_sentence_of_an_earlier_version_is_consistent(sentence: str) -> None:
    stored = Audit(NOW, is_proven=False, records=1000, findings=1, sentence=sentence)
    assert stored.is_consistent
    assert not msgspec.structs.replace(stored, records=1001).is_consistent
    assert not msgspec.structs.replace(stored, is_proven=True, findings=0).is_consistent


def test_findings_beyond_the_listed_ones_are_counted() -> None:
    report = Report(records=1_000_000, stored=980_100, duplicates=9_900, quarantined=10_000)
    assert report.is_proven
    assert report.sentence() == "Proven: 1,000,000 records = 980,100 stored + 9,900 duplicates + 10,000 quarantined."
    for offset in range(LISTED + 5):
        report.add("missing", Finding(description="is missing", offset=offset))
    report.add("rollup", Finding(description="is wrong"))
    assert not report.is_proven
    assert (len(report.missing), report.counts["missing"]) == (LISTED, LISTED + 5)
    assert report.sentence() == (
        "Not proven: 1,000,000 records read, 106 findings: 105 missing, 1 wrong in the rollup."
    )
    assert report.summary()["rollup"] == [{"what": "is wrong"}]
    assert not Report().missing  # reports share no lists


def test_json_keys_are_stable() -> None:
    assert Report(removed_offsets=3).summary()["unreadable_offsets"] == 3
