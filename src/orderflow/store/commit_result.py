"""What the commit of a batch reports: the number of records by outcome, and the time of each step."""

from __future__ import annotations

import time
from collections import Counter
from typing import NamedTuple


class CommitResult(NamedTuple):
    """The outcome of a batch. Records that an earlier transaction accounted for are not counted."""

    stored: int = 0
    duplicates: int = 0
    quarantined: Counter[str] = Counter()  # records by reason
    unknown_fields: Counter[str] = Counter()

    @property
    def records(self) -> int:
        """The number of records."""
        return self.stored + self.duplicates + self.quarantined.total()

    def plus(self, other: CommitResult) -> CommitResult:
        """Return the sum of both."""
        return CommitResult(
            self.stored + other.stored,
            self.duplicates + other.duplicates,
            self.quarantined + other.quarantined,
            self.unknown_fields + other.unknown_fields,
        )


class Timing(NamedTuple):
    """Seconds that each step of a transaction took, and the number of earlier attempts that met contention."""

    lock: float  # locks the ledger's rows: includes the waits for the predecessor and the check of the gap
    decode: float
    write: float  # writes the orders
    account: float  # writes conflicts, quarantine, rollup and ledger
    commit: float
    contentions: int = 0


class StepTimer:
    """Adds up the seconds of each step. `timing` is None until `finish`."""

    def __init__(self) -> None:
        self.timing: Timing | None = None
        self.contentions = 0
        self._laps = dict.fromkeys(Timing._fields[:-1], 0.0)
        self._last = time.perf_counter()

    def lap(self, step: str) -> None:
        """Add the time since the last lap to this step."""
        lap_end = time.perf_counter()
        self._laps[step] += lap_end - self._last
        self._last = lap_end

    def finish(self) -> None:
        """Set `timing`: a transaction was committed."""
        self.timing = Timing._make([*self._laps.values(), self.contentions])
