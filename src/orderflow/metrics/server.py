"""The HTTP side: /metrics for Prometheus, /live and /ready for orchestrators."""

from __future__ import annotations

import logging
import socket
import socketserver
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http import HTTPStatus
from typing import Any, NamedTuple, Protocol

import msgspec
from prometheus_client import CollectorRegistry, MetricsHandler, ProcessCollector, disable_created_metrics

from orderflow.errors import SettingInvalid
from orderflow.settings import Settings

log = logging.getLogger(__name__)

_PATIENCE = 10.0  # seconds that a silent client may hold a thread


class Health(NamedTuple):
    """Whether a command does its work now, its state in a word, and what it says of it."""

    ready: bool
    state: str
    message: str = ""


class Source(Protocol):
    """Whose metrics and health are served."""

    registry: CollectorRegistry

    def health(self) -> Health:
        """How it is now. Never waits."""


def new_registry() -> CollectorRegistry:
    """A registry that holds what is known of this process."""
    disable_created_metrics()  # type: ignore[no-untyped-call]
    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    return registry


@contextmanager
def serving(settings: Settings, port_setting: str, source: Source) -> Iterator[None]:
    """Serve while the block lasts, on METRICS_HOST and the port of this setting; not at all where that is 0.

    Raises SettingInvalid where the address cannot be listened on.
    """
    host, port = settings.metrics_host, getattr(settings, port_setting)
    if not port:
        yield
        return
    with _listening(host, port, port_setting, source) as server:
        threading.Thread(target=server.serve_forever, name="metrics-server", daemon=True).start()
        log.info("Metrics at http://%s:%d/metrics", f"[{host}]" if ":" in host else host, port)
        try:
            yield
        finally:
            server.shutdown()


def _listening(host: str, port: int, port_setting: str, source: Source) -> socketserver.ThreadingTCPServer:
    class Handler(MetricsHandler):
        registry = source.registry
        timeout = _PATIENCE

        def do_GET(self) -> None:  # noqa: N802
            path = self.path.partition("?")[0]
            if path == "/metrics":
                super().do_GET()
            elif path == "/live":
                self._answer(HTTPStatus.OK, {"state": "live"})
            elif path == "/ready":
                health = source.health()
                status = HTTPStatus.OK if health.ready else HTTPStatus.SERVICE_UNAVAILABLE
                self._answer(status, health._asdict())
            else:
                self.send_error(HTTPStatus.NOT_FOUND, explain="There are /metrics, /live and /ready.")

        def _answer(self, status: HTTPStatus, body: dict[str, Any]) -> None:
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.end_headers()
            self.wfile.write(msgspec.json.encode(body))

    class Server(socketserver.ThreadingTCPServer):
        allow_reuse_address = True
        daemon_threads = True

        def handle_error(self, request: Any, client_address: Any) -> None:
            if not isinstance(sys.exception(), OSError):  # which is a client that went away
                log.exception("A request for metrics failed.")

    try:
        [(Server.address_family, *_, address), *_] = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        return Server(address, Handler)  # type: ignore[arg-type] # no IPv6 in this build of Python
    except OSError as error:
        raise SettingInvalid(
            f"Metrics cannot be served on {host}:{port}: {error.strerror}.",
            hint=f"Set {port_setting.upper()} to another port (0: serve none), or METRICS_HOST to an address of this"
            " machine.",
        ) from error
