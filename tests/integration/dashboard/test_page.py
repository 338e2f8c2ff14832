"""The dashboard's page in a real browser: its figures, its updates, and how it is used."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import pytest
from playwright.sync_api import Browser, Page, expect

from orderflow import topic as topics
from orderflow.embedded.ports import free_port
from orderflow.plurals import counted
from orderflow.settings import Settings
from orderflow.store import audits
from orderflow.store.connection import Connection
from tests.support import shop
from tests.support.corpus import quoted
from tests.support.dashboards import CATEGORIES, HOSTILE, TIMEOUT_MS, expect_text, opened, serving
from tests.support.feeder import Feeder, many
from tests.support.processes import run, running, until
from tests.support.sql import execute, select


@pytest.fixture
def page(browser: Browser, address: str) -> Iterator[Page]:
    with opened(browser, address) as new_page:
        yield new_page


def text_of(page: Page, selector: str) -> str:
    return page.locator(selector).inner_text()


def check_figures(page: Page, flow: Settings) -> None:
    """Check today's totals to the cent, the best sellers, and the quarantine by reason."""
    [(orders, units, revenue)] = select(
        flow,
        "SELECT COUNT(*), SUM(quantity), SUM(total_price) FROM orders WHERE DATE(order_timestamp) = UTC_DATE()",
    )
    expect_text(page.locator("#today-orders"), f"{orders:,}")
    expect_text(page.locator("#today-units"), counted(units, "unit"))
    expect_text(page.locator("#today-revenue"), f"{revenue:,.2f}")
    reasons = select(flow, "SELECT reason, COUNT(*) FROM orders_quarantine GROUP BY 1 ORDER BY 2 DESC, 1")
    expect_text(page.locator("#reasons"), "".join(f"{reason}{count}" for reason, count in reasons))
    products = select(flow, "SELECT product_name, SUM(quantity) FROM orders GROUP BY 1 ORDER BY 2 DESC, 1 LIMIT 6")
    expect(page.locator("#products li")).to_have_text(
        [f"{name}{counted(units, 'unit')}" for name, units in products], timeout=TIMEOUT_MS
    )


def test_the_page_shows_the_figures_of_the_tables(flow: Settings, page: Page) -> None:
    check_figures(page, flow)
    [(stored, duplicates, quarantined)] = select(
        flow, "SELECT SUM(`stored`), SUM(duplicates), SUM(quarantined) FROM orders_ledger"
    )
    assert [text_of(page, f"#{name}") for name in ("stored", "duplicates", "quarantined")] == [
        f"{number:,}" for number in (stored, duplicates, quarantined)
    ]
    legend = {
        line.locator("span").inner_text(): line.locator("b").inner_text() for line in page.locator("#legend li").all()
    }
    by_category = select(flow, "SELECT product_category, SUM(total_price) FROM orders GROUP BY 1")
    assert legend == {category: f"{amount:,.2f}" for category, amount in by_category}
    shown = page.locator("#rows tr:not(.none)").all_inner_texts()
    latest = select(
        flow,
        "SELECT order_id, customer_id, total_price FROM orders ORDER BY order_timestamp DESC, order_id DESC LIMIT 20",
    )
    assert len(shown) == 20
    for line, (order_id, customer, total) in zip(shown, latest, strict=True):
        assert {order_id, str(customer), f"{total:,.2f}"} <= set(line.split("\t"))
    expect(page.locator("#p50")).to_have_text(re.compile(r"[0-9] (ms|s|min)"))
    assert text_of(page, "#kafka p").startswith("Kafka answers at")
    expect_text(page.locator("#lag"), "0")


