"""The fast path: decodes many messages at once into columns, with the same result as the exact path, many times faster.

native.c decodes orders in the usual notation, and RE2 checks the patterns of whole columns. Every other message
takes the exact path (`read_exactly`), which accepts it or returns the reason of its rejection. A property test verifies
that both paths agree.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from orderflow.contract import native
from orderflow.contract.definition import DEFAULT, STANDARD_FIELDS, Contract, Kind, Order
from orderflow.contract.exact_path import RangeCheck, read_exactly
from orderflow.contract.patterns import as_re2
from orderflow.errors import RecordRejected


class DecodedValues(NamedTuple):
    """The orders and rejections of message values. `orders` has the columns of the contract's schema.

    A batch_index is a position in the batch.
    """

    contract: Contract
    orders: pa.Table
    rejected: Sequence[tuple[int, RecordRejected]]
    unknown_fields: pa.Table  # name and batch_index of each, unless the contract keeps them

    @property
    def results(self) -> list[Order | RecordRejected]:
        """One result for each value, in order."""
        results: list[Order | RecordRejected | None] = [None] * (self.orders.num_rows + len(self.rejected))
        orders = as_orders(self.orders, self.contract)
        for batch_index, order in zip(self.orders["batch_index"].to_pylist(), orders, strict=True):
            results[batch_index] = order
        for batch_index, rejected in self.rejected:
            results[batch_index] = rejected
        return results  # type: ignore[return-value] # every element is set


def decode_values(
    values: Sequence[bytes | None], contract: Contract = DEFAULT, range_check: RangeCheck | None = None
) -> DecodedValues:
    """Decode a batch of message values. Never raises because of a value's content."""
    orders, unknown_fields = native.read(pa.array(values, pa.large_binary()), contract)
    orders = _keep_matching(orders, contract)
    if range_check:
        orders = orders.filter(pa.array([not range_check(order) for order in as_orders(orders, contract)], pa.bool_()))
    if orders.num_rows == len(values):
        return DecodedValues(contract, orders, (), unknown_fields)
    fast_indexes = orders["batch_index"]
    if unknown_fields.num_rows:
        unknown_fields = unknown_fields.filter(pc.is_in(unknown_fields["batch_index"], fast_indexes.combine_chunks()))
    accepted: list[tuple[Order, int]] = []
    rejected: list[tuple[int, RecordRejected]] = []
    exact_unknown_fields: list[tuple[str, int]] = []
    for batch_index in sorted({*range(len(values))}.difference(fast_indexes.to_pylist())):
        try:
            order, names = read_exactly(values[batch_index], contract, range_check)
        except RecordRejected as rejection:
            rejected.append((batch_index, rejection))
        else:
            accepted.append((order, batch_index))
            exact_unknown_fields += [(name, batch_index) for name in names]
    if accepted:
        exact_orders = as_table([order for order, _ in accepted], [index for _, index in accepted], contract)
        orders = pa.concat_tables([orders, exact_orders]).sort_by("batch_index") if orders.num_rows else exact_orders
    if exact_unknown_fields:
        names, batch_indexes = zip(*exact_unknown_fields, strict=True)
        columns = [pa.array(map(_printable, names)), pa.array(batch_indexes, pa.int64())]
        unknown_fields = pa.concat_tables([unknown_fields, pa.table(columns, schema=unknown_fields.schema)])
    return DecodedValues(contract, orders, rejected, unknown_fields)


def _printable(name: str) -> str:
    """Return the name without unpaired surrogates, which Arrow's texts cannot have."""
    return name.encode("utf-8", "backslashreplace").decode()


def _keep_matching(orders: pa.Table, contract: Contract) -> pa.Table:
    """Return the orders whose texts match the patterns and the allowed values."""
    keep = None
    for field in contract.fields if orders.num_rows else ():
        texts, checks = orders[field.name], []
        if field.pattern:
            checks.append(pc.match_substring_regex(texts, as_re2(field.pattern)))
        if field.values:
            checks.append(pc.is_in(texts, pa.array(field.values)))
        for check in checks:
            passes = pc.or_(check.fill_null(False), pc.is_null(texts)) if field.is_nullable else check
            keep = passes if keep is None else pc.and_(keep, passes)
    return orders if keep is None or pc.all(keep).as_py() else orders.filter(keep)


def as_table(orders: Sequence[Order], batch_indexes: Sequence[int], contract: Contract = DEFAULT) -> pa.Table:
    """Return the orders as columns, like `decode_values`."""
    columns: list[list[Any]] = [[getattr(order, name) for order in orders] for name in STANDARD_FIELDS]
    for index, field in enumerate(contract.custom_columns):
        values = [order.custom_values[index] for order in orders]
        if field.kind is Kind.TIMESTAMP:
            values = [value and _as_text(value, field.scale) for value in values]
        columns.append(values)
    return pa.table([*columns, batch_indexes], schema=contract.arrow_schema)


def _as_text(moment: Any, digits: int) -> str:
    text = str(moment.isoformat(timespec="microseconds"))
    return text[: 20 + digits] if digits else text[:19]


def as_orders(table: pa.Table, contract: Contract = DEFAULT) -> Iterable[Order]:
    """Return the table's rows as orders."""
    columns = [table[name].to_pylist() for name in STANDARD_FIELDS]
    if not contract.custom_columns:
        return map(Order, *columns)
    custom_values = [
        (table[field.name].cast(pa.timestamp("us")) if field.kind is Kind.TIMESTAMP else table[field.name]).to_pylist()
        for field in contract.custom_columns
    ]
    return map(Order, *columns, zip(*custom_values, strict=True))
