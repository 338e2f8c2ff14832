"""Typical hand-written consumers: the short script consumer.py in this folder."""

from __future__ import annotations

import sys
from pathlib import Path

from benchmarks.arena import Arena
from benchmarks.rivals.rival import Rival
from orderflow.embedded.process import Process
from orderflow.settings import Settings


class _Consumer(Rival):
    method: str

    def _process(self, arena: Arena, settings: Settings) -> Process:
        script = Path(__file__).with_name("consumer.py")
        return arena.command(self.name, settings, [sys.executable, str(script), self.method])


class Upsert(_Consumer):
    """INSERT … ON DUPLICATE KEY UPDATE in batches of 1,000."""

    name, method = "hand-written, upsert", "upsert"
    guarantees = "at least once; the last of two orders with one id wins; bad messages are only logged"


class LoadData(_Consumer):
    """LOAD DATA LOCAL in batches of 10,000."""

    name, method = "hand-written, LOAD DATA", "load-data"
    guarantees = "at least once; the first of two orders with one id wins; invalid values are converted silently"
