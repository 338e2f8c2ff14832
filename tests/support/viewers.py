"""Measures what open dashboards cost the sink: `python -m tests.support.viewers`, on an otherwise idle machine.

The sink drains the same backlog alternately without viewers and with ten viewers of one dashboard whose metrics are
scraped once a second. Servers, contestants and the comparison of each table come from `python -m benchmarks`.
"""

from __future__ import annotations

import argparse
import http.client
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from itertools import islice, pairwise
from statistics import median

import msgspec
from rich.console import Console
from rich.progress import Progress

from benchmarks import arena, backlog
from benchmarks.arena import Arena
from benchmarks.contest import Measured, drain, measure, running
from benchmarks.sink_rate import Sink
from orderflow import settings as all_settings
from orderflow.embedded.ports import free_port
from orderflow.settings import Settings
from orderflow.store import schema
from tests.support import lifeline
from tests.support.processes import has_logged, until

VIEWERS = 10


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--engine", default="direct", choices=["direct", "spark"], help="of the sink (%(default)s)")
    parser.add_argument("--rows", type=int, default=1_000_000, help="orders in the backlog (%(default)s)")
    parser.add_argument("--rounds", type=int, default=4, help="of one run without and one with (%(default)s)")
    options = parser.parse_args()
    lifeline.end_processes_with_this_run()
    progress = Progress(console=Console(stderr=True), disable=not sys.stderr.isatty(), transient=True)
    without: list[Measured] = []
    watched: list[Measured] = []
    with arena.opened(all_settings.load()) as servers, progress, servers.topic() as topic:
        filled = msgspec.structs.replace(servers.settings, kafka_topic=topic)
        backlog.send(filled, islice(backlog.messages(), options.rows), options.rows, progress)
        drained = partial(drain, Sink(options.engine), servers, rows=options.rows, progress=progress)
        for _ in range(options.rounds):
            without.append(measure(servers, topic, options.rows, progress, drained))

            def drain_watched(settings: Settings) -> Measured:
                with _viewers(servers, settings) as seen:
                    measured: Measured = drained(settings)
                print(f"{without[-1].steady:>9,.0f} rows/s unwatched {measured.steady:>9,.0f} watched; updates {seen}")
                return measured

            watched.append(measure(servers, topic, options.rows, progress, drain_watched))
    shares = [seen.steady / unwatched.steady for unwatched, seen in zip(without, watched, strict=True)]
    print(f"watched / unwatched: median {median(shares):.3f}, of {', '.join(f'{share:.3f}' for share in shares)}")
    noise = ", ".join(f"{after.steady / before.steady:.3f}" for before, after in pairwise(without))
    print(f"unwatched, from one run to the next: {noise}")
    if not all(run.exact for run in (*without, *watched)):
        sys.exit("A table did not hold what was sent.")


@contextmanager
def _viewers(servers: Arena, settings: Settings) -> Iterator[list[int]]:
    """Run ten viewers of a dashboard and a scraper; yield the number of updates that each has received so far."""
    settings = msgspec.structs.replace(settings, dashboard_port=free_port())
    schema.prepare(settings)
    stop_event = threading.Event()
    updates = [0] * (VIEWERS + 1)

    def watch(viewer: int) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", settings.dashboard_port, timeout=30)
        connection.request("GET", "/events?window=1h")
        response = connection.getresponse()
        while not stop_event.is_set():
            updates[viewer] += response.readline().startswith(b"event: snapshot")

    def scrape() -> None:
        while not stop_event.wait(1):
            connection = http.client.HTTPConnection("127.0.0.1", settings.dashboard_port, timeout=30)
            connection.request("GET", "/metrics")
            updates[VIEWERS] += connection.getresponse().read().startswith(b"# HELP")
            connection.close()

    with running(servers.orderflow("dashboard", settings, "dashboard")) as dashboard:
        until(has_logged(dashboard, "Dashboard at"), dashboard)
        threads = [threading.Thread(target=watch, args=(number,)) for number in range(VIEWERS)]
        threads.append(threading.Thread(target=scrape))
        for thread in threads:
            thread.start()
        until(lambda: all(count > 1 for count in updates), dashboard)
        try:
            yield updates
        finally:
            stop_event.set()
            for thread in threads:
                thread.join()


if __name__ == "__main__":
    main()
