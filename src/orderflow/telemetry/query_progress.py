"""The progress of a Spark query, as the engine reports it and the metrics show it."""

from __future__ import annotations

from typing import Any, Self

import msgspec


class QueryProgress(msgspec.Struct, frozen=True):
    """A micro-batch, with the fields of Spark's StreamingQueryProgress.

    `most_offsets_behind` is the largest lag of a partition, in records.
    """

    batch_id: int
    input_rows_per_second: float
    processed_rows_per_second: float
    duration_seconds: dict[str, float]  # by step: addBatch, queryPlanning, …
    most_offsets_behind: int | None

    @classmethod
    def from_spark(cls, progress: Any) -> Self:
        """`progress` is a StreamingQueryProgress of a query with one source."""
        [source] = progress["sources"]
        metrics = source["metrics"] or {}
        return cls(
            batch_id=int(progress["batchId"]),
            input_rows_per_second=_rate(progress["inputRowsPerSecond"]),
            processed_rows_per_second=_rate(progress["processedRowsPerSecond"]),
            duration_seconds={step: milliseconds / 1000 for step, milliseconds in progress["durationMs"].items()},
            most_offsets_behind=int(metrics["maxOffsetsBehindLatest"])
            if metrics.get("avgOffsetsBehindLatest")
            else None,
        )


def _rate(value: object) -> float:
    """Return a rate; 0 where Spark reports NaN or nothing, because no time has passed."""
    return float(value) if isinstance(value, int | float) and value == value else 0.0  # noqa: PLR0124
