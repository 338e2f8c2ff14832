"""The contract of a shop: nested keys, texts for numbers, other formats of times, and custom fields of every kind."""

from __future__ import annotations

from orderflow.contract import contract_file

TEXT = """
unknown_fields = "keep"
[customer_id]
key = "customer.id"
type = "string"
[order_id]
key = "orderId"
pattern = "PO-[0-9]{4}-[0-9]{3,8}"
examples = ["PO-2025-007"]
[product_name]
key = "item.name"
[product_category]
fixed = "All"
[unit_price]
key = "item.price"
json = "string"
[quantity]
key = "item.quantity"
[total_price]
key = "total"
json = "string"
[order_timestamp]
key = "placedAt"
format = "rfc3339"
[fields.channel]
type = "string"
values = ["web", "store"]
[fields.coupon]
type = "string"
key = "meta.coupon"
required = false
max_length = 10
[fields.weight]
type = "decimal"
precision = 12
scale = 3
key = "meta.weight"
[fields.gift]
type = "boolean"
[fields.paid_at]
type = "timestamp"
format = "epoch_ms"
json = "string"
[fields.points]
type = "integer"
minimum = -5
maximum = 3
[fields.extra]
type = "json"
required = false
"""
CONTRACT = contract_file.read(TEXT, "shop.toml")
VALUE = (
    b'{"customer":{"id":"C-1"},"orderId":"PO-2025-123","item":{"name":"Yoga Mat","price":"45.90","quantity":2},'
    b'"total":"91.80","placedAt":"2025-01-15T14:30:45.5Z","channel":"web","meta":{"weight":1.5},"gift":true,'
    b'"paid_at":"1736951445500","points":3,"extra":{"a":[1.0]},"more":1}'
)
