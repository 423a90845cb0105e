"""What a request to the playground may bring: not too much, no half characters, nothing nested without end.

agno takes what parses and keeps it: a session whose state holds half a character, or is nested a thousand deep, could
not be read back by anybody. So bodies are looked at before they reach it. What still fails on what was asked is the
caller's mistake too, and is told so: no 500, and nothing of our insides.
"""

from __future__ import annotations

import json
import re
from collections.abc import MutableMapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote_to_bytes

from ..core.errors import InvalidInput, typed
from ..core.redaction import redacted
from .access import PAGE_SOCKET, App, Receive, Scope, Send, respond

if TYPE_CHECKING:
    from fastapi import FastAPI
    from starlette.requests import Request
    from starlette.responses import Response

BODY_LIMIT = 20 * 2**20
"""Bytes of a request's body; pictures for a model are among them."""
DEPTH_LIMIT = 100
"""Brackets that a body may have open at once."""
JSON = "application/json"

# JSON's escapes of halves that do not stand in pairs; a backslash that is escaped itself begins none.
_HALF = re.compile(
    rb"(?<!\\)(?:\\\\)*(?:\\u[dD][89abAB][0-9a-fA-F]{2}(?!\\u[dD][c-fC-F])"
    rb"|(?<!\\u[dD][89abAB][0-9a-fA-F]{2})\\u[dD][c-fC-F])"
)
_MISTAKES = (ValueError, TypeError, LookupError, AttributeError, OverflowError, RecursionError)
"""What routes of agno raise for values of the wrong kind: they are checked for their form alone."""
_BRACKET = re.compile(rb"[\[{]|[\]}]")


class Intake:
    """The layer between gatekeeper and agno."""

    def __init__(self, app: App) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"].startswith(PAGE_SOCKET):
            await self._app(scope, receive, send)
            return
        parts, size, more = [], 0, True
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                return
            parts.append(message.get("body", b""))
            size, more = size + len(parts[-1]), message.get("more_body", False)
            if size > BODY_LIMIT:
                await _refuse(send, 413, f"A request may have {BODY_LIMIT // 2**20} MB.", "Send less at once.")
                return
        body = b"".join(parts)
        kind = dict(scope["headers"]).get(b"content-type", b"")
        problem = fault_in(_texts(body, kind))
        if problem:
            await _refuse(send, 422, problem, "Send valid Unicode, and JSON that is flatter.")
            return
        whole = [{"type": "http.request", "body": body, "more_body": False}]

        async def again() -> MutableMapping[str, Any]:
            return whole.pop() if whole else await receive()

        with suppress(Exception):  # logged and answered by `_failed`; raised again, it would cut the connection
            await self._app(scope, again, send)


def _texts(body: bytes, kind: bytes) -> bytes:
    """A body as it is read, without the files in it."""
    if b"urlencoded" in kind:
        return unquote_to_bytes(body)
    boundary = re.search(rb'boundary="?([^";,]+)', kind)
    if boundary is None:
        return body
    fields = body.split(b"--" + boundary[1])
    return b"\n".join(field for field in fields if b"filename" not in field.partition(b"\r\n\r\n")[0])


def fault_in(body: bytes) -> str:
    """Why a body, JSON or a form with JSON in it, is not handed on; "" where nothing speaks against it."""
    if _HALF.search(body):
        return "The request holds half a character (a lone surrogate)."
    depth = 0
    for bracket in _BRACKET.finditer(body):
        depth = depth + 1 if bracket[0] in b"[{" else max(0, depth - 1)
        if depth > DEPTH_LIMIT:
            return "The request holds JSON that is nested too deeply."
    return ""


async def _refuse(send: Send, status: int, message: str, hint: str) -> None:
    await respond(send, status, json.dumps(InvalidInput(message, hint=hint).as_dict()), JSON)


def answer_mistakes(app: FastAPI) -> None:
    """Let what fails on what was asked be answered as that, by agno's routes too."""
    from fastapi.exceptions import RequestValidationError
    from starlette.exceptions import HTTPException

    app.add_exception_handler(RequestValidationError, _not_valid)
    app.add_exception_handler(HTTPException, _refused)
    for kind in _MISTAKES:
        app.add_exception_handler(kind, _not_understood)
    app.add_exception_handler(Exception, _failed)


def _reply(status: int, content: Any) -> Response:
    from starlette.responses import Response

    return Response(json.dumps(content, default=str), status, media_type=JSON)


async def _not_valid(_request: Request, error: Any) -> Response:
    """FastAPI's own reply without what was sent, which may be anything, such as no number or half a character."""
    said = [{"type": each["type"], "loc": each["loc"], "msg": each["msg"]} for each in error.errors()]
    return _reply(422, {"detail": said})


async def _refused(_request: Request, error: Any) -> Response:
    """agno's own reply; a refusal that it caught, and wrapped as a failure of the server, is a refusal again."""
    from starlette.exceptions import HTTPException

    while error.status_code >= 500 and isinstance(error.__context__, HTTPException):
        error = error.__context__
    detail = redacted(error.detail) if isinstance(error.detail, str) else error.detail
    named = {name: getattr(error, name) for name in ("error_id", "error_type") if getattr(error, name, None)}
    reply = _reply(error.status_code, {"detail": detail} | named)
    reply.headers.update(error.headers or {})
    return reply


async def _failed(_request: Request, error: Exception) -> Response:
    """What nobody foresaw, told without its text, which may hold anything; the log has all of it.

    Where agno raises an `Exception` that is no more than that, something was asked for that is not there.
    """
    return _reply(404 if type(error) is Exception else 500, typed(error, "A request").as_dict())


async def _not_understood(_request: Request, error: Exception) -> Response:
    """What a route could not work with; it may be a fault of ours all the same, so it is logged too."""
    typed(error, "A request")
    problem = InvalidInput(f"The request cannot be worked on ({type(error).__name__}).", hint="Check what it asks.")
    return _reply(422, problem.as_dict())
