"""The dashboard's server: restarts, unavailable servers, and who is answered."""

from __future__ import annotations

import http.client
import os
import re
import signal
import socket
from contextlib import ExitStack
from pathlib import Path
from urllib.parse import urlencode, urlsplit

import msgspec
import pytest
from playwright.sync_api import Browser, expect

from orderflow.embedded.ports import free_port
from orderflow.settings import Settings
from tests.support.dashboards import TIMEOUT_MS, expect_text, opened, serving
from tests.support.feeder import Feeder
from tests.support.processes import has_logged, run, until

TOKEN = "a token of more than 16"


def test_a_restart_of_the_server_is_shown(flow: Settings, feeder: Feeder, browser: Browser, tmp_path: Path) -> None:
    settings = msgspec.structs.replace(flow, dashboard_port=free_port())
    with serving(settings, tmp_path) as first:
        session = browser.new_context()
        page = session.new_page()
        page.goto(settings.dashboard_address)
        expect_text(page.locator("#connection"), "Live")
        os.kill(first.identity[0], signal.SIGTERM)
        until(lambda: not first.alive)
        assert first.exit_code == 0
        expect_text(page.locator("#connection"), "Connection lost")
        expect(page.locator("#notice")).to_be_visible()
    with serving(settings, tmp_path):
        expect_text(page.locator("#connection"), "Live")
        expect(page.locator("#notice")).to_be_hidden(timeout=TIMEOUT_MS)
    session.close()


def test_unavailable_servers_and_missing_tables_are_shown(browser: Browser, flow: Settings, tmp_path: Path) -> None:
    unavailable = msgspec.structs.replace(
        flow,
        dashboard_port=free_port(),
        mysql_database="missing_database",
        kafka_bootstrap_servers=f"127.0.0.1:{free_port()}",
    )
    with serving(unavailable, tmp_path), browser.new_context() as session:
        page = session.new_page()
        page.goto(unavailable.dashboard_address)
        expect(page.locator("#database")).to_have_attribute("data-state", "unavailable", timeout=TIMEOUT_MS)
        expect(page.locator("#database p")).to_contain_text("has no database missing_database")
        expect(page.locator("#kafka p").first).to_contain_text("does not answer", timeout=TIMEOUT_MS)


def fetch(
    address: str, path: str = "/", method: str = "GET", body: str | None = None, **headers: str
) -> tuple[int, dict[str, str], str]:
    connection = http.client.HTTPConnection(urlsplit(address).netloc, timeout=20)
    connection.request(method, path, body, {name.replace("_", "-"): value for name, value in headers.items()})
    response = connection.getresponse()
    text = response.read().decode() if path != "/events?window=1h" else ""
    connection.close()
    return response.status, {name.lower(): value for name, value in response.getheaders()}, text


def test_other_host_names_and_origins_are_refused(address: str) -> None:
    own = urlsplit(address).netloc
    assert fetch(address, Host=own)[0] == fetch(address, Host=own.replace("127.0.0.1", "localhost"))[0] == 200
    for name in ("evil.example", f"evil.example:{urlsplit(address).port}", "127.0.0.1.evil.example", "", "[::1"):
        assert fetch(address, "/api/quarantine", Host=name)[0] == 421
    assert fetch(address, "/api/quarantine", Origin=f"http://{own}")[0] == 200
    for origin in ("http://evil.example", "null", "http://127.0.0.1:1", f"https://{own}.evil.example", "http://["):
        assert fetch(address, "/api/quarantine", Origin=origin)[0] == 403
    assert fetch(address, "/api/quarantine", Sec_Fetch_Site="cross-site", Sec_Fetch_Mode="no-cors")[0] == 403
    assert fetch(address, "/", Sec_Fetch_Site="cross-site", Sec_Fetch_Mode="navigate")[0] == 200
    assert fetch(address, "/", "POST")[0] == 405


