"""The contract in the forms that other tools read, made from `order.Order`: JSON Schema and AsyncAPI.

Both accept every order that `order.decode` accepts, and more than these: what they cannot say is told in _BEYOND.
"""

from __future__ import annotations

from typing import Any

import msgspec

from orderflow.order import MAX_DEPTH, MAX_VALUE_BYTES, Order
from orderflow.settings import Settings

_VERSION = "1.0.0"  # of the contract, not of the program
_BEYOND = (
    "This schema accepts every order. What it cannot say is checked as well: total_price equals unit_price × quantity"
    " exactly; amounts have two decimals at most, by value; the date exists; integers are spelled as integers (2, not"
    " 2.0); no key stands twice; no text holds half of a surrogate pair; the value is UTF-8 without a byte order mark,"
    f" one JSON document, {MAX_VALUE_BYTES} bytes and {MAX_DEPTH} levels at most. With ORDER_RANGES=enforce, the"
    " generator's own ranges are demanded too."
)


def json_schema() -> dict[str, Any]:
    """The order as a JSON Schema of draft 2020-12."""
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **_order()}


def asyncapi(settings: Settings) -> dict[str, Any]:
    """The topic, its brokers and its message as an AsyncAPI 3.0 document, from the sink's side."""
    protocol = "kafka" if settings.kafka_security_protocol in ("PLAINTEXT", "SASL_PLAINTEXT") else "kafka-secure"
    brokers = settings.kafka_bootstrap_servers.split(",")
    message = {
        "name": "order",
        "contentType": "application/json",
        # The keywords used mean the same in AsyncAPI's own schema format, which has no $schema.
        "payload": _order(),
        "bindings": {
            "kafka": {
                "key": {"type": "string", "description": "The producer's business: OrderFlow's own is the order_id."},
                "bindingVersion": "0.5.0",
            }
        },
    }
    return {
        "asyncapi": "3.0.0",
        "info": {"title": "Orders", "version": _VERSION, "description": "Each order is stored exactly once."},
        "defaultContentType": "application/json",
        "servers": {
            f"broker-{number}": {"host": broker.strip(), "protocol": protocol}
            for number, broker in enumerate(brokers, 1)
        },
        "channels": {
            "orders": {
                "address": settings.kafka_topic,
                "messages": {"order": {"$ref": "#/components/messages/order"}},
                "bindings": {"kafka": {"topic": settings.kafka_topic, "bindingVersion": "0.5.0"}},
            }
        },
        "operations": {
            "storeOrder": {
                "action": "receive",
                "channel": {"$ref": "#/channels/orders"},
                "messages": [{"$ref": "#/channels/orders/messages/order"}],
            }
        },
        "components": {"messages": {"order": message}},
    }


def _order() -> dict[str, Any]:
    _, definitions = msgspec.json.schema_components((Order,))
    schema: dict[str, Any] = definitions["Order"]
    for field in schema["properties"].values():
        if field.get("format") == "decimal":
            field["type"] = "number"  # msgspec would write a Decimal as a string
    return schema | {"$comment": _BEYOND}
