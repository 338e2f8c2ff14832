"""`orderflow console` and `orderflow track` show orders of any contract."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from importlib import import_module

from orderflow.contract import exact_path
from orderflow.insights.track import TrackedOrder
from orderflow.store.viewer_queries import DisplayedOrder, map_custom_values
from orderflow.topic import Record
from tests.support import shop
from tests.support.corpus import ORDER

# The package's attributes of these names are the commands.
console, track = import_module("orderflow.cli.console"), import_module("orderflow.cli.track")
RECORD = Record(1, 7, 1_736_951_446_000, b"PO-2025-123", shop.VALUE)
CUSTOM = {
    "channel": "web",
    "coupon": None,
    "weight": "1.500",
    "gift": True,
    "paid_at": "2025-01-15T14:30:45.500000",
    "points": 3,
    "extra": '{"a":[1.0]}',
    "other_fields": '{"more":1}',
}


def test_json_has_the_custom_fields_by_name() -> None:
    order = exact_path.decode(shop.VALUE, shop.CONTRACT)
    shown = json.loads(console._as_json(RECORD, order, shop.CONTRACT.custom_columns))
    assert shown["produced_at"] == "2025-01-15 14:30:46.000"
    assert shown["order"] == CUSTOM | {
        "customer_id": "C-1",
        "order_id": "PO-2025-123",
        "product_name": "Yoga Mat",
        "product_category": "All",
        "unit_price": "45.90",
        "quantity": 2,
        "total_price": "91.80",
        "order_timestamp": "2025-01-15T14:30:45.500",
    }
    assert "custom_values" not in json.loads(console._as_json(RECORD, ORDER, ()))["order"]


def test_a_line_shows_a_text_as_customer_and_controls_no_terminal() -> None:
    value = shop.VALUE.replace(b"C-1", b"C\\u001b[31m")
    line = console._as_line(RECORD, exact_path.decode(value, shop.CONTRACT))
    assert "C\\x1b[31m" in line and "PO-2025-123" in line and "91.80" in line


def test_track_shows_custom_fields() -> None:
    order = exact_path.decode(shop.VALUE.replace(b"web", b"store"), shop.CONTRACT)
    texts = (order.customer_id, order.order_id, order.product_name, order.product_category)
    placed = datetime(2025, 1, 15, 14, 30, 45, 500_000, UTC)
    custom_fields = map_custom_values(shop.CONTRACT.custom_columns, order.custom_values) | {
        "paid_at": placed,
        "extra": "\x1b" + "x" * 5_000,
    }
    stored = DisplayedOrder(*texts, order.unit_price, 2, order.total_price, placed, 0, 1, None, None, custom_fields)
    lines = [*track._lines(TrackedOrder(order.order_id, stored, None, None, ()))]
    for line in (
        "  customer   C-1",
        "  placed     2025-01-15 14:30:45.5 UTC",
        "  channel    store",
        "  coupon     –",
        "  weight     1.500",
        "  gift       true",
        "  paid_at    2025-01-15 14:30:45.5 UTC",
        '  other_fields {"more":1}',
    ):
        assert line in lines
    [extra] = [line for line in lines if line.startswith("  extra")]
    assert extra.startswith("  extra      \\x1bxx") and extra.endswith("x…") and len(extra) < 2_100