def test_the_page_agrees_with_topic_tables_and_audit_during_a_run(
    browser: Browser, mysql_server: Settings, kafka: str, topic: str, tmp_path: Path
) -> None:
    flow = msgspec.structs.replace(
        mysql_server,
        mysql_database=topic.replace("-", "_"),
        kafka_bootstrap_servers=kafka,
        kafka_topic=topic,
        dashboard_port=free_port(),
    )
    produce = ("produce", "--bad", "0.1", "--repeat", "0.1")
    assert run(flow, "init", cwd=tmp_path).returncode == 0
    with serving(flow, tmp_path), opened(browser, flow.dashboard_address, "#flow-empty") as page:
        expect_text(page.locator("#orders-empty"), "No order is stored yet. New orders appear here.")
        expect_text(page.locator("#today-revenue"), "0.00")
        assert run(flow, *produce, "--count", "1000", cwd=tmp_path).returncode == 0
        expect_text(page.locator("#lag"), "1,000")
        ends = topics.bounds(flow, range(3))
        lags = [f"{part}\t0\t{ends[part].end:,}" for part in range(3)]
        assert page.locator("#partitions tr").all_inner_texts() == lags

        with (
            running(flow, "sink", "--engine", "direct", folder=tmp_path, name="sink") as sink,
            running(flow, *produce, "--count", "1500", "--rate", "300", folder=tmp_path, name="produce") as producer,
        ):
            stored_counts = set()
            while producer.alive:  # all figures of one snapshot agree
                shown = page.evaluate(Path(__file__).with_name("figures.js").read_text())
                assert shown["stored"] + shown["duplicates"] + shown["quarantined"] == sum(shown["offsets"])
                assert shown["lag"] == sum(shown["lags"])
                stored_counts.add(shown["stored"])
                page.wait_for_timeout(300)
            assert len(stored_counts) > 2
            until(lambda: select(flow, "SELECT SUM(next_offset) FROM orders_ledger") == [(2500,)], sink)
            audited = json.loads(run(flow, "audit", "--json", cwd=tmp_path).stdout)
        check_figures(page, flow)
        for name in ("stored", "duplicates", "quarantined"):
            expect_text(page.locator(f"#{name}"), f"{audited[name]:,}")
        expect_text(page.locator("#open"), f"{sum(audited['by_reason'].values()):,}")
        expect_text(page.locator("#lag"), "0")
        [(sentence,)] = select(flow, "SELECT sentence FROM orders_audits")
        expect_text(page.locator("#audit p").first, sentence)
        expect(page.locator("#audit")).to_have_attribute("data-state", "proven")
    assert audited["records"] == 2500
    execute(flow, f"DROP DATABASE {flow.mysql_database}")


def test_the_last_audit_is_shown(flow: Settings, page: Page) -> None:
    audit = page.locator("#audit")
    sentence, note = audit.locator("p").first, audit.locator("p").last
    expect(audit).to_have_attribute("data-state", "none")
    expect_text(sentence, "None yet.")
    with Connection(flow) as connection:
        failed = "Not proven: 103 records read, 1 finding: 1 missing."
        audits.store(connection, is_proven=False, records=103, findings=1, sentence=failed)
        expect_text(sentence, failed)
        expect(audit).to_have_attribute("data-state", "failed")
        expect(note).to_contain_text("`orderflow audit` lists")
        audits.store(connection, is_proven=True, records=103, findings=0, sentence=f"Proven: {HOSTILE}")
    expect_text(sentence, r"Proven: <img src=x onerror=alert(1)>\u{1b}[31m\u{202e}red\u{2066}")
    expect(audit).to_have_attribute("data-state", "proven")
    expect(note).to_have_text(re.compile(r"20\d\d, .* UTC, [0-9.]+ m?s ago\.$"))


def test_new_orders_appear_without_a_reload(flow: Settings, page: Page, feeder: Feeder) -> None:
    before = int(text_of(page, "#stored").replace(",", ""))
    expect(page.locator("#records .record")).to_have_count(4)
    height = page.evaluate("document.documentElement.scrollHeight")
    feeder.store(*many(1001, 60, CATEGORIES))
    expect_text(page.locator("#stored"), f"{before + 60:,}")
    expect_text(page.locator("#rows tr:first-child button"), "ORDER-001060")
    [(revenue,)] = select(flow, "SELECT SUM(total_price) FROM orders")
    expect_text(page.locator("#today-revenue"), f"{revenue:,.2f}")
    assert page.evaluate("document.documentElement.scrollHeight") == height  # the layout did not move


