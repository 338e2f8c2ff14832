"""The client that reads a record's headers again ends with the thread that uses it."""

from __future__ import annotations

import threading

import psutil

from orderflow.pipeline import raw_headers
from orderflow.settings import Settings
from tests.support.processes import until


def test_a_client_ends_with_its_thread() -> None:
    process = psutil.Process()
    before = process.num_threads()
    settings = Settings(kafka_bootstrap_servers="127.0.0.1:9")
    for _ in range(10):
        thread = threading.Thread(target=raw_headers._reader, args=(settings,))
        thread.start()
        thread.join()
    until(lambda: process.num_threads() <= before)
