"""The search by texts: which of them are order ids, and which are customers."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from orderflow.errors import InputInvalid
from orderflow.insights import track
from orderflow.settings import Settings
from orderflow.store import viewer_queries
from tests.support import shop

STORED: dict[str, Any] = {name: SimpleNamespace(order_id=name) for name in ("PO-2025-007", "00042", "7")}


@pytest.fixture(autouse=True)
def tables(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(viewer_queries, "read_order", lambda _, order_id: STORED.get(order_id))
    monkeypatch.setattr(
        viewer_queries, "read_orders_of", lambda _, customer, count: (customer,) if customer in ("Bob", 5) else ()
    )


def search(text: str, words: str) -> tuple[str | None, object, object, str | None]:
    connection: Any = SimpleNamespace(settings=Settings(order_contract="x.toml", order_contract_text=text))
    result = track.search(connection, words)
    return result.order.order_id if result.order else None, result.customer_id, result.orders, result.order_id


def test_a_customer_id_may_be_a_text() -> None:
    assert search(shop.TEXT, " Bob ") == (None, "Bob", ("Bob",), None)
    assert search(shop.TEXT, "po-2025-007") == ("PO-2025-007", "po-2025-007", (), "PO-2025-007")
    assert search(shop.TEXT, "7") == ("PO-2025-007", "7", (), None)
    assert search(shop.TEXT, "PO-2025-999") == (None, "PO-2025-999", (), None)
    for words in ("", "x" * 51):
        with pytest.raises(InputInvalid, match="neither an order id nor a customer id") as caught:
            search(shop.TEXT, words)
        assert "PO-2025-123" in caught.value.hint


def test_a_number_is_an_id_a_number_of_one_or_a_customer() -> None:
    ids = '[order_id]\npattern = "[0-9]+"\nexamples = ["00001"]'
    assert search(ids, "42") == ("00042", 42, (), None)
    assert search(ids, "7") == ("7", 7, (), None)
    assert search(ids, "5") == (None, 5, (5,), None)
    assert search(ids + "\n[customer_id]\nmaximum = 9223372036854775807", "5000000000")[1] == 5_000_000_000
    assert search(ids, "5000000000")[1] is None
