"""The address of the metrics endpoint: in use, foreign, IPv6, or not configured."""

from __future__ import annotations

from functools import cache

import pytest

from orderflow.embedded.ports import free_port
from orderflow.errors import SettingInvalid
from orderflow.metrics.endpoint import serving
from orderflow.metrics.producer import ProducerMetrics
from orderflow.metrics.sink import SinkMetrics
from orderflow.settings import Settings
from tests.support.prometheus import get


@cache
def _settings_with_port() -> Settings:
    return Settings(producer_metrics_port=free_port())


def test_a_port_in_use_and_a_foreign_address_are_reported() -> None:
    with (
        serving(_settings_with_port(), "producer_metrics_port", ProducerMetrics()),
        pytest.raises(SettingInvalid, match=r"Metrics cannot be served on 127\.0\.0\.1:\d+: .*in use\.") as refused,
        serving(_settings_with_port(), "producer_metrics_port", ProducerMetrics()),
    ):
        pass
    assert "PRODUCER_METRICS_PORT" in refused.value.hint
    elsewhere = Settings(metrics_host="192.0.2.1", sink_metrics_port=1)
    with (
        pytest.raises(SettingInvalid, match=r"192\.0\.2\.1"),
        serving(elsewhere, "sink_metrics_port", SinkMetrics()),
    ):
        pass


def test_the_endpoint_listens_on_ipv6_until_the_block_ends() -> None:
    settings = Settings(metrics_host="::1", producer_metrics_port=_settings_with_port().producer_metrics_port)
    address = f"http://[::1]:{settings.producer_metrics_port}"
    with serving(settings, "producer_metrics_port", ProducerMetrics()):
        assert get(f"{address}/live")[0] == 200
        assert get(f"{address}/ready")[0] == 503
        assert "orderflow_producer_sent_total 0.0" in get(f"{address}/metrics?")[1]
        odd = get(f"{address}/metrics", Accept="application/openmetrics-text; version=abc")
        assert odd[0] == 200 and "orderflow_producer_sent_total 0.0" in odd[1]
    assert get(f"{address}/live")[0] == 0


def test_nothing_is_served_unless_it_is_configured(caplog: pytest.LogCaptureFixture) -> None:
    """Nothing could listen on this address, as the test above shows."""
    caplog.set_level("INFO")
    with serving(Settings(metrics_host="192.0.2.1"), "sink_metrics_port", SinkMetrics()):
        assert "Metrics at" not in caplog.text
