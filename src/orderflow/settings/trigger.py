"""The values of SINK_TRIGGER."""

from __future__ import annotations

import re

_INTERVAL = re.compile(r"([1-9][0-9]{0,5}) (millisecond|second|minute|hour)s?")
_SECONDS = {"millisecond": 0.001, "second": 1.0, "minute": 60.0, "hour": 3600.0}


def parse_trigger(text: str) -> str:
    """Return the trigger. Raises ValueError with the reason if it is invalid."""
    if text not in ("micro-batch", "realtime", "auto") and not _INTERVAL.fullmatch(text):
        raise ValueError('it is neither micro-batch, realtime nor auto, nor an interval such as "2 seconds"')
    return text


def interval_seconds(trigger: str) -> float:
    """Return the seconds of an interval; 0 for the other triggers."""
    interval = _INTERVAL.fullmatch(trigger)
    return int(interval[1]) * _SECONDS[interval[2]] if interval else 0.0
