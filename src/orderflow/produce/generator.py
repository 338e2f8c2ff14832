"""Generates orders as messages, on request mixed with bad and repeated ones."""

from __future__ import annotations

import json
import time
from collections import deque
from collections.abc import Callable, Iterator
from itertools import cycle
from random import Random

from orderflow.contract.catalogue import CUSTOMER_IDS, PRODUCTS, QUANTITIES
from orderflow.contract.definition import DEFAULT, Contract
from orderflow.errors import SettingInvalid
from orderflow.produce import message_defects
from orderflow.produce.contract_orders import OrderMaker
from orderflow.produce.message_defects import Defect
from orderflow.produce.outgoing_message import PARTITION_BY_KEY, OutgoingMessage

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
    recent order. `good_count`, `bad_count` and `repeat_count` are the numbers of messages so far.
    """

    def __init__(
        self,
        start: int,
        *,
        seed: int | None = None,
        bad_share: float = 0.0,
        repeat_share: float = 0.0,
        partitions: int = 1,
        clock: Callable[[], float] = time.time,
        contract: Contract = DEFAULT,
    ) -> None:
        """`start` is the first order's number. The shares are of all messages, from 0 to 1.

        Raises SettingInvalid if `start` is so high that the numbers could exceed 44 digits. With another contract than
        the default one, the iterator raises ContractInvalid if an order cannot be generated.
        """
        if start > HIGHEST_NUMBER:
            raise SettingInvalid(
                f"Order numbers would start at {start}, but an order_id has at most 44 digits.",
                hint="Set STARTING_ORDER_ID to a lower number.",
            )
        self.good_count = self.bad_count = self.repeat_count = 0
        self.next_number = start
        self._defects = message_defects.defects_of(contract)
        if contract.is_default:
            self._orders = self._draw_orders(Random(seed), clock)  # noqa: S311
        else:
            self._orders = self._make_orders(OrderMaker(contract, Random(seed), clock))  # noqa: S311
        self._messages = self._mix(Random(seed), bad_share, repeat_share, partitions)  # noqa: S311

    def __iter__(self) -> Iterator[OutgoingMessage]:
        return self._messages

    def _draw_orders(self, random: Random, clock: Callable[[], float]) -> Iterator[OutgoingMessage]:
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

    def _make_orders(self, maker: OrderMaker) -> Iterator[OutgoingMessage]:
        while True:
            key, value = maker.make(self.next_number)
            self.next_number += 1
            yield key, value, PARTITION_BY_KEY

    def _mix(self, random: Random, bad_share: float, repeat_share: float, partitions: int) -> Iterator[OutgoingMessage]:
        recent: deque[OutgoingMessage] = deque(maxlen=_RECENT)
        defects = cycle(self._defects.values())
        while True:
            chance = random.random()
            if chance < bad_share:
                self.bad_count += 1
                yield self._make_bad(next(defects), recent, random)
            elif chance < bad_share + repeat_share and recent:
                self.repeat_count += 1
                key, value, _ = random.choice(recent)
                # Half of them to a random partition, as after a change of the partition count.
                yield key, value, random.choice((PARTITION_BY_KEY, random.randrange(partitions)))
            else:
                self.good_count += 1
                message = next(self._orders)
                recent.append(message)
                yield message

    def _make_bad(self, defect: Defect, recent: deque[OutgoingMessage], random: Random) -> OutgoingMessage:
        is_conflict = defect is self._defects["conflict"]
        is_recent = is_conflict and recent
        key, value, partition = random.choice(recent) if is_recent else next(self._orders)
        assert value is not None
        if is_conflict and not is_recent:
            defect = message_defects.truncated
        return key, defect(value), partition
