"""Generates orders as messages, on request mixed with bad and repeated ones."""

from __future__ import annotations

import json
import time
from collections import deque
from collections.abc import Callable, Iterator
from itertools import cycle
from random import Random

from orderflow.catalogue import CUSTOMER_IDS, PRODUCTS, QUANTITIES
from orderflow.contract.definition import DEFAULT, Contract
from orderflow.errors import SettingInvalid
from orderflow.produce import malformed
from orderflow.produce.contract_orders import OrderMaker

# Key, value, partition. A plain tuple: creating a named tuple takes as long as formatting the order.
Message = tuple[bytes | None, bytes | None, int]
PARTITION_BY_KEY = -1  # the Kafka client selects the partition by the key

# The start may have at most 44 digits. Above 10**43, a run could need a 45th digit.
HIGHEST_NUMBER = 10**43
_RECENT = 1000  # orders from which repeats and conflicts are drawn

# The constant parts of an order, one entry for each product and quantity.
_ORDER_TEMPLATES = [
    (
        f'"product_name": {json.dumps(product.name)}, '
        f'"product_category": {json.dumps(product.category)}, "unit_price": ',
        product.lowest_cents,
        product.highest_cents - product.lowest_cents + 1,
        quantity,
    )
    for product in PRODUCTS
    for quantity in QUANTITIES
]
_CENTS = [f"{cents:02d}" for cents in range(100)]


class Generator:
    """An endless iterator of messages.

    The same seed generates the same orders, except for their timestamps. The order numbers do not depend on the shares:
    a bad message uses up the number of the order that it is made from. Repeats and conflicts use the number of a
    recent order. `good`, `bad` and `repeated` count the messages of each kind so far.
    """

    def __init__(
        self,
        start: int,
        *,
        seed: int | None = None,
        bad: float = 0.0,
        repeat: float = 0.0,
        partitions: int = 1,
        clock: Callable[[], float] = time.time,
        contract: Contract = DEFAULT,
    ) -> None:
        """`start` is the first order's number; `bad` and `repeat` are shares of all messages, from 0 to 1.

        Raises SettingInvalid if `start` is so high that the numbers could exceed 44 digits. With another contract than
        the default one, the iterator raises ContractInvalid if an order cannot be generated.
        """
        if start > HIGHEST_NUMBER:
            raise SettingInvalid(
                f"Order numbers would start at {start}, but an order_id has at most 44 digits.",
                hint="Set STARTING_ORDER_ID to a lower number.",
            )
        self.good = self.bad = self.repeated = 0
        self.next_number = start
        self._kinds = malformed.kinds_of(contract)
        if contract.is_default:
            self._orders = self._draw_orders(Random(seed), clock)  # noqa: S311
        else:
            self._orders = self._make_orders(OrderMaker(contract, Random(seed), clock))  # noqa: S311
        self._messages = self._mix(Random(seed), bad, repeat, partitions)  # noqa: S311

    def __iter__(self) -> Iterator[Message]:
        return self._messages

    def _draw_orders(self, random: Random, clock: Callable[[], float]) -> Iterator[Message]:
        draw, templates, cents_text = random.random, _ORDER_TEMPLATES, _CENTS
        template_count, customer_count, first_customer = len(_ORDER_TEMPLATES), len(CUSTOMER_IDS), CUSTOMER_IDS.start
        second, timestamp = -1, ""
        while True:
            if (now := int(clock())) != second:
                second, timestamp = now, time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(now))
            json_fragment, lowest_cents, price_count, quantity = templates[int(draw() * template_count)]
            price = lowest_cents + int(draw() * price_count)
            total = price * quantity
            order_id = f"ORDER-{self.next_number:06d}"
            self.next_number += 1
            # json.dumps takes four times as long, and needs the price as a float.
            value = (
                f'{{"customer_id": {first_customer + int(draw() * customer_count)}, "order_id": "{order_id}", '
                f'{json_fragment}{price // 100}.{cents_text[price % 100]}, "quantity": {quantity}, '
                f'"total_price": {total // 100}.{cents_text[total % 100]}, "order_timestamp": "{timestamp}"}}'
            )
            yield order_id.encode(), value.encode(), PARTITION_BY_KEY

    def _make_orders(self, maker: OrderMaker) -> Iterator[Message]:
        while True:
            key, value = maker.make(self.next_number)
            self.next_number += 1
            yield key, value, PARTITION_BY_KEY

    def _mix(self, random: Random, bad: float, repeat: float, partitions: int) -> Iterator[Message]:
        recent: deque[Message] = deque(maxlen=_RECENT)
        kinds = cycle(self._kinds.values())
        while True:
            chance = random.random()
            if chance < bad:
                self.bad += 1
                yield self._make_bad(next(kinds), recent, random)
            elif chance < bad + repeat and recent:
                self.repeated += 1
                key, value, _ = random.choice(recent)
                # Half of them to a random partition, as after a change of the partition count.
                yield key, value, random.choice((PARTITION_BY_KEY, random.randrange(partitions)))
            else:
                self.good += 1
                message = next(self._orders)
                recent.append(message)
                yield message

    def _make_bad(self, kind: malformed.Malformation, recent: deque[Message], random: Random) -> Message:
        is_conflict = kind is self._kinds["conflict"]
        is_recent = is_conflict and recent
        key, value, partition = random.choice(recent) if is_recent else next(self._orders)
        assert value is not None
        if is_conflict and not is_recent:
            kind = malformed.truncated
        return key, kind(value), partition
