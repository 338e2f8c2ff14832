"""`orderflow dashboard`."""

from __future__ import annotations

from orderflow.cli import context, log


def dashboard(log_format: log.Format = None) -> None:
    """Serve the live page: rates, revenue, latency, lag, the newest orders, search, the quarantine.

    Listens on DASHBOARD_HOST (127.0.0.1) and DASHBOARD_PORT (8765) until Ctrl-C. On an address that other machines can
    reach, it requires DASHBOARD_TOKEN, which each viewer enters once. `orderflow up` starts a dashboard automatically.

    It only reads: over one connection for all viewers, by indexes, for at most a fifth of the time, and not at all
    without viewers. With MYSQL_READER_USER it connects as that user, who only needs
    `GRANT SELECT ON ecommerce.* TO reader`.

    Shows the `orderflow up` of this folder if one is running, else the servers of the KAFKA_… and MYSQL_… settings.

    Needs the extra `dashboard`.

    Exit code: 0 stopped as requested; 2 it cannot listen on the address.
    """
    from orderflow import extras

    extras.require("dashboard")
    from orderflow.dashboard.serve import serve
    from orderflow.embedded import stack

    log.setup()
    current = context.load()
    serve(
        current,
        ready=lambda: print(f"Dashboard at {current.dashboard_address} (Ctrl-C stops it)", flush=True),
        read_sink_log=lambda: stack.last_log_line(current, "sink"),
    )
