"""Consumers as people write them by hand: a short script, which stands beside this file."""

from __future__ import annotations

import sys
from pathlib import Path

from orderflow.bench.arena import Arena
from orderflow.bench.rivals.rival import Rival
from orderflow.embedded.process import Process
from orderflow.settings import Settings


class _Consumer(Rival):
    way: str

    def _process(self, arena: Arena, settings: Settings) -> Process:
        script = Path(__file__).with_name("consumer.py")
        return arena.command(self.name, settings, [sys.executable, str(script), self.way])


class Upsert(_Consumer):
    """INSERT … ON DUPLICATE KEY UPDATE in batches of 1,000."""

    name, way = "hand-written, upsert", "upsert"
    guarantees = "at least once; the last of two orders with one id wins; no record of bad messages but its log"


class LoadData(_Consumer):
    """LOAD DATA LOCAL in batches of 10,000."""

    name, way = "hand-written, LOAD DATA", "load-data"
    guarantees = "at least once; the first of two orders with one id wins, values that do not fit are bent silently"
