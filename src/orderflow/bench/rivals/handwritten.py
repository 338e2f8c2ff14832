"""Consumers as people write them by hand: short scripts, which stand beside this file."""

from __future__ import annotations

import sys
from pathlib import Path

from orderflow.bench.arena import Arena
from orderflow.bench.rivals.rival import Rival
from orderflow.embedded.process import Process
from orderflow.settings import Settings


class _Script(Rival):
    script: str

    def _process(self, arena: Arena, settings: Settings) -> Process:
        return arena.command(self.name, settings, [sys.executable, str(Path(__file__).with_name(self.script))])


class Upsert(_Script):
    """INSERT … ON DUPLICATE KEY UPDATE in batches of 1,000."""

    name, script = "hand-written, upsert", "upsert.py"
    guarantees = "at least once; the last of two orders with one id wins; no record of bad messages but its log"


class LoadData(_Script):
    """LOAD DATA LOCAL in batches of 10,000."""

    name, script = "hand-written, LOAD DATA", "load_data.py"
    guarantees = "at least once; the first of two orders with one id wins, values that do not fit are bent silently"
