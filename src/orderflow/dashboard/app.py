"""The page and what it asks for. Reads only; each answer is a read of the insights as JSON."""

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
from orderflow.metrics import viewer
from orderflow.settings import Settings
from orderflow.store import reading
from orderflow.store.connection import Connection

_STATIC = resources.files("orderflow.dashboard") / "static"
_READERS = 3  # searches at the same time; more wait, so that viewers cannot crowd the database
_SEND_TIMEOUT = 30.0  # seconds after which a viewer that takes nothing is let go


def build(settings: Settings, make_monitor: Callable[[], Monitor]) -> ASGIApp:
    """The application, guarded."""
    feed = Feed(make_monitor)
    few = asyncio.Semaphore(_READERS)

    async def page(_: Request) -> Response:
        return FileResponse(str(_STATIC / "index.html"))

    async def login(request: Request) -> Response:
        if request.method == "POST":
            return await guard.login(request)
        return FileResponse(str(_STATIC / "login.html"))

    async def events(request: Request) -> Response:
        window = request.query_params.get("window", "")
        if window not in WINDOWS:
            raise InputInvalid(f"There is no window {window[:20]!a}.", hint=f"It is one of {', '.join(WINDOWS)}.")
        return EventSourceResponse(feed.events(window), ping=0, sep="\n", send_timeout=_SEND_TIMEOUT)

    async def answer(read: Callable[[Connection], object]) -> Response:
        def ask() -> bytes:
            with reading.opened(settings) as connection:
                return msgspec.json.encode(read(connection))

        async with few:
            return Response(await asyncio.to_thread(ask), media_type="application/json")

    async def search(request: Request) -> Response:
        return await answer(partial(track.search, words=request.query_params.get("q", "")))

    async def order(request: Request) -> Response:
        return await answer(partial(track.story, order_id=request.path_params["order_id"]))

    async def quarantine(request: Request) -> Response:
        reason, before = request.query_params.get("reason"), request.query_params.get("before", "")
        limit = int(before) if before.isdecimal() and len(before) < 19 else reading.EVERY_ID
        return await answer(partial(reading.quarantined, reason=reason or None, before=limit))

    async def metrics(_: Request) -> Response:
        async with few:
            found = await feed.look()
        return Response(viewer.page(found), media_type=CONTENT_TYPE_LATEST)

    async def health(_: Request) -> Response:
        return Response('{"ready":true,"state":"running"}', media_type="application/json")

    app = Starlette(
        routes=[
            Route("/", page),
            Route("/login", login, methods=["GET", "POST"]),
            Route("/events", events),
            Route("/metrics", metrics),
            Route("/live", health),
            Route("/ready", health),  # it serves while Kafka and MySQL are away, and shows it
            Route("/api/search", search),
            Route("/api/orders/{order_id}", order),
            Route("/api/quarantine", quarantine),
            Mount("/static", StaticFiles(directory=str(_STATIC))),
        ],
        exception_handlers={OrderFlowError: _tell},
    )
    guard = Guard(app, settings)
    return guard


async def _tell(_: Request, error: Exception) -> Response:
    assert isinstance(error, OrderFlowError)
    status = 400 if isinstance(error, InputInvalid) else 503
    text = msgspec.json.encode({"error": error.message, "hint": error.hint})
    return Response(text, status, media_type="application/json")