def test_every_response_has_the_security_headers(address: str) -> None:
    for path in ("/", "/static/main.js", "/api/quarantine", "/events?window=1h", "/nothing", "/static/../app.py"):
        _, headers, _ = fetch(address, path)
        assert "default-src 'none'" in headers["content-security-policy"]
        assert "unsafe" not in headers["content-security-policy"]
        assert headers["x-content-type-options"] == "nosniff"
    assert fetch(address, "/static/%2e%2e/app.py")[0] == 404
    status, _, text = fetch(address, "/api/search?q=nonsense")
    assert status == 200 and "neither an order id" in text


def test_nothing_is_shown_without_the_token(browser: Browser, flow: Settings, feeder: Feeder, tmp_path: Path) -> None:
    settings = msgspec.structs.replace(
        flow, dashboard_host="0.0.0.0", dashboard_port=free_port(), dashboard_token=TOKEN
    )
    address = f"http://127.0.0.1:{settings.dashboard_port}/"
    with serving(settings, tmp_path) as process:
        assert not has_logged(process, TOKEN)()
        for path in ("/", "/events?window=1h", "/api/quarantine", "/api/orders/1", "/static/main.js"):
            assert fetch(address, path)[0] == 401
            assert fetch(address, path, Cookie="orderflow_dashboard=x", Authorization="Bearer x")[0] == 401
        assert fetch(address, "/api/quarantine", Authorization=f"Bearer {TOKEN}")[0] == 200
        assert fetch(address, f"/api/quarantine?{urlencode({'token': TOKEN})}")[0] == 401
        form = {"Content_Type": "application/x-www-form-urlencoded"}
        assert (
            fetch(address, "/login", "POST", urlencode({"token": TOKEN}), Origin="http://evil.example", **form)[0]
            == 403
        )
        assert fetch(address, "/login", "POST", "x" * 10_000, **form)[0] == 413
        _, headers, _ = fetch(address, "/login", "POST", urlencode({"token": TOKEN}), **form)
        assert "HttpOnly" in headers["set-cookie"] and "samesite=strict" in headers["set-cookie"].lower()
        assert TOKEN not in headers["set-cookie"] and TOKEN not in headers["location"]

        with browser.new_context() as session:
            page = session.new_page()
            page.goto(address)
            page.get_by_label("Token").fill("wrong")
            page.get_by_role("button", name="Open").click()
            expect(page.locator("#wrong")).to_be_visible()
            page.get_by_label("Token").fill(TOKEN)
            page.get_by_role("button", name="Open").click()
            expect_text(page.locator("#connection"), "Live")
            assert page.url == address


@pytest.mark.parametrize(
    "request_", [b"", b"GET / HTTP/1.1\r\nX-Slow: ", b"GET /events?window=1h HTTP/1.1\r\nHost: localhost\r\n\r\n"]
)
def test_many_open_connections_block_no_other_client(
    flow: Settings, address: str, request_: bytes, browser: Browser
) -> None:
    with ExitStack() as stack:
        clients = []
        for _ in range(300):
            client = stack.enter_context(socket.create_connection(("127.0.0.1", flow.dashboard_port), 10))
            client.sendall(request_)
            client.setblocking(False)
            clients.append(client)
        until(lambda: sum(map(_is_closed, clients)) >= 250)  # otherwise the backlog blocks the page's connection
        with opened(browser, address) as page:
            expect_text(page.locator("#connection"), "Live")


def _is_closed(client: socket.socket) -> bool:
    try:
        while client.recv(65_536):
            pass
    except BlockingIOError:
        return False
    except ConnectionError:
        pass
    return True


def test_an_address_for_other_hosts_needs_a_token(flow: Settings, tmp_path: Path) -> None:
    result = run(msgspec.structs.replace(flow, dashboard_host="0.0.0.0"), "dashboard", cwd=tmp_path)
    assert result.returncode == 2 and "DASHBOARD_TOKEN" in result.stderr


def test_a_port_in_use_is_reported(flow: Settings, address: str, tmp_path: Path) -> None:
    result = run(flow, "dashboard", cwd=tmp_path)
    assert result.returncode == 2
    assert re.search(rf"cannot listen on 127.0.0.1:{flow.dashboard_port}.*\nhint: Set DASHBOARD_PORT", result.stderr)
