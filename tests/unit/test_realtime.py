"""How a worker of Real-Time Mode reports its error."""

from __future__ import annotations

import os
from pathlib import Path
from unittest import mock

import pytest

from orderflow.errors import Interrupted
from orderflow.positions.kafka_topic_reader import KafkaTopicReader
from orderflow.settings import Settings
from orderflow.spark.realtime import Committer, read_failure


@pytest.mark.parametrize("has_scratch", [True, False])
def test_the_error_of_a_worker_is_written_or_printed(
    has_scratch: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    exit_process = mock.Mock()
    monkeypatch.setattr(os, "_exit", exit_process)
    committer = Committer(KafkaTopicReader(Settings(), "id"), tmp_path if has_scratch else None, True)
    committer._fail(MemoryError("the cause"))
    exit_process.assert_called_once_with(1)
    printed, written = capsys.readouterr().err, read_failure(tmp_path)
    assert ("the cause" in printed) != has_scratch
    assert (isinstance(written, Interrupted) and "the cause" in written.message) == has_scratch
    committer._error = None
    committer.finish()
