"""The products of the generated orders. With ORDER_RANGES=enforce they are part of the contract too."""

from __future__ import annotations

from decimal import Decimal
from typing import NamedTuple

CUSTOMER_IDS = range(50_000, 100_000)
QUANTITIES = range(1, 6)
LOWEST_PRICE, HIGHEST_PRICE = Decimal("50.00"), Decimal("999.99")


class Product(NamedTuple):
    """A product, its category, and its price range in cents (inclusive)."""

    name: str
    category: str
    lowest_cents: int
    highest_cents: int


PRODUCTS: tuple[Product, ...] = (
    Product("Garden Tools Set", "Home & Garden", 59_00, 249_99),
    Product("Cordless Lawn Mower", "Home & Garden", 189_00, 649_99),
    Product("Patio Heater", "Home & Garden", 129_00, 499_99),
    Product("Yoga Mat", "Sports & Outdoors", 50_00, 129_99),
    Product("Trekking Backpack", "Sports & Outdoors", 79_00, 329_99),
    Product("Trail Running Shoes", "Sports & Outdoors", 69_00, 219_99),
    Product("Organic Coffee", "Food & Beverages", 50_00, 89_99),
    Product("Single Malt Selection", "Food & Beverages", 65_00, 399_99),
    Product("Truffle Hamper", "Food & Beverages", 75_00, 299_99),
    Product("Skincare Bundle", "Beauty & Health", 55_00, 189_99),
    Product("Electric Toothbrush", "Beauty & Health", 59_00, 279_99),
    Product("Massage Gun", "Beauty & Health", 89_00, 399_99),
    Product("Wireless Headphones", "Electronics", 69_00, 449_99),
    Product("Smart Watch", "Electronics", 99_00, 899_99),
    Product("Noise-Cancelling Earbuds", "Electronics", 79_00, 349_99),
    Product("Designer Jeans", "Fashion", 89_00, 399_99),
    Product("Leather Jacket", "Fashion", 199_00, 999_99),
    Product("Merino Sweater", "Fashion", 69_00, 229_99),
)

CATEGORY_OF: dict[str, str] = {product.name: product.category for product in PRODUCTS}
