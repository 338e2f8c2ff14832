"""`orderflow dashboard`."""

from __future__ import annotations

from orderflow.cli import context, logs


def dashboard(log_format: logs.Format = None) -> None:
    """Serve a live web page: rates, revenue, latency, lag, the newest orders, search, the quarantine.

    Listens on DASHBOARD_HOST (127.0.0.1) and DASHBOARD_PORT (8765) until Ctrl-C. If other machines can reach the
    address, DASHBOARD_TOKEN is required, and each viewer enters it once. `orderflow up` starts a dashboard as well.

    It only reads, over one connection for all viewers, for at most a fifth of the time. Without viewers it reads
    nothing. With MYSQL_READER_USER it connects as that user, who needs only `GRANT SELECT ON ecommerce.* TO reader`.

    It reads from the servers of the `orderflow up` that runs in ORDERFLOW_HOME, or else from those of the KAFKA_… and
    MYSQL_… settings.

    Required extra: `orderflow[dashboard]`.

    Exit codes: 0 stopped as requested; 2 it cannot listen on the address.

    Example: `DASHBOARD_PORT=8080 orderflow dashboard`
    """
    from orderflow import extras

    extras.require("dashboard")
    from orderflow.dashboard.serve import serve
    from orderflow.running_servers import state_file

    logs.setup()
    settings = context.load()
    serve(
        settings,
        ready=lambda: print(f"Dashboard at {settings.dashboard_address} (Ctrl-C stops it)", flush=True),
        read_sink_log=lambda: state_file.last_log_line(settings, "sink"),
    )
