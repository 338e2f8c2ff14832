"""A browser, and a dashboard of some orders. Each file starts its own, in less than 3 s."""

from __future__ import annotations

import uuid
from collections.abc import Iterator

import msgspec
import pytest
from playwright.sync_api import Browser

from orderflow import topic as topics
from orderflow.embedded.ports import free_port
from orderflow.settings import Settings
from tests.support.browser import chromium
from tests.support.corpus import quoted
from tests.support.dashboards import CATEGORIES, HOSTILE, serving
from tests.support.feeder import Feeder, many, order
from tests.support.records import delete_topic
from tests.support.sql import execute


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as found:
        yield found


@pytest.fixture(scope="module")
def flow(mysql_server: Settings, kafka: str) -> Iterator[Settings]:
    """Settings with a new database, a topic of one partition, and a free dashboard port."""
    name = f"dashboard_{uuid.uuid4().hex[:12]}"
    settings = msgspec.structs.replace(
        mysql_server,
        mysql_database=name,
        kafka_bootstrap_servers=kafka,
        kafka_topic=name,
        dashboard_port=free_port(),
    )
    topics.create(settings, 1)
    yield settings
    execute(settings, f"DROP DATABASE {name}")
    delete_topic(settings)


@pytest.fixture(scope="module")
def feeder(flow: Settings) -> Feeder:
    """Store 100 orders, a repeat, a conflict, a hostile order and some bad records before the tests."""
    feeder = Feeder(flow, topics.describe(flow).topic_id)
    orders = many(1, 100, CATEGORIES)
    feeder.store(*orders, orders[4], orders[4].replace(b"50005", b"60005"))
    feeder.store(order(666, product_name=quoted(HOSTILE), product_category=quoted("<b>bold</b>")))
    feeder.store(b"not JSON <script>alert(2)</script>", b"\xff\xfe\x00" + HOSTILE.encode(), order(700, quantity='"2"'))
    return feeder


@pytest.fixture(scope="module")
def address(flow: Settings, feeder: Feeder, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with serving(flow, tmp_path_factory.mktemp("dashboard")):
        yield flow.dashboard_address
