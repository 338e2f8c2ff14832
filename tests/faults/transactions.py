"""A transactional producer as a process. It commits or aborts at random until it is killed or stopped."""

from __future__ import annotations

import signal
import sys
import time
from random import Random

from confluent_kafka import KafkaException, Producer

from orderflow.produce.generator import Generator

TIMEOUT = 3.0  # seconds after which the broker aborts an open transaction
_ORDERS = 10


def main(bootstrap: str, topic: str, seed: str) -> None:
    """Print `open` when a transaction's orders are in the topic, then wait a moment and end the transaction."""
    rng, messages, stopping = Random(seed), iter(Generator(800_000_000, seed=1)), []
    signal.signal(signal.SIGTERM, lambda *_: stopping.append(True))
    while not stopping:
        try:
            producer = Producer(
                {
                    "bootstrap.servers": bootstrap,
                    "transactional.id": topic,  # a successor fences it, and ends its open transaction
                    "transaction.timeout.ms": int(TIMEOUT * 1000),
                    "log_level": 0,
                }
            )
            producer.init_transactions(30)
            while not stopping:
                producer.begin_transaction()
                for _ in range(_ORDERS):
                    key, value, _partition = next(messages)
                    producer.produce(topic, value, key)
                producer.flush()
                print("open", flush=True)
                time.sleep(0.2)
                if rng.random() < 0.7:
                    producer.commit_transaction(30)
                else:
                    producer.abort_transaction(30)
                print("ended", flush=True)
        except KafkaException as exception:
            print(f"again: {exception}", flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
