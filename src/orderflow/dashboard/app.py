"""The web application: the page and its read-only JSON endpoints."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from importlib import resources

import msgspec
from prometheus_client import CONTENT_TYPE_LATEST
from sse_starlette import EventSourceResponse
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import FileResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp

from orderflow.dashboard.feed import Feed
from orderflow.dashboard.guard import Guard
from orderflow.errors import InputInvalid, OrderFlowError
from orderflow.insights import track
from orderflow.insights.monitor import Monitor
from orderflow.insights.sales import WINDOWS
from orderflow.metrics import dashboard_metrics
from orderflow.settings import Settings
from orderflow.store import viewer_queries
from orderflow.store.connection import Connection

_STATIC = resources.files("orderflow.dashboard") / "static"
_MAX_READERS = 3  # concurrent queries; further ones wait, so that viewers cannot overload the database


def build(settings: Settings, make_monitor: Callable[[], Monitor]) -> ASGIApp:
    """Build the application, wrapped by Guard."""
    feed = Feed(make_monitor)
    readers = asyncio.Semaphore(_MAX_READERS)

    async def page(_: Request) -> Response:
        return FileResponse(str(_STATIC / "index.html"))

    async def login(request: Request) -> Response:
        if request.method == "POST":
            return await guard.login(request)
        return FileResponse(str(_STATIC / "login.html"))

    async def events(request: Request) -> Response:
        window = request.query_params.get("window", "")
        if window not in WINDOWS:
            raise InputInvalid(f"Unknown window {window[:20]!a}.", hint=f"Valid windows are {', '.join(WINDOWS)}.")
        return EventSourceResponse(feed.events(window), ping=0, sep="\n")

    async def respond(read: Callable[[Connection], object]) -> Response:
        def query() -> bytes:
            with viewer_queries.open_reader(settings) as connection:
                return msgspec.json.encode(read(connection))

        async with readers:
            return Response(await asyncio.to_thread(query), media_type="application/json")

    async def search(request: Request) -> Response:
        try:
            return await respond(partial(track.search, query=request.query_params.get("q", "")))
        except InputInvalid as error:  # status 200: a browser logs other answers as faults of the page
            return _error_response(error, 200)

    async def order(request: Request) -> Response:
        return await respond(partial(track.track_order, order_id=request.path_params["order_id"]))

    async def quarantine(request: Request) -> Response:
        reason, before = request.query_params.get("reason"), request.query_params.get("before", "")
        limit = int(before) if before.isdecimal() and len(before) < 19 else viewer_queries.EVERY_ID
        return await respond(partial(viewer_queries.read_quarantined, reason=reason or None, before=limit))

    async def metrics(_: Request) -> Response:
        async with readers:
            snapshot = await feed.take_snapshot()
        return Response(dashboard_metrics.render(snapshot), media_type=CONTENT_TYPE_LATEST)

    async def health(_: Request) -> Response:
        return Response('{"ready":true,"state":"running"}', media_type="application/json")

    app = Starlette(
        routes=[
            Route("/", page),
            Route("/login", login, methods=["GET", "POST"]),
            Route("/events", events),
            Route("/metrics", metrics),
            Route("/live", health),
            Route("/ready", health),  # ready even without Kafka and MySQL, because the page shows their outage
            Route("/api/search", search),
            Route("/api/orders/{order_id:path}", order),
            Route("/api/quarantine", quarantine),
            Mount("/static", StaticFiles(directory=str(_STATIC))),
        ],
        exception_handlers={OrderFlowError: _respond_to_error},
    )
    guard = Guard(app, settings)
    return guard


async def _respond_to_error(_: Request, error: Exception) -> Response:
    assert isinstance(error, OrderFlowError)
    return _error_response(error, 400 if isinstance(error, InputInvalid) else 503)


def _error_response(error: OrderFlowError, status: int) -> Response:
    text = msgspec.json.encode({"error": error.message, "hint": error.hint})
    return Response(text, status, media_type="application/json")
