"""Who may see the page, and what the page may do. A plain ASGI middleware, so that streams pass through it untouched.

Host: a name that an attacker points at this machine (DNS rebinding) is refused. Origin: no other site may ask.
Token: where one is set, it is given once in a form (or with each request as a bearer) and kept in a cookie that
scripts cannot read and other sites' requests do not carry.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import ipaddress
from urllib.parse import parse_qs, urlsplit

from starlette.datastructures import MutableHeaders
from starlette.requests import Request
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from orderflow.settings import Settings

COOKIE = "orderflow_dashboard"
_WRONG_TOKEN_PAUSE = 1.0  # seconds, against guessing
_LONGEST_FORM = 4096  # bytes
# What the form itself needs, and what orchestrators ask.
_OPEN = ("/login", "/static/style.css", "/static/theme.js", "/static/icon.svg", "/live", "/ready")
_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self';"
        " form-action 'self'; base-uri 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'"
    ),
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "same-origin",  # under a stricter one the login form would name no origin
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Cache-Control": "no-store",
}


class Guard:
    """Lets through what may pass, and gives every answer its headers."""

    def __init__(self, app: ASGIApp, settings: Settings) -> None:
        self._app = app
        self._names = {"localhost", settings.dashboard_host.lower()}
        self._token = settings.dashboard_token

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(_HEADERS)
            await send(message)

        request = Request(scope, receive)
        answer = self._refusal(request)
        if answer is None and self._token and not self._is_known(request) and request.url.path not in _OPEN:
            wants_page = "text/html" in request.headers.get("accept", "")
            answer = (
                RedirectResponse("/login", 303)
                if wants_page
                else PlainTextResponse("The dashboard wants its token: see /login.\n", 401)
            )
        await (answer or self._app)(scope, receive, send_with_headers)

    async def login(self, request: Request) -> Response:
        """To the page with the cookie, or back to the form."""
        form = b""
        async for piece in request.stream():
            form += piece
            if len(form) > _LONGEST_FORM:
                return PlainTextResponse("That is no token.\n", 413)
        [given, *_] = parse_qs(form.decode(errors="replace")).get("token", [""])
        if not self._token or not _same(given, self._token):
            await asyncio.sleep(_WRONG_TOKEN_PAUSE)
            return RedirectResponse("/login?wrong", 303)
        answer = RedirectResponse("/", 303)
        secure = request.url.scheme == "https"
        answer.set_cookie(COOKIE, _mark(self._token), httponly=True, samesite="strict", secure=secure)
        return answer

    def _refusal(self, request: Request) -> Response | None:
        host = request.headers.get("host", "")
        if not self._is_own(host):
            return PlainTextResponse(
                "This dashboard is not known by that name. Use its address, or set DASHBOARD_HOST to the name.\n", 421
            )
        origin = request.headers.get("origin")
        # A link from elsewhere may open the page; nothing else from elsewhere may.
        asks = request.headers.get("sec-fetch-site") == "cross-site"
        opens = request.headers.get("sec-fetch-mode") == "navigate" and request.method == "GET"
        if (origin and urlsplit(origin).netloc != host) or (asks and not opens):
            return PlainTextResponse("Another site may not ask this dashboard.\n", 403)
        return None

    def _is_own(self, host: str) -> bool:
        """An address can be no other's name; of names, only ours."""
        name = ""
        try:
            name = urlsplit(f"//{host}").hostname or ""
            ipaddress.ip_address(name)
        except ValueError:
            return name in self._names
        return True

    def _is_known(self, request: Request) -> bool:
        assert self._token
        kind, _, given = request.headers.get("authorization", "").partition(" ")
        return _same(request.cookies.get(COOKIE, ""), _mark(self._token)) or (
            kind.lower() == "bearer" and _same(given, self._token)
        )


def _mark(token: str) -> str:
    """What the cookie holds: proof of the token, not the token."""
    return hmac.new(token.encode(), COOKIE.encode(), hashlib.sha256).hexdigest()


def _same(given: str, right: str) -> bool:
    return hmac.compare_digest(given.encode(), right.encode())
