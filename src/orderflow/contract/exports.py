"""Exports the contract for other tools, generated from `definition.Order`: JSON Schema and AsyncAPI.

Both accept every order that `exact_path.decode` accepts. They also accept other values, because they cannot express
the rules in `_OTHER_RULES`.
"""

from __future__ import annotations

from typing import Any

import msgspec

from orderflow.contract.definition import MAX_DEPTH, MAX_VALUE_BYTES, Order
from orderflow.settings import Settings

_VERSION = "1.0.0"  # of the contract, not of the program
_OTHER_RULES = (
    "This schema accepts every order. OrderFlow also checks rules that a schema cannot express: total_price equals"
    " unit_price × quantity exactly; amounts have at most two decimals, by value; the date exists; integers are JSON"
    " integers (2, not 2.0); no key occurs twice; no text contains an unpaired surrogate; the value is UTF-8 without a"
    f" byte order mark, one JSON document, at most {MAX_VALUE_BYTES} bytes and {MAX_DEPTH} levels. With"
    " ORDER_RANGES=enforce, the values must also be in the generator's ranges."
)


def json_schema() -> dict[str, Any]:
    """Return the order as a JSON Schema, draft 2020-12."""
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **_order()}


def asyncapi(settings: Settings) -> dict[str, Any]:
    """Return the topic, its brokers and its message as an AsyncAPI 3.0 document, from the consumer's side."""
    protocol = "kafka" if settings.kafka_security_protocol in ("PLAINTEXT", "SASL_PLAINTEXT") else "kafka-secure"
    brokers = settings.kafka_bootstrap_servers.split(",")
    message = {
        "name": "order",
        "contentType": "application/json",
        # These keywords have the same meaning in AsyncAPI's schema format, which has no $schema.
        "payload": _order(),
        "bindings": {
            "kafka": {
                "key": {"type": "string", "description": "Any key is accepted. OrderFlow's producer uses order_id."},
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
    return schema | {"$comment": _OTHER_RULES}
