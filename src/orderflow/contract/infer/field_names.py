"""The usual names of the standard fields, and the columns' names of custom fields."""

from __future__ import annotations

import re
import unicodedata

from orderflow.contract import contract_file

Path = tuple[str, ...]

_ALIASES = {
    "order_id": "order_id order_number order_no order_nr order_num order_reference order_ref order_code order_key"
    " order_uuid order_name order id uuid number name reference ref key",
    "customer_id": "customer_id customer_number customer_no customer_nr customer_ref customer user_id client_id"
    " buyer_id account_id member_id shopper_id cust_id user customer_email email",
    "order_timestamp": "order_timestamp order_date order_time order_datetime ordered_at order_created_at placed_at"
    " created_at created created_on creation_date date_created date_created_gmt create_time purchase_date purchased_at"
    " timestamp datetime date time ts event_time processed_at",
    "product_name": "product_name product_title item_name item_title product item title article_name article"
    " description product_sku sku name",
    "product_category": "product_category product_category_name category category_name product_type item_category"
    " item_type product_group type department collection",
    "unit_price": "unit_price price_per_unit unit_amount unit_cost item_price product_price price subtotal_price"
    " amount",
    "quantity": "quantity qty product_quantity item_quantity order_quantity units item_count count pieces",
    "total_price": "total_price total_amount order_total grand_total total price_total line_total total_value amount"
    " sum order_amount order_value",
}
_NEUTRAL_OBJECTS = {"order", "data", "payload", "body", "message", "event", "purchase", "sale"}  # around the order
_OTHER_OBJECTS = {"customer", "user", "client", "buyer", "shipping", "billing", "payment", "refund"}
_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[0-9]+|[^\W0-9_]")


def name_distance(name: str, path: Path) -> int | None:
    """Return how far the path is from the field's usual names, 0 for the most usual one; None if it is none of them."""
    words_of_keys = [words_of(key) for key in path]
    words = [word for words_of_key in words_of_keys for word in words_of_key]
    forms = ["_".join(words)]
    if words[-1:] in (["amount"], ["value"]):
        forms.append("_".join(words[:-1]))
    if len(path) > 1 and len(words_of_keys[0]) == 1 and words_of_keys[0][0] in _NEUTRAL_OBJECTS:
        forms.append("_".join(words[1:]))
    aliases = _ALIASES[name].split()
    for penalty, form in enumerate(forms):
        if form in aliases:
            return aliases.index(form) + penalty
    last_key, outer_words = "_".join(words_of_keys[-1]), {*words[: -len(words_of_keys[-1])]}
    if len(path) > 1 and "_" in last_key and last_key in aliases and not _OTHER_OBJECTS & outer_words:
        return aliases.index(last_key) + 100
    return None


def words_of(key: str) -> list[str]:
    """Return the words of a key, in lower case."""
    return [word.lower() for word in _WORD.findall(key)]


def column_name(path: Path, taken: set[str]) -> str:
    """Return a column name for the path that is not taken, and add it to those."""
    text = unicodedata.normalize("NFKD", " ".join(path)).encode("ascii", "ignore").decode()
    name = "_".join(words_of(text))[:50] or "field"
    if name[0].isdigit():
        name = f"field_{name}"
    if name in contract_file.RESERVED:
        name = f"message_{name}"
    candidates = (name, *(f"{name}_{number}" for number in range(2, 10_000)))
    unique = next(candidate for candidate in candidates if candidate not in taken)
    taken.add(unique)
    return unique
