"""Spark's Real-Time Mode: `sink --trigger realtime` and `auto` on real servers."""

from __future__ import annotations

import json
import os
import signal
import time
from pathlib import Path

import msgspec
import psutil
import pyspark
import pytest
from confluent_kafka import Producer

from orderflow import audit, topic
from orderflow.embedded.process import Process
from orderflow.settings import Settings
from tests.support.processes import has_logged, run, running, until
from tests.support.sink_process import changed_sink
from tests.support.sql import raw_session, select

pytestmark = [
    pytest.mark.parametrize("database", ["mysql"], indirect=True),
    pytest.mark.skipif(pyspark.__version__ < "4.1", reason="Spark has no Real-Time Mode before 4.1"),
]
_ORDER = (
    '{{"customer_id": 7, "order_id": "ORDER-{:06d}", "product_name": "Tea", "product_category": "Food",'
    ' "unit_price": 1.10, "quantity": 3, "total_price": 3.30, "order_timestamp": "2025-01-15T14:30:45"}}'
)
_STARTED = "Real-Time Mode: each record is stored when it arrives."


def _send(settings: Settings, *numbers: int, partition: int = 0) -> None:
    producer = Producer(topic.client_config(settings))
    for number in numbers:
        producer.produce(settings.kafka_topic, _ORDER.format(number).encode(), partition=partition)
    producer.flush()


def _stored(settings: Settings) -> int:
    return int(select(settings, "SELECT COUNT(*) FROM orders")[0][0])


def _workers(sink: Process) -> list[psutil.Process]:
    daemons = [
        process
        for process in psutil.Process(sink.identity[0]).children(recursive=True)
        if process.status() != psutil.STATUS_ZOMBIE and "orderflow.spark.daemon" in process.cmdline()
    ]
    return [worker for daemon in daemons for worker in daemon.children()]


def _proven(settings: Settings) -> audit.Report:
    report = audit.run(settings)
    assert report.is_proven and not report.not_yet_stored, report.sentence()
    return report


def _until_running(settings: Settings, sink: Process) -> None:
    """Wait until real-time mode runs and has stored a record of each partition."""
    until(has_logged(sink, _STARTED), sink)
    before = _stored(settings)
    for partition in range(3):
        _send(settings, 900_000 + partition, partition=partition)
    until(lambda: _stored(settings) == before + 3, sink)


def test_a_lone_record_is_stored_within_a_second_and_a_killed_worker_loses_nothing(
    settings: Settings, tmp_path: Path
) -> None:
    topic.get_or_create(settings)
    with running(settings, "sink", "--trigger", "realtime", folder=tmp_path) as sink:
        _until_running(settings, sink)
        waits = []
        for number in range(1, 6):
            before, sent_at = _stored(settings), time.monotonic()
            _send(settings, number)
            while _stored(settings) == before and time.monotonic() - sent_at < 30:
                time.sleep(0.01)
            waits.append(time.monotonic() - sent_at)
        # Spark holds back the last record of a partition until another row follows. Without the flush rows, it would be
        # stored at the end of the batch, after a minute. One record of five may fall on the end of a batch.
        assert sorted(waits)[2] < 1, waits
        assert _stored(settings) == 8

        with raw_session(settings) as session:
            # While this session locks the ledger, no transaction commits, and records accumulate in the workers.
            cursor = session.cursor()
            cursor.execute("SELECT * FROM orders_ledger FOR UPDATE")
            cursor.fetchall()
            _send(settings, *range(1001, 3001), partition=1)
            waiting = "SELECT COUNT(*) FROM performance_schema.data_locks WHERE LOCK_STATUS = 'WAITING'"
            until(lambda: select(settings, waiting)[0][0], sink)
            for worker in _workers(sink):
                worker.kill()
        until(lambda: _stored(settings) == 2008, sink)
        assert has_logged(sink, "Restarting at the ledger's position")()
    assert _proven(settings).stored == 2008


def test_batch_ends_restart_nothing(settings: Settings, tmp_path: Path) -> None:
    """At the end of each batch, the partitions' tasks may move to other workers."""
    topic.get_or_create(settings)
    realtime = msgspec.structs.replace(settings, sink_trigger="realtime")
    sink = changed_sink(realtime, tmp_path, "spark", realtime_batch="5 seconds")
    sink.start()
    try:
        _until_running(settings, sink)
        sent = run(settings, "produce", "--count", "6000", "--rate", "200", cwd=tmp_path)
        assert sent.returncode == 0, sent.stderr
        until(lambda: _stored(settings) == 6003, sink)
        reports = [json.loads(line) for line in sink.last_lines(1000) if line.startswith("{")]
        assert max(report["query"]["batch_id"] for report in reports if report["query"]) >= 3
        assert not has_logged(sink, "Restarting at")(), sink.last_lines()
    finally:
        sink.kill()
    _proven(settings)


def test_auto_drains_a_backlog_by_micro_batches_first(settings: Settings, tmp_path: Path) -> None:
    sent = run(settings, "produce", "--count", "30000", cwd=tmp_path)
    assert sent.returncode == 0, sent.stderr
    with running(settings, "sink", "--trigger", "auto", folder=tmp_path) as sink:
        until(has_logged(sink, _STARTED), sink)
        assert _stored(settings) == 30_000
        _until_running(settings, sink)
    _proven(settings)


def test_too_few_task_slots_are_named(settings: Settings, tmp_path: Path) -> None:
    topic.get_or_create(settings)
    with running(settings, "sink", "--trigger", "auto", "--master", "local[3]", folder=tmp_path) as sink:
        until(has_logged(sink, "3 partitions need 4 task slots, and Spark has 3"), sink)
        _send(settings, 1)
        until(lambda: _stored(settings) == 1, sink)
        assert not has_logged(sink, _STARTED)()
        os.kill(sink.identity[0], signal.SIGTERM)
        until(lambda: not sink.alive)
        assert sink.exit_code == 0
    _proven(settings)
