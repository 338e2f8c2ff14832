"""The HTTP endpoints: /metrics for Prometheus, /live and /ready for orchestrators."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import msgspec
from prometheus_client import CollectorRegistry, ProcessCollector, disable_created_metrics
from prometheus_client.exposition import choose_encoder

from orderflow.errors import SettingInvalid
from orderflow.settings import Settings

if TYPE_CHECKING:
    from orderflow.metrics.listener import App

log = logging.getLogger(__name__)

_CONNECTIONS, _PER_ADDRESS = 40, 20  # at the same time; a Prometheus server keeps one open, a probe none
_CLOSE_TIMEOUT = 5.0  # seconds that the server has to close its connections
_TEXT, _JSON = "text/plain; charset=utf-8", "application/json"


class Health(NamedTuple):
    """Whether a command is ready, its state, and a message for the user."""

    ready: bool
    state: str
    message: str = ""


class Source(Protocol):
    """A command that has metrics and health."""

    registry: CollectorRegistry

    def health(self) -> Health:
        """The current health. Never waits."""


def new_registry() -> CollectorRegistry:
    """Create a registry with the metrics of this process: CPU time, memory, open files."""
    disable_created_metrics()  # type: ignore[no-untyped-call]
    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    return registry


@contextmanager
def serving(settings: Settings, port_setting: str, source: Source) -> Iterator[None]:
    """Serve while the block runs, on METRICS_HOST and the port of the setting `port_setting`. Port 0 serves nothing.

    Raises SettingInvalid if the address cannot be used.
    """
    host, port = settings.metrics_host, getattr(settings, port_setting)
    if not port:
        yield
        return
    from orderflow.metrics import listener

    try:
        opened = listener.open_socket(*listener.resolve(host, port))
    except OSError as error:
        raise SettingInvalid(
            f"Metrics cannot be served on {host}:{port}: {error.strerror}.",
            hint=f"Set {port_setting.upper()} to another port (0: serve none), or METRICS_HOST to an address of this"
            " machine.",
        ) from error
    server = listener.create_server(_app(source), listener.Limits(_CONNECTIONS, _PER_ADDRESS))
    thread = threading.Thread(target=server.run, args=([opened],), name="metrics-server", daemon=True)
    thread.start()
    log.info("Metrics at http://%s:%d/metrics", f"[{host}]" if ":" in host else host, port)
    try:
        yield
    finally:
        server.should_exit = True
        thread.join(_CLOSE_TIMEOUT)


def _app(source: Source) -> App:
    """A plain ASGI application, because three paths need no web framework."""

    def respond(scope: dict[str, Any]) -> tuple[HTTPStatus, str, bytes]:
        if scope["method"] not in ("GET", "HEAD"):
            return HTTPStatus.METHOD_NOT_ALLOWED, _TEXT, b"Only GET and HEAD are allowed.\n"
        if scope["path"] == "/metrics":
            accept = b",".join(value for name, value in scope["headers"] if name == b"accept")
            encode, content_type = _encoder(accept.decode("latin-1"))
            return HTTPStatus.OK, content_type, encode(source.registry)
        if scope["path"] == "/live":
            return HTTPStatus.OK, _JSON, b'{"state":"live"}'
        if scope["path"] == "/ready":
            health = source.health()
            status = HTTPStatus.OK if health.ready else HTTPStatus.SERVICE_UNAVAILABLE
            return status, _JSON, msgspec.json.encode(health._asdict())
        return HTTPStatus.NOT_FOUND, _TEXT, b"Not found. The paths are /metrics, /live and /ready.\n"

    async def app(scope: dict[str, Any], _: Any, send: Any) -> None:
        status, content_type, body = respond(scope)
        headers = [(b"content-type", content_type.encode()), (b"content-length", str(len(body)).encode())]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    return app


def _encoder(accept: str) -> tuple[Callable[[CollectorRegistry], bytes], str]:
    """Return the format that the client accepts; the text format if its header cannot be read."""
    try:
        return choose_encoder(accept)
    except (TypeError, ValueError):
        return choose_encoder("")
