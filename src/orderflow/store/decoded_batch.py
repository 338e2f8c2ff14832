"""A batch, and what the contract makes of its records."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import pyarrow as pa

from orderflow.contract import loader
from orderflow.contract.fast_path import decode_values
from orderflow.contract.order_ranges import range_check_of
from orderflow.errors import RecordRejected
from orderflow.settings import Settings
from orderflow.store.order_rows import as_rows
from orderflow.store.record_batch import RecordBatch


class DecodedBatch(NamedTuple):
    """A batch with the rows of its orders, the rejected records by batch index, and the unknown fields."""

    batch: RecordBatch
    rows: pa.Table
    rejected: Sequence[tuple[int, RecordRejected]]
    unknown_fields: pa.Table  # columns: name, batch_index


class BatchDecoder:
    """Applies the contract of these settings. `sort_by_last_digit`: see `as_rows`."""

    def __init__(self, settings: Settings, *, sort_by_last_digit: bool) -> None:
        self.contract = loader.contract_of(settings)
        self._range_check = range_check_of(settings)
        self._sort_by_last_digit = sort_by_last_digit

    def decode(self, batch: RecordBatch) -> DecodedBatch:
        """Apply the contract to every record."""
        decoded = decode_values(batch.values, self.contract, self._range_check)
        rows = as_rows(decoded.orders, batch, self.contract, sort_by_last_digit=self._sort_by_last_digit)
        return DecodedBatch(batch, rows, decoded.rejected, decoded.unknown_fields)
