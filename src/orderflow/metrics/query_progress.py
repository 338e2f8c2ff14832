"""The progress of a Spark query, as the engine reports it and the metrics show it."""

from __future__ import annotations

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
