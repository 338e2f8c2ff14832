"""Serves the dashboard until it is told to stop."""

from __future__ import annotations

import errno
import ipaddress
import signal
import socket
from collections.abc import Callable
from contextlib import suppress
from functools import partial

import uvicorn

from orderflow.dashboard import app
from orderflow.errors import SettingInvalid
from orderflow.insights.monitor import Monitor
from orderflow.settings import Settings

_CONNECTIONS = 200  # at once; a browser holds one or two
_CLOSE = 2  # seconds that open connections are given at the end


def serve(settings: Settings, *, ready: Callable[[], None], sink_says: Callable[[], str | None]) -> None:
    """Listen, call `ready`, and serve until SIGINT or SIGTERM.

    Raises SettingInvalid where the address may or can not be listened on.
    """
    listener = _listen(settings)
    config = uvicorn.Config(
        app.build(settings, partial(Monitor, settings, sink_says)),
        log_config=None,
        access_log=False,
        server_header=False,
        limit_concurrency=_CONNECTIONS,
        timeout_graceful_shutdown=_CLOSE,
        lifespan="off",
    )
    ready()
    # When it has closed, uvicorn raises again what ended it.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with listener, suppress(KeyboardInterrupt):
        uvicorn.Server(config).run(sockets=[listener])


def _listen(settings: Settings) -> socket.socket:
    host, port = settings.dashboard_host, settings.dashboard_port
    try:
        [*_, (family, _, _, _, address)] = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except socket.gaierror as error:
        raise SettingInvalid(
            f"DASHBOARD_HOST is {host!r}: {error.strerror}.", hint="Set an address of this machine."
        ) from error
    if not ipaddress.ip_address(address[0]).is_loopback and not settings.dashboard_token:
        raise SettingInvalid(
            f"DASHBOARD_HOST is {host!r}, which others can reach, and no DASHBOARD_TOKEN is set.",
            hint="Set DASHBOARD_TOKEN, to what `python -c 'import secrets; print(secrets.token_urlsafe())'` prints.",
        )
    listener = socket.socket(family)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind(address)
        listener.listen()
    except OSError as error:
        listener.close()
        taken = error.errno == errno.EADDRINUSE
        raise SettingInvalid(
            f"The dashboard cannot listen on {host}:{port}: {error.strerror}.",
            hint=f"Set DASHBOARD_PORT to another port than {port}."
            if taken
            else "Check DASHBOARD_HOST and DASHBOARD_PORT.",
        ) from error
    return listener