def test_any_order_is_found_with_its_history(page: Page) -> None:
    page.keyboard.press("/")
    page.keyboard.type("ORDER-000005")
    page.keyboard.press("Enter")
    details = page.locator("#order-details")
    expect(details).to_contain_text("partition 0, offset 4")
    expect(details.locator(".timeline li")).to_have_count(3)
    expect(details.locator(".record")).to_have_count(1)
    expect(details.locator(".record .detail")).to_contain_text(
        "customer_id is '50005' in the table and '60005' in this record"
    )
    page.keyboard.press("Escape")
    expect(details).to_be_hidden()

    page.locator("#words").fill("50007")
    page.locator("#search button").click()
    expect(page.locator("#orders-title")).to_contain_text("50007")
    expect(page.locator("#rows")).to_contain_text("ORDER-000097")
    assert all("50007" in line for line in page.locator("#rows tr").all_inner_texts())
    page.locator("#back").click()
    expect_text(page.locator("#orders-title"), "Latest orders")

    page.locator("#words").fill("ORDER-99999999")
    page.keyboard.press("Enter")
    expect(details).to_contain_text("No order of this id is in the table")
    page.locator("#close").click()
    page.locator("#words").fill("nonsense")
    page.keyboard.press("Enter")
    expect(page.locator("#orders-empty")).to_contain_text("neither an order id")


def test_the_quarantine_shows_reasons_and_bytes(page: Page) -> None:
    records = page.locator("#records .record")
    expect(records).to_have_count(4)
    page.locator("#reason").select_option("malformed_json")
    expect(records).to_have_count(1)
    records.first.locator("summary").click()
    expect_text(records.first.locator("pre"), "not JSON <script>alert(2)</script>")
    page.locator("#reason").select_option("invalid_utf8")
    expect(records.first.locator(".reason")).to_have_text("invalid_utf8")
    records.first.locator("summary").click()
    text = records.first.locator("pre").inner_text()
    assert r"\u{0}" in text and r"\u{1b}[31m\u{202e}red" in text
    records.first.get_by_role("button", name="Show as hex").click()
    expect(records.first.locator("pre")).to_contain_text("0000  ff fe 00 3c 69 6d 67")


def test_a_hostile_order_is_harmless(page: Page) -> None:
    page.locator("#words").fill("ORDER-000666")
    page.keyboard.press("Enter")
    expect(page.locator("#order-details")).to_contain_text(r"<img src=x onerror=alert(1)>\u{1b}[31m\u{202e}red\u{2066}")
    assert page.locator("img[src=x], main b b, #order-details b b").count() == 0
    assert not re.search("[\x00-\x08\x0b-\x1f\u202a-\u202e\u2066-\u2069]", page.locator("body").inner_text())


def test_an_order_of_a_contract_file_shows_all_its_fields(
    browser: Browser, mysql_server: Settings, kafka: str, topic: str, tmp_path: Path
) -> None:
    contract = tmp_path / "shop.toml"
    contract.write_text(
        shop.TEXT.replace('"customer.id"\ntype = "string"', '"customer.id"\nmaximum = 9223372036854775807')
    )
    flow = msgspec.structs.replace(
        mysql_server,
        mysql_database=topic.replace("-", "_"),
        kafka_bootstrap_servers=kafka,
        kafka_topic=topic,
        dashboard_port=free_port(),
        order_contract=str(contract),
        order_contract_text=contract.read_text(),
    )
    topic_id = topics.create(flow, 1).topic_id
    value = shop.VALUE.replace(b'"C-1"', b"9007199254740993").replace(
        b'"a":[1.0]', b'"a":%b' % quoted(HOSTILE).encode()
    )
    Feeder(flow, topic_id).store(value)
    with serving(flow, tmp_path), opened(browser, flow.dashboard_address, "#rows td") as page:
        expect_text(page.locator("#rows tr:first-child td").nth(2), "9007199254740993")  # no digit is rounded
        expect(page.get_by_role("heading", name="Flow", exact=True)).to_be_visible()
        expect(page.locator("#legend")).to_be_hidden()
        expect(page.locator("#orders th.category")).to_be_hidden()
        expect(page.locator("#products")).to_be_visible()
        page.locator("#words").fill("po-2025-123")
        page.keyboard.press("Enter")
        details = page.locator("#order-details")
        for name, shown in {
            "channel": "web",
            "coupon": "–",
            "weight": "1.500",
            "gift": "true",
            "paid_at": "2025-01-15T14:30:45.500000Z",
            "points": "3",
            "extra": r'{"a":"<img src=x onerror=alert(1)>\u001b[31m\u{202e}red\u{2066}"}',
            "other_fields": '{"more":1}',
        }.items():
            expect_text(details.locator(f"dt:text-is('{name}') + dd"), shown)
        expect_text(details.locator("dt:text-is('Customer') + dd"), "9007199254740993")
        assert page.locator("img[src=x]").count() == 0
    execute(flow, f"DROP DATABASE {flow.mysql_database}")


