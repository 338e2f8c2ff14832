"""Exports the contract for other tools, generated from its definition: JSON Schema and AsyncAPI.

Both accept every order that `exact_path.decode` accepts. They also accept other values, because they cannot express
the rules in `_OTHER_RULES`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from decimal import Decimal
from typing import Any

from orderflow.contract import loader
from orderflow.contract.definition import (
    DEFAULT,
    LAST_MILLISECOND,
    MAX_DEPTH,
    MAX_VALUE_BYTES,
    Contract,
    Field,
    KeyTree,
    Kind,
)
from orderflow.contract.patterns import as_json_schema
from orderflow.settings import Settings

_VERSION = "1.0.0"  # of the contract, not of the program
_OTHER_RULES = (
    "This schema accepts every order. OrderFlow also checks rules that a schema cannot express: {total}amounts have no"
    " more decimals than their columns, by value; the date exists; integers are JSON integers (2, not 2.0); no key"
    " occurs twice; no text contains an unpaired surrogate; the value is UTF-8 without a byte order mark, one JSON"
    f" document, at most {MAX_VALUE_BYTES} bytes and {MAX_DEPTH} levels."
)
_TOTALS = {
    "checked": "total_price equals unit_price × quantity exactly; ",
    "computed": "unit_price × quantity fits total_price; ",
    "as_sent": "",
}
_FLOAT_DIGITS = 15  # decimal digits that a float always distinguishes
_TEXT = r"^[^\u0000]*$"
_SECOND = r"[0-9]{4}-[0-9]{2}-[0-9]{2}T(?:[01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9]"


def json_schema(contract: Contract = DEFAULT) -> dict[str, Any]:
    """Return the order as a JSON Schema, draft 2020-12."""
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **_order_schema(contract)}


def asyncapi(settings: Settings) -> dict[str, Any]:
    """Return the topic, its brokers and its message as an AsyncAPI 3.0 document, from the consumer's side."""
    protocol = "kafka" if settings.kafka_security_protocol in ("PLAINTEXT", "SASL_PLAINTEXT") else "kafka-secure"
    brokers = settings.kafka_bootstrap_servers.split(",")
    message = {
        "name": "order",
        "contentType": "application/json",
        # These keywords have the same meaning in AsyncAPI's schema format, which has no $schema.
        "payload": _order_schema(loader.contract_of(settings)),
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


def _order_schema(contract: Contract) -> dict[str, Any]:
    schema = _object_schema(contract, contract.key_tree, ())
    ranges = (
        " With ORDER_RANGES=enforce, the values must also be in the generator's ranges." if contract.is_default else ""
    )
    comment = _OTHER_RULES.format(total=_TOTALS[contract.total]) + ranges
    return {"title": "Order", "description": "One order."} | schema | {"$comment": comment}


def _object_schema(contract: Contract, keys: KeyTree, path: tuple[str, ...]) -> dict[str, Any]:
    """Return the schema of the message, or of an object in it that contains fields."""
    properties: dict[str, Any] = {}
    required: list[str] = []
    for key, inner in keys.items():
        fields = [field for field in contract.fields if field.path[: len(path) + 1] == (*path, key)]
        if any(field.required for field in fields):
            required.append(key)
        schema = _object_schema(contract, inner, (*path, key)) if inner else _property_schema(contract, fields)
        properties[key] = schema if key in required or schema == {} else _nullable(schema)
    no_other_keys = {"additionalProperties": False} if contract.unknown_fields == "reject" else {}
    return {"type": "object", "properties": properties, "required": required, **no_other_keys}


def _nullable(schema: dict[str, Any]) -> dict[str, Any]:
    return {"anyOf": [schema, {"type": "null"}]}


def _property_schema(contract: Contract, fields: Sequence[Field]) -> dict[str, Any]:
    schemas = [
        _value_schema(field) for field in fields if not (field.name == "total_price" and contract.total == "computed")
    ]
    return schemas[0] if len(schemas) == 1 else {"allOf": schemas} if schemas else {}


def _value_schema(field: Field) -> dict[str, Any]:
    schema: dict[str, Any] = {"description": field.rule}
    if field.kind is Kind.STRING:
        schema |= {"type": "string", "minLength": field.min_length, "maxLength": field.max_length, "pattern": _TEXT}
        if field.pattern:
            schema["pattern"] = as_json_schema(field.pattern)
        if field.values:
            schema["enum"] = [*field.values]
    elif field.kind is Kind.BOOLEAN:
        schema["type"] = "boolean"
    elif field.kind is Kind.TIMESTAMP and field.format != "epoch_ms":
        schema |= {"type": "string", "pattern": _time_pattern(field)}
    elif field.kind is not Kind.JSON:
        types = {"number": "number" if field.kind is Kind.DECIMAL else "integer", "string": "string"}
        schema["type"] = types.get(field.json) or [*types.values()]
        if field.kind is Kind.TIMESTAMP:
            schema |= {"minimum": 0, "maximum": LAST_MILLISECOND}
        elif field.kind is Kind.INTEGER:
            schema |= {"minimum": int(field.lowest), "maximum": int(field.highest)}
        else:
            # Limits one unit wider, and no multipleOf 0.01: validators that use floats would reject 1.1.
            limits = {"exclusiveMinimum": field.lowest - field.unit, "exclusiveMaximum": field.highest + field.unit}
            schema |= {name: _json_number(limit) for name, limit in limits.items()}
            if field.precision > _FLOAT_DIGITS:  # a validator that uses floats rounds values up to the limits
                schema["minimum"] = math.nextafter(float(field.lowest), -math.inf)
                schema["maximum"] = math.nextafter(float(field.highest), math.inf)
                del schema["exclusiveMinimum"], schema["exclusiveMaximum"]
    return schema


def _json_number(number: Decimal) -> int | float:
    return int(number) if number == int(number) else float(number)


def _time_pattern(field: Field) -> str:
    if field.format == "rfc3339":
        zone = r"(?:[Zz]|[+-](?:[01][0-9]|2[0-3]):[0-5][0-9])"
        return f"^{_SECOND.replace('T', '[Tt ]', 1)}(?:\\.[0-9]{{1,9}})?{zone}$"
    return f"^{_SECOND}" + (r"(?:\.[0-9]{1,9})?$" if field.scale else "$")
