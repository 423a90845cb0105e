"""Who may talk to the playground: this machine, or whoever has the token; and no page of another site.

One ASGI layer in front of everything, agno's REST interface and the page's websocket included. One token for all lets
whoever holds it see every session; with a token for each user, agno and the page show each their own. Signing in gives
a cookie of one's own, which ends with `/sign-out`, after thirty days, or with the server. Who tries wrong tokens is
logged and left waiting.
"""

from __future__ import annotations

import hmac
import html
import ipaddress
import logging
import re
import secrets
import socket
import time
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from dataclasses import dataclass, field
from http.cookies import SimpleCookie
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, quote, urlencode, urlsplit

from cachetools import TTLCache

from ..core.errors import SettingsError

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

SIGN_IN = "/sign-in"
SIGN_OUT = "/sign-out"
PROBES = ("/healthz", "/readyz")
"""Addresses that ask for no token; what they answer is no secret."""
PAGE_SOCKET = "/_nicegui_ws/"
COOKIE = "deeptrader_playground"
SIGNED_IN = "deeptrader_signed_in"
"""In a request's state: whether it came with a cookie, which signing out ends."""
USER = re.compile(r"[A-Za-z0-9][\w.@+-]{0,63}")
MINIMUM_TOKEN = 12
BODY_LIMIT = 4_096
WRONG_TRIES = 10
"""Wrong tokens from one address, until no more are looked at for `WAIT_SECONDS` after the last of them."""
WAIT_SECONDS = 60
SESSION_SECONDS = 30 * 86_400
SESSIONS = 1_000
ADDRESSES = 10_000

_log = logging.getLogger(__name__)

HTML, PLAIN = "text/html; charset=utf-8", "text/plain; charset=utf-8"
# Scripts are the page's own; Vue compiles its templates in the browser, hence unsafe-eval. Nothing leaves this host.
CONTENT_POLICY = (
    "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data:; font-src 'self' data:; connect-src 'self'; object-src 'none'; base-uri 'none'; "
    "form-action 'self'; frame-ancestors 'none'"
)
_HEADERS = (
    (b"content-security-policy", CONTENT_POLICY.encode()),
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"same-origin"),  # with none, a browser calls the page's own forms another site's
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
)


@dataclass(frozen=True)
class Access:
    """The rules.

    Args:
        host: address the server binds.
        token: secret that every request must bring; required unless `host` is loopback, or there are `users`.
        users: a token for each user by name. Who comes with it sees the sessions of that user and no other; who comes
            with `token` sees all.
        hosts: further names this server answers to (a reverse proxy's).
        origins: other origins that may call, e.g. `https://os.agno.com` for agno's hosted control plane.

    Raises:
        SettingsError: a non-loopback host without a token, a token that is too short or two users', or a bad name.
    """

    host: str = "127.0.0.1"
    token: str | None = field(default=None, repr=False)
    users: Mapping[str, str] = field(default_factory=dict, repr=False)
    hosts: tuple[str, ...] = ()
    origins: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not self.tokens and not is_loopback(self.host):
            raise SettingsError(
                f"{self.host} can be reached from other machines.",
                hint="Give --token with a long random text, or leave --host at 127.0.0.1.",
            )
        shortest = min(map(len, self.tokens), default=MINIMUM_TOKEN)
        if shortest < MINIMUM_TOKEN:
            raise SettingsError(
                f"A token of {shortest} characters can be guessed.",
                hint=f"Use at least {MINIMUM_TOKEN} random characters.",
            )
        if len(set(self.tokens)) < len(self.tokens):
            raise SettingsError("Two users have the same token.", hint="Give each one of their own.")
        if wrong := next((name for name in self.users if not USER.fullmatch(name)), None):
            raise SettingsError(f"{wrong[:40]!r} is no name of a user.", hint="Use letters, digits and . _ @ + -")

    @property
    def tokens(self) -> tuple[str, ...]:
        """Every token that opens; none where nobody is asked for one."""
        return (*(() if self.token is None else (self.token,)), *self.users.values())

    def knows_host(self, header: str) -> bool:
        """True when a Host header names this server. A foreign name means that its owner points it at us."""
        name = _host_name(header)
        if is_loopback(name):
            return True
        if is_loopback(self.host):
            return name in self.hosts
        own = {self.host.lower(), socket.gethostname().lower(), *(host.lower() for host in self.hosts)}
        return name in own or _address_in(name) is not None

    def knows_origin(self, origin: str, host: str) -> bool:
        """True when the page that calls is ours, or one that was allowed by name."""
        if origin in self.origins:
            return True
        parts = urlsplit(origin)
        return parts.scheme in ("http", "https") and parts.netloc.lower() == host.lower()

    def user_with(self, token: str) -> str | None:
        """Whose token this is, "" for the one for all, None for a wrong one. Takes the same time whatever was given."""
        own = {"": self.token} if self.token is not None else {}
        given = token.encode()
        found = [name for name, right in (own | dict(self.users)).items() if hmac.compare_digest(given, right.encode())]
        return found[0] if found else None


