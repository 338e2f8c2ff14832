"""Access control and security headers. A plain ASGI middleware, which does not buffer streams.

- Host: an unknown host name is rejected, against DNS rebinding.
- Origin: requests from other sites are rejected.
- Token: if one is set, a viewer enters it once in a form, and a client can send it as a bearer token. The form sets a
  cookie that scripts cannot read and that browsers do not send with requests from other sites.
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
_WRONG_TOKEN_PAUSE = 1.0  # seconds; slows down guessing
_MAX_FORM = 4096  # bytes
# The login form with its files, and the health checks of orchestrators.
_PUBLIC_PATHS = ("/login", "/static/style.css", "/static/theme.js", "/static/icon.svg", "/live", "/ready")
_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self';"
        " form-action 'self'; base-uri 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'"
    ),
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "same-origin",  # with a stricter policy, the login form sends no origin
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Cache-Control": "no-store",
}


class Guard:
    """Rejects requests without access, and adds the security headers to every response."""

    def __init__(self, app: ASGIApp, settings: Settings) -> None:
        self._app = app
        self._names = {"localhost", settings.dashboard_host.lower()}
        self._token = settings.dashboard_token

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request (ASGI)."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(_HEADERS)
            await send(message)

        request = Request(scope, receive)
        response = self._reject(request)
        if response is None and self._token and not self._has_token(request) and request.url.path not in _PUBLIC_PATHS:
            wants_page = "text/html" in request.headers.get("accept", "")
            response = (
                RedirectResponse("/login", 303)
                if wants_page
                else PlainTextResponse("The dashboard requires a token: see /login.\n", 401)
            )
        await (response or self._app)(scope, receive, send_with_headers)

    async def login(self, request: Request) -> Response:
        """Check the token of the form. Redirects to the page with a cookie, or back to the form."""
        form = b""
        async for piece in request.stream():
            form += piece
            if len(form) > _MAX_FORM:
                return PlainTextResponse("The form is too large.\n", 413)
        [given, *_] = parse_qs(form.decode(errors="replace")).get("token", [""])
        if not self._token or not _is_equal(given, self._token):
            await asyncio.sleep(_WRONG_TOKEN_PAUSE)
            return RedirectResponse("/login?wrong", 303)
        response = RedirectResponse("/", 303)
        secure = request.url.scheme == "https"
        response.set_cookie(COOKIE, _cookie_value(self._token), httponly=True, samesite="strict", secure=secure)
        return response

    def _reject(self, request: Request) -> Response | None:
        host = request.headers.get("host", "")
        if not self._is_known_host(host):
            return PlainTextResponse(
                "Unknown host name. Use the dashboard's address, or set DASHBOARD_HOST to this name.\n", 421
            )
        origin = request.headers.get("origin")
        # A link on another site may open the page; all other requests from other sites are rejected.
        is_cross_site = request.headers.get("sec-fetch-site") == "cross-site"
        is_navigation = request.headers.get("sec-fetch-mode") == "navigate" and request.method == "GET"
        if (origin and _host_of(origin) != host) or (is_cross_site and not is_navigation):
            return PlainTextResponse("Requests from other sites are not allowed.\n", 403)
        return None

    def _is_known_host(self, host: str) -> bool:
        """Whether the host is an IP address, which DNS rebinding cannot forge, or a name of this dashboard."""
        name = ""
        try:
            name = urlsplit(f"//{host}").hostname or ""
            ipaddress.ip_address(name)
        except ValueError:
            return name in self._names
        return True

    def _has_token(self, request: Request) -> bool:
        assert self._token
        kind, _, given = request.headers.get("authorization", "").partition(" ")
        return _is_equal(request.cookies.get(COOKIE, ""), _cookie_value(self._token)) or (
            kind.lower() == "bearer" and _is_equal(given, self._token)
        )


def _cookie_value(token: str) -> str:
    """The value of the cookie: an HMAC, so that the cookie does not contain the token."""
    return hmac.new(token.encode(), COOKIE.encode(), hashlib.sha256).hexdigest()


def _is_equal(given: str, expected: str) -> bool:
    return hmac.compare_digest(given.encode(), expected.encode())


def _host_of(origin: str) -> str | None:
    """Return the host and port of an Origin header; None if it is not a URL."""
    try:
        return urlsplit(origin).netloc
    except ValueError:
        return None
