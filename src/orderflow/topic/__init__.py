"""Access to the orders topic with a Kafka client: its identity, its offsets and its records.

Other packages use the names that are imported here. The modules are private.
"""

from __future__ import annotations

from orderflow.topic._connection import TIMEOUT, check_connection, client_config, translate_errors
from orderflow.topic._consumers import GROUP, Record, close, consumer, end_after, reader_config
from orderflow.topic._damage import find_damage, find_next_damage, read_around_damage
from orderflow.topic._error_codes import classify, damaged_batch_error, is_damage
from orderflow.topic._following import follow
from orderflow.topic._metadata import (
    DEFAULT_PARTITIONS,
    Bounds,
    TopicInfo,
    add_partitions,
    bounds,
    check_cleanup_policy,
    create,
    describe,
    get_or_create,
    request_description,
    wait_for_leaders,
)
from orderflow.topic._range_reading import holds_records, read, records_at

__all__ = [
    "DEFAULT_PARTITIONS",
    "GROUP",
    "TIMEOUT",
    "Bounds",
    "Record",
    "TopicInfo",
    "add_partitions",
    "bounds",
    "check_cleanup_policy",
    "check_connection",
    "classify",
    "client_config",
    "close",
    "consumer",
    "create",
    "damaged_batch_error",
    "describe",
    "end_after",
    "find_damage",
    "find_next_damage",
    "follow",
    "get_or_create",
    "holds_records",
    "is_damage",
    "read",
    "read_around_damage",
    "reader_config",
    "records_at",
    "request_description",
    "translate_errors",
    "wait_for_leaders",
]
