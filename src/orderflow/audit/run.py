"""Runs the audit: compares the topic with a snapshot of the tables, then searches the tables for extra rows."""

from __future__ import annotations

import logging
import time

from orderflow.audit.accepted_losses import check_losses
from orderflow.audit.accounting import Accounting
from orderflow.audit.contract_versions import ContractVersions
from orderflow.audit.extra_rows import UnprovableRows, find_extra_orders, find_extra_quarantine_rows
from orderflow.audit.ledger_checks import check_ledger
from orderflow.audit.report import Report
from orderflow.audit.scope import find_scope
from orderflow.audit.table_checks import check_last_audit, check_structure, compare_rollup, compare_views
from orderflow.audit.topic_checks import check_cleanup_policies, check_removed_records
from orderflow.audit.topic_records import OnProgress, read_topics
from orderflow.audit.totals import compare_counters
from orderflow.contract import loader
from orderflow.errors import Contention
from orderflow.settings import Settings
from orderflow.store import schema, snapshot

log = logging.getLogger(__name__)

_ATTEMPTS, _RETRY_WAIT = 5, 1.0  # attempts if a table is altered during the audit, and seconds between two attempts


def run(settings: Settings, progress: OnProgress = lambda done, total: None, *, end_timeout: float = 10.0) -> Report:
    """Check every record that the ledger accounts for, and everything else in the tables.

    `progress` is called with the number of offsets read and their total. The audit reads a snapshot of the tables, so
    the sink can continue. Records that retention removes before they are read can no longer be proven, like those that
    had left the topic before. A compacted topic is a finding.

    If a table is altered during the audit, the snapshot ends and the audit restarts. A broker that restarts may report
    an older end: the audit waits `end_timeout` seconds until each partition ends at the ledger's position or later.

    Raises TopicMissing, TopicUnusable, TopicRecreated, OffsetsLost (a partition ends before the ledger's position),
    KafkaUnavailable, KafkaRefused, DatabaseUnavailable, DatabaseRefused, and Contention after several attempts.
    """
    for attempt in range(1, _ATTEMPTS + 1):
        try:
            return _run_once(settings, progress, end_timeout)
        except Contention as contention:
            if attempt == _ATTEMPTS:
                raise
            log.warning("%s The audit restarts.", contention.message)
            time.sleep(_RETRY_WAIT)
    raise AssertionError("the last attempt returns or raises")


def _run_once(settings: Settings, progress: OnProgress, end_timeout: float) -> Report:
    # Use the latest contract version instead of ORDER_CONTRACT, because the table has its columns.
    stored = schema.stored_contracts(settings.for_reading)
    settings = loader.with_contract(settings, stored.contracts[stored.newest_id])
    with snapshot.open_snapshot(settings) as connection:
        versions = ContractVersions(connection, loader.contract_of(settings))
        scope = find_scope(settings, connection, end_timeout)
        report = Report(
            topics_gone=[*scope.topics_gone],
            losses=[*scope.losses],
            lost_offsets=sum(loss.end_offset - loss.first_offset for loss in scope.losses),
            removed_offsets=scope.removed_offsets,
            before_ledger=sum(partition.entry.first_offset for partition in scope.partitions),
            not_yet_stored=scope.not_yet_stored,
        )
        check_structure(settings, report)
        check_cleanup_policies(settings, scope, report)
        check_removed_records(settings, scope, report)
        check_ledger(settings, scope, report)
        versions.check(scope, report)
        accounting = Accounting(connection, versions, report)
        read_topics(settings, scope, report, accounting.account, progress)
        unprovable = UnprovableRows()
        find_extra_orders(connection, scope, unprovable, report)
        find_extra_quarantine_rows(connection, scope, accounting.quarantine_rows, unprovable, report)
        report.unprovable = unprovable.rows.total()
        check_losses(scope, report)
        compare_counters(scope, unprovable, report)
        compare_rollup(connection, report)
        compare_views(connection, settings, report)
        check_last_audit(connection, report)
        return report
