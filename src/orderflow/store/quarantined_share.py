"""Stops the sink if too many of the last records were quarantined, so that a wrong topic does not fill the disk."""

from __future__ import annotations

from collections.abc import Mapping

from orderflow.errors import TooManyQuarantined
from orderflow.settings import Settings

WINDOW_RECORDS = 100_000  # records that are counted at most: less than those of a day
_MIN_RECORDS = 1_000  # records from which the share is checked, to exclude chance


class QuarantinedShare:
    """Counts the quarantined records among the last `window_records`."""

    def __init__(self, settings: Settings, topic: str, window_records: int = WINDOW_RECORDS) -> None:
        self._settings, self._topic, self._window_records = settings, topic, window_records
        self._seen = self._quarantined = 0

    def add(self, records: int, quarantined: int, reasons: Mapping[str, int] | None = None) -> None:
        """Count records that were read, and the quarantined ones among them. `reasons` are shown.

        Raises TooManyQuarantined.
        """
        keep = max(0.0, min(1.0, (self._window_records - records) / max(1, self._seen)))
        self._seen = round(self._seen * keep) + records
        self._quarantined = round(self._quarantined * keep) + quarantined
        if self._seen >= _MIN_RECORDS and self._quarantined > self._seen * self._settings.quarantine_max_share:
            shown = f" ({', '.join(f'{count:,} {reason}' for reason, count in reasons.items())})" if reasons else ""
            raise TooManyQuarantined(
                f"{self._quarantined:,} of the last {self._seen:,} records of topic {self._topic} were"
                f" quarantined{shown}.",
                hint="The records read so far are stored or quarantined. Check KAFKA_TOPIC. To continue, raise"
                f" QUARANTINE_MAX_SHARE (now {self._settings.quarantine_max_share:g}; 1: never stop).",
            )
