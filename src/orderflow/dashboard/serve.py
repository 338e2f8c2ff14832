"""Serves the dashboard until SIGINT or SIGTERM."""

from __future__ import annotations

import errno
import ipaddress
import signal
import socket
from collections.abc import Callable
from contextlib import suppress
from functools import partial

from orderflow.dashboard import app
from orderflow.errors import SettingInvalid
from orderflow.insights.monitor import Monitor
from orderflow.metrics import listener
from orderflow.metrics.listener import Limits
from orderflow.settings import Settings

# A browser opens one stream for each tab, and up to six connections in total; a proxy opens those of all its viewers.
_LIMITS = Limits(connections=200, per_address=50)


def serve(settings: Settings, *, ready: Callable[[], None], read_sink_log: Callable[[], str | None]) -> None:
    """Listen, call `ready`, and serve until SIGINT or SIGTERM.

    Raises SettingInvalid if the address is not allowed or cannot be used.
    """
    opened = _listen(settings)
    server = listener.create_server(app.build(settings, partial(Monitor, settings, read_sink_log)), _LIMITS)
    ready()
    # After closing, uvicorn raises the signal that stopped it again.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with opened, suppress(KeyboardInterrupt):
        server.run(sockets=[opened])


def _listen(settings: Settings) -> socket.socket:
    host, port = settings.dashboard_host, settings.dashboard_port
    try:
        family, address = listener.resolve(host, port)
    except socket.gaierror as error:
        raise SettingInvalid(
            f"DASHBOARD_HOST is {host!r}: {error.strerror}.", hint="Set an address of this machine."
        ) from error
    if not ipaddress.ip_address(address[0]).is_loopback and not settings.dashboard_token:
        raise SettingInvalid(
            f"DASHBOARD_HOST is {host!r}, which other machines can reach, but DASHBOARD_TOKEN is not set.",
            hint="Set DASHBOARD_TOKEN to the output of `python -c 'import secrets; print(secrets.token_urlsafe())'`.",
        )
    try:
        return listener.open_socket(family, address)
    except OSError as error:
        is_in_use = error.errno == errno.EADDRINUSE
        raise SettingInvalid(
            f"The dashboard cannot listen on {host}:{port}: {error.strerror}.",
            hint=f"Set DASHBOARD_PORT to another port than {port}."
            if is_in_use
            else "Check DASHBOARD_HOST and DASHBOARD_PORT.",
        ) from error
