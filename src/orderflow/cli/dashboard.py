"""`orderflow dashboard`."""

from __future__ import annotations

from orderflow.cli import context, log


def dashboard(log_format: log.Format = None) -> None:
    """Serve the live page: rates, revenue, latency, lag, the newest orders, search, the quarantine.

    Listens on DASHBOARD_HOST (127.0.0.1) and DASHBOARD_PORT (8765) until Ctrl-C. On an address that others can reach
    it wants DASHBOARD_TOKEN to be set, and asks each viewer for it once. `orderflow up` starts one by itself.

    It only reads: over one connection for all viewers, on indexes, for at most a fifth of the time, and not at all
    while nobody watches. With MYSQL_READER_USER it does so as a user who may do no more; these rights are enough:
    `GRANT SELECT ON ecommerce.* TO reader`.

    Shows the `orderflow up` of this folder if one runs, else the servers of the KAFKA_… and MYSQL_… settings.

    Exit code: 0 stopped as asked; 2 the address cannot be listened on.
    """
    from orderflow.dashboard.serve import serve
    from orderflow.embedded import stack

    log.setup()
    current = context.load()
    serve(
        current,
        ready=lambda: print(f"Dashboard at {current.dashboard_address} (Ctrl-C stops it)", flush=True),
        sink_says=lambda: stack.last_said(current, "sink"),
    )