def is_loopback(host: str) -> bool:
    """True for localhost and the loopback addresses."""
    name = host.strip("[]").lower()
    address = _address_in(name)
    return name == "localhost" or (address is not None and address.is_loopback)


class Gatekeeper:
    """The layer. Refusals are short sentences; a browser without the token gets a form to enter it."""

    def __init__(self, app: App, access: Access, *, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._app = app
        self.access = access
        self._sessions: TTLCache[str, str] = TTLCache(SESSIONS, SESSION_SECONDS, timer=monotonic)
        self._wrong: TTLCache[str, int] = TTLCache(ADDRESSES, WAIT_SECONDS, timer=monotonic)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        headers = _headers(scope)
        refusal = self._refusal(scope, headers)
        if refusal is not None:
            await _refuse(scope, send, 403, refusal)
            return
        path = scope["path"] if scope["type"] == "http" else ""
        if self.access.tokens and path == SIGN_OUT:
            await self._sign_out(scope, send, headers)
            return
        if self.access.tokens and path not in PROBES:
            session = self._session(headers)
            user = self._sessions[session] if session is not None else self._user_by_header(scope, headers)
            if user is None:
                await self._ask_for_token(scope, receive, send, headers)
                return
            if user and scope["type"] == "websocket" and not scope["path"].startswith(PAGE_SOCKET):
                await _refuse(scope, send, 403, "agno's websockets know no users.")
                return
            # Where agno looks for who may see what; `user_of` is for the page.
            own = {"user_id": user, "user_isolation_enabled": True} if user else {}
            scope = {**scope, "state": {**scope.get("state", {}), **own, SIGNED_IN: session is not None}}
        await self._app(scope, receive, _with_headers(scope, send))

    def _refusal(self, scope: Scope, headers: dict[str, str]) -> str | None:
        host = headers.get("host", "")
        if not self.access.knows_host(host):
            return "This playground does not answer to that host name."
        origin = headers.get("origin")
        if origin is not None:
            return None if self.access.knows_origin(origin, host) else "Requests from other sites are refused."
        # No Origin: old browsers' and other programs' requests, and plain GETs. A page of another site may link here,
        # but not embed or load anything.
        if headers.get("sec-fetch-site") == "cross-site" and not (
            headers.get("sec-fetch-mode") == "navigate" and scope.get("method") == "GET"
        ):
            return "Requests from other sites are refused."
        return None

    def _user_by_header(self, scope: Scope, headers: dict[str, str]) -> str | None:
        scheme, _, given = headers.get("authorization", "").partition(" ")
        return self._user_with(scope, given.strip()) if scheme.lower() == "bearer" else None

    def _must_wait(self, scope: Scope) -> bool:
        return self._wrong.get(_address(scope), 0) >= WRONG_TRIES

    def _user_with(self, scope: Scope, token: str) -> str | None:
        """`Access.user_with`. A wrong one is counted against its address, where it is not waiting already."""
        if self._must_wait(scope):
            return None
        user = self.access.user_with(token)
        if user is not None:
            return user
        address = _address(scope)
        self._wrong[address] = self._wrong.get(address, 0) + 1
        _log.warning("A wrong token came from %s (%d within a minute).", address, self._wrong[address])
        return None

    def _session(self, headers: dict[str, str]) -> str | None:
        """The session that the cookie names, if it goes on."""
        cookie = SimpleCookie()
        try:
            cookie.load(headers.get("cookie", ""))
        except Exception:  # noqa: BLE001 - http.cookies raises its own kinds for a malformed header: no cookie then
            return None
        given = cookie[COOKIE].value if COOKIE in cookie else ""
        return given if given in self._sessions else None

    async def _sign_out(self, scope: Scope, send: Send, headers: dict[str, str]) -> None:
        session = self._session(headers)
        if scope["method"] != "POST" or session is None:
            await _refuse(scope, send, 401, "Nobody is signed in here, or this was no POST.")
            return
        self._sessions.pop(session, None)
        gone = f"{COOKIE}=; Path=/; HttpOnly; SameSite=Strict; Max-Age=0"
        await respond(send, 200, _sign_in_page("You are signed out."), HTML, ((b"set-cookie", gone.encode()),))

    async def _ask_for_token(self, scope: Scope, receive: Receive, send: Send, headers: dict[str, str]) -> None:
        if scope["type"] == "websocket":
            await _refuse(scope, send, 401, "Sign in first.")
            return
        query = parse_qsl(scope.get("query_string", b"").decode("latin-1"), keep_blank_values=True)
        given = next((value for name, value in query if name == "token"), None)
        if self._must_wait(scope):
            wait = ((b"retry-after", str(WAIT_SECONDS).encode()),)
            await respond(send, 429, f"Too many wrong tokens. Wait {WAIT_SECONDS} seconds.\n", headers=wait)
        elif scope["method"] == "GET" and given and (user := self._user_with(scope, given)) is not None:
            rest = urlencode([(name, value) for name, value in query if name != "token"])
            path = "/" + quote(scope["path"].lstrip("/")) + ("?" + rest if rest else "")
            await self._let_in(scope, send, user, path)
        elif scope["method"] == "POST" and scope["path"] == SIGN_IN:
            form = dict(parse_qsl((await _body(receive)).decode("utf-8", "replace")))
            user = self._user_with(scope, form.get("token", ""))
            if user is not None:
                await self._let_in(scope, send, user, "/")
            else:
                await respond(send, 401, _sign_in_page("That is not the token."), HTML)
        elif "text/html" in headers.get("accept", "") and scope["method"] == "GET":
            await respond(send, 401, _sign_in_page(), HTML)
        else:
            await respond(send, 401, "Give the token: Authorization: Bearer ...\n")

    async def _let_in(self, scope: Scope, send: Send, user: str, path: str) -> None:
        secure = "; Secure" if scope.get("scheme") == "https" else ""
        session = secrets.token_urlsafe(32)
        self._sessions[session] = user
        cookie = f"{COOKIE}={session}; Path=/; HttpOnly; SameSite=Strict; Max-Age={SESSION_SECONDS}{secure}"
        # A page of its own instead of a redirect: a Strict cookie is not sent along a redirect that began elsewhere.
        await respond(
            send,
            303 if scope["method"] == "POST" else 200,
            f'<!doctype html><meta http-equiv="refresh" content="0;url={html.escape(path)}">',
            HTML,
            ((b"set-cookie", cookie.encode()), (b"location", path.encode())),
        )


def user_of(scope: Scope) -> str | None:
    """Whose sessions a request may see; None for everybody's."""
    return scope.get("state", {}).get("user_id")


def _headers(scope: Scope) -> dict[str, str]:
    """Headers by lower-case name. Two Host or Origin headers that differ are joined, and then match nothing."""
    found: dict[str, str] = {}
    for raw_name, raw_value in scope.get("headers", ()):
        name, value = raw_name.decode("latin-1").lower(), raw_value.decode("latin-1")
        found[name] = f"{found[name]}; {value}" if name in found else value
    return found


def _address(scope: Scope) -> str:
    return (scope.get("client") or ("an unknown address",))[0]


def _host_name(header: str) -> str:
    if header.startswith("["):
        return header[1:].partition("]")[0].lower()
    return header.partition(":")[0].lower()


def _address_in(name: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(name)
    except ValueError:
        return None


async def _body(receive: Receive) -> bytes:
    body = b""
    while len(body) <= BODY_LIMIT:
        message = await receive()
        body += message.get("body", b"")
        if not message.get("more_body"):
            break
    return body[:BODY_LIMIT]


async def _refuse(scope: Scope, send: Send, status: int, text: str) -> None:
    if scope["type"] == "websocket":
        await send({"type": "websocket.close", "code": 4403, "reason": text})
    else:
        await respond(send, status, text + "\n")


async def respond(
    send: Send, status: int, text: str, kind: str = PLAIN, headers: tuple[tuple[bytes, bytes], ...] = ()
) -> None:
    """Send a whole small answer, with the headers that every answer of this server has."""
    body = text.encode()
    fixed = (
        (b"content-type", kind.encode()),
        (b"content-length", str(len(body)).encode()),
        (b"cache-control", b"no-store"),
    )
    await send({"type": "http.response.start", "status": status, "headers": [*fixed, *_HEADERS, *headers]})
    await send({"type": "http.response.body", "body": body})


def _with_headers(scope: Scope, send: Send) -> Send:
    if scope["type"] != "http":
        return send

    async def sending(message: MutableMapping[str, Any]) -> None:
        if message["type"] == "http.response.start":
            present = {name.lower() for name, _ in message.get("headers", ())}
            added = [pair for pair in _HEADERS if pair[0] not in present]
            message = {**message, "headers": [*message.get("headers", ()), *added]}
        await send(message)

    return sending


def _sign_in_page(problem: str = "") -> str:
    note = f'<p role="alert">{html.escape(problem)}</p>' if problem else ""
    return (Path(__file__).parent / "static" / "sign_in.html").read_text("utf-8").replace("<!-- problem -->", note)
