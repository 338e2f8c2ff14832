"""ORDER_RANGES=enforce: the values that the generator draws are the only valid ones."""

from __future__ import annotations

from orderflow.contract.catalogue import CATEGORY_OF, CUSTOMER_IDS, HIGHEST_PRICE, LOWEST_PRICE, QUANTITIES
from orderflow.contract.definition import Order
from orderflow.contract.exact_path import RangeCheck
from orderflow.settings import Settings


def range_check_of(settings: Settings) -> RangeCheck | None:
    """Return the check of the ranges that these settings enforce; None if they enforce none."""
    return outside_ranges if settings.order_ranges == "enforce" else None


def outside_ranges(order: Order) -> str:
    """Return which value is outside the generator's ranges, as a clause; empty if none is."""
    if order.customer_id not in CUSTOMER_IDS:
        return f"customer_id {order.customer_id} is not from {CUSTOMER_IDS.start} to {CUSTOMER_IDS.stop - 1}"
    if order.quantity not in QUANTITIES:
        return f"quantity {order.quantity} is not from {QUANTITIES.start} to {QUANTITIES.stop - 1}"
    if not LOWEST_PRICE <= order.unit_price <= HIGHEST_PRICE:
        return f"unit_price {order.unit_price} is not from {LOWEST_PRICE} to {HIGHEST_PRICE}"
    if CATEGORY_OF.get(order.product_name) != order.product_category:
        return f"{order.product_name[:60]!a} in {order.product_category[:60]!a} is not in the catalogue"
    return ""