def test_the_colors_follow_the_system_and_the_toggle(browser: Browser, address: str) -> None:
    def background(page: Page) -> str:
        return str(page.evaluate("getComputedStyle(document.body).backgroundColor"))

    with opened(browser, address, color_scheme="light") as page:
        light = background(page)
    with opened(browser, address, color_scheme="dark") as page:
        dark = background(page)
        page.locator("#theme").click()
        assert light != dark and background(page) == light
        page.reload()
        assert background(page) == light


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_has_enough_contrast(browser: Browser, address: str, scheme: str) -> None:
    """WCAG AA: a contrast of at least 4.5 to 1 for every visible text."""
    with opened(browser, address, color_scheme=scheme) as page:
        page.locator("#records .record summary").first.click()
        low_contrast = page.evaluate(Path(__file__).with_name("contrast.js").read_text())
    assert low_contrast == []


@pytest.mark.parametrize("width", [320, 390, 768, 1440])
def test_nothing_overflows_the_page(browser: Browser, address: str, width: int) -> None:
    with opened(browser, address, viewport={"width": width, "height": 800}) as page:
        page.evaluate("document.querySelector('.log-line').textContent = 'words '.repeat(40)")
        page.evaluate("document.querySelector('#today-revenue').textContent = '123,456,789,012.34'")
        page.evaluate("document.querySelector('#today-revenue').style.setProperty('--signs', 18)")
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        wide = "[...document.querySelectorAll('.big')].filter(n => n.scrollWidth > n.clientWidth).map(n => n.innerText)"
        assert page.evaluate(wide) == []
        assert page.locator("#words").is_visible() and page.locator("#rows button").first.is_visible()


def test_the_page_can_be_used_by_keyboard(page: Page) -> None:
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    page.locator("#windows input:checked").focus()
    page.keyboard.press("ArrowRight")
    expect(page.locator("#windows input[value='6h']")).to_be_checked()
    expect(page.locator("#flow-sum")).to_contain_text(f"{datetime.now(UTC) - timedelta(hours=6):%b}")
    page.locator("#rows button").first.focus()
    page.keyboard.press("Enter")
    expect(page.locator("#order-details")).to_be_visible()


def test_a_hidden_tab_requests_nothing(page: Page, feeder: Feeder) -> None:
    hide = "hidden => {Object.defineProperty(document, 'hidden', {value: hidden, configurable: true});"
    hide += " document.dispatchEvent(new Event('visibilitychange'))}"
    page.evaluate(hide, True)
    expect_text(page.locator("#connection"), "Paused")
    before = text_of(page, "#stored")
    feeder.store(*many(2001, 1))
    page.wait_for_timeout(2500)  # more than two updates
    assert text_of(page, "#stored") == before
    page.evaluate(hide, False)
    expect_text(page.locator("#connection"), "Live")
    expect(page.locator("#stored")).not_to_have_text(before, timeout=TIMEOUT_MS)


def test_an_hour_of_updates_leaks_no_memory(page: Page) -> None:
    devtools = page.context.new_cdp_session(page)
    devtools.send("Performance.enable")
    send_updates = Path(__file__).with_name("updates.js").read_text()

    def metrics() -> dict[str, float]:
        page.evaluate("new Promise(requestAnimationFrame)")
        devtools.send("HeapProfiler.collectGarbage")
        return {metric["name"]: metric["value"] for metric in devtools.send("Performance.getMetrics")["metrics"]}

    def lowest_metrics() -> dict[str, float]:
        # The server still sends updates: objects that an update has just replaced may survive one garbage collection.
        counts = [metrics() for _ in range(5)]
        return {name: min(sample[name] for sample in counts) for name in counts[0]}

    page.evaluate(send_updates, 300)
    before = lowest_metrics()
    page.evaluate(send_updates, 3600)
    after = lowest_metrics()
    # An update is 10 kB. The rest of the growth is the JavaScript engine's warm-up: the next hour adds a tenth of it.
    assert after["Nodes"] <= before["Nodes"] + 20
    assert after["JSEventListeners"] <= before["JSEventListeners"] + 5
    assert after["JSHeapUsedSize"] < before["JSHeapUsedSize"] + 1_000_000
