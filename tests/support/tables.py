"""What the store wrote to its tables: the content, and the invariants of every transaction."""

from __future__ import annotations

from typing import Any

from orderflow.settings import Settings
from tests.support.sql import raw_session, select_all


def contents(settings: Settings) -> list[list[tuple[Any, ...]]]:
    """Return everything stored, without the times of the transactions."""
    name = settings.mysql_table
    return select_all(
        settings,
        f"SELECT o.*, kafka_partition, kafka_offset, produced_at FROM {name} o ORDER BY order_id",
        "SELECT topic, kafka_partition, first_offset, next_offset, `stored`, duplicates, quarantined, unknown_fields"
        f" FROM {name}_ledger ORDER BY 1, 2",
        "SELECT topic, kafka_partition, kafka_offset, record_key, record_value, record_headers, produced_at, reason,"
        f" detail, order_id, status FROM {name}_quarantine ORDER BY 1, 2, 3",
        f"SELECT * FROM {name}_by_minute ORDER BY 1, 2, 3",
    )


def delete_rows(settings: Settings) -> None:
    """Delete what was stored, so that the next batch starts at offset 0 again."""
    with raw_session(settings) as session:
        for table in ("orders", "orders_ledger", "orders_quarantine", "orders_by_minute"):
            session.cursor().execute(f"DELETE FROM {table}")
        session.commit()


def assert_consistent(settings: Settings) -> None:
    """Check the invariants of every transaction: each record is accounted for, and the rollup equals the table.

    The rollup's key, like most collations, ignores trailing spaces.
    """
    totals = (
        "SELECT DATE_FORMAT({}, '%Y-%m-%d %H:%i'), RTRIM(product_category COLLATE utf8mb4_bin),"
        " SUM({}), SUM({}), SUM({}) FROM {} GROUP BY 1, 2 ORDER BY 1, 2"
    )
    by_minute, per_minute, counted, [(records, accounted, *ledger_totals)], [(stored, quarantined)] = select_all(
        settings,
        *(
            totals.format(*columns)
            for columns in (
                ("minute", "orders", "units", "revenue", "orders_by_minute"),
                ("minute", "orders", "units", "revenue", "orders_per_minute"),
                ("order_timestamp", "1", "quantity", "total_price", "orders"),
            )
        ),
        "SELECT COALESCE(SUM(next_offset - first_offset), 0), COALESCE(SUM(`stored` + duplicates + quarantined), 0),"
        " COALESCE(SUM(`stored`), 0), COALESCE(SUM(quarantined), 0) FROM orders_ledger",
        "SELECT (SELECT COUNT(*) FROM orders), (SELECT COUNT(*) FROM orders_quarantine)",
    )
    assert by_minute == per_minute == counted
    assert records == accounted
    assert ledger_totals == [stored, quarantined]
