"""Who may talk to the playground, at the level of single requests."""

from __future__ import annotations

import httpx
import pytest

from deeptrader.core.errors import SettingsError
from deeptrader.playground.access import COOKIE, Access, Gatekeeper, is_loopback

TOKEN = "a-long-random-token"


async def inner(scope, receive, send):
    """Stands for the application: says yes to whatever reaches it."""
    if scope["type"] == "websocket":
        await send({"type": "websocket.accept"})
        return
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/plain")]})
    await send({"type": "http.response.body", "body": b"in"})


def client(access: Access | None = None, host: str = "127.0.0.1:7777") -> httpx.AsyncClient:
    transport = httpx.ASGITransport(app=Gatekeeper(inner, access or Access()))  # type: ignore[arg-type]
    return httpx.AsyncClient(transport=transport, base_url=f"http://{host}")


async def websocket(access: Access | Gatekeeper, **headers: str) -> str:
    """What a websocket that opens with these headers is told first."""
    sent: list = []

    async def send(message):
        sent.append(message)

    raw = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    scope = {"type": "websocket", "path": "/_nicegui_ws/socket.io/", "query_string": b"", "headers": raw}
    keeper = Gatekeeper(inner, access) if isinstance(access, Access) else access
    await keeper(scope, None, send)  # type: ignore[arg-type]
    return sent[0]["type"]


async def test_the_machine_itself_gets_in_and_is_told_to_load_nothing_from_elsewhere():
    async with client() as http:
        answer = await http.get("/")
    assert answer.text == "in"
    policy = answer.headers["content-security-policy"]
    assert "default-src 'self'" in policy
    assert "frame-ancestors 'none'" in policy
    assert "http" not in policy
    assert answer.headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize(
    "host", ["evil.example", "127.0.0.1.evil.example", "localhost.evil.example:7777", "", "10.0.0.8"]
)
async def test_a_foreign_host_name_is_refused_however_it_resolves(host):
    async with client() as http:
        assert (await http.get("/", headers={"host": host})).status_code == 403


@pytest.mark.parametrize("host", ["localhost:7777", "127.0.0.1", "127.8.8.8:1", "[::1]:7777"])
async def test_loopback_names_are_known(host):
    async with client() as http:
        assert (await http.get("/", headers={"host": host})).status_code == 200


@pytest.mark.parametrize("method", ["GET", "POST", "OPTIONS", "DELETE"])
@pytest.mark.parametrize(
    "origin", ["https://evil.example", "http://127.0.0.1:8000", "https://os.agno.com", "null", "http://localhost:7777"]
)
async def test_requests_of_other_sites_are_refused(method, origin):
    async with client() as http:
        answer = await http.request(method, "/agents", headers={"origin": origin})
    assert answer.status_code == 403


async def test_the_pages_own_requests_are_answered():
    async with client() as http:
        assert (await http.post("/x", headers={"origin": "http://127.0.0.1:7777"})).status_code == 200


async def test_another_site_may_be_allowed_by_name():
    async with client(Access(origins=("https://os.agno.com",))) as http:
        assert (await http.get("/agents", headers={"origin": "https://os.agno.com"})).status_code == 200
        assert (await http.get("/agents", headers={"origin": "https://os.agno.com.evil.example"})).status_code == 403


async def test_another_site_may_link_here_but_load_nothing():
    cross = {"sec-fetch-site": "cross-site"}
    async with client() as http:
        assert (await http.get("/", headers=cross | {"sec-fetch-mode": "navigate"})).status_code == 200
        assert (await http.get("/sessions", headers=cross | {"sec-fetch-mode": "no-cors"})).status_code == 403
        assert (await http.post("/", headers=cross | {"sec-fetch-mode": "navigate"})).status_code == 403


async def test_a_websocket_obeys_the_same_rules():
    access = Access()
    assert await websocket(access, host="127.0.0.1:7777", origin="http://127.0.0.1:7777") == "websocket.accept"
    assert await websocket(access, host="127.0.0.1:7777", origin="https://evil.example") == "websocket.close"
    assert await websocket(access, host="evil.example", origin="http://evil.example") == "websocket.close"
    assert await websocket(Access(token=TOKEN), host="127.0.0.1:7777") == "websocket.close"
    keeper = Gatekeeper(inner, Access(token=TOKEN))
    transport = httpx.ASGITransport(app=keeper)  # type: ignore[arg-type]
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:7777") as http:
        await http.post("/sign-in", data={"token": TOKEN})
        cookie = f"{COOKIE}={http.cookies[COOKIE]}"
    assert await websocket(keeper, host="127.0.0.1:7777", cookie=cookie) == "websocket.accept"


async def test_probes_need_no_token_and_everything_else_does():
    async with client(Access(token=TOKEN)) as http:
        assert (await http.get("/healthz")).text == (await http.get("/readyz")).text == "in"
        for path in ("/healthz/", "/healthz/more", "/health", "/"):
            assert (await http.get(path)).status_code == 401
        assert (await http.get("/healthz", headers={"host": "evil.example"})).status_code == 403


def test_a_host_that_others_can_reach_needs_a_token_that_cannot_be_guessed():
    for host in ("0.0.0.0", "::", "192.168.1.4", "trader.local"):
        with pytest.raises(SettingsError, match="can be reached from other machines"):
            Access(host=host)
    with pytest.raises(SettingsError, match="can be guessed"):
        Access(host="0.0.0.0", token="short")
    assert Access(host="0.0.0.0", token=TOKEN).token == TOKEN
    assert TOKEN not in repr(Access(host="0.0.0.0", token=TOKEN))


def test_only_loopback_is_loopback():
    assert all(is_loopback(host) for host in ("localhost", "127.0.0.1", "::1", "[::1]"))
    assert not any(is_loopback(host) for host in ("0.0.0.0", "::", "127.0.0.1.evil.example", "", "10.0.0.1"))


async def test_with_a_token_nothing_is_answered_without_it():
    async with client(Access(token=TOKEN)) as http:
        for path in ("/", "/agents", "/health"):
            answer = await http.get(path)
            assert answer.status_code == 401
            assert answer.text != "in"
        wrong = await http.get("/agents", headers={"authorization": "Bearer a-long-random-tokem"})
        assert wrong.status_code == 401


async def test_the_token_opens_as_header_and_once_as_query_for_a_cookie():
    access = Access(host="0.0.0.0", token=TOKEN)
    async with client(access, host="192.168.1.4:7777") as http:
        assert (await http.get("/agents", headers={"authorization": f"Bearer {TOKEN}"})).text == "in"
        answer = await http.get("/known", params={"token": TOKEN, "interval": "1h"})
        assert answer.status_code == 200
        assert TOKEN not in answer.text, "the token does not stay in the address"
        assert "/known?interval=1h" in answer.text
        cookie = answer.headers["set-cookie"]
        assert "HttpOnly" in cookie
        assert "SameSite=Strict" in cookie
        assert TOKEN not in cookie
        assert (await http.get("/known")).text == "in", "the cookie is enough from now on"


async def test_each_who_signs_in_has_a_cookie_that_signing_out_ends():
    access = Gatekeeper(inner, Access(token=TOKEN))
    first, second = (
        httpx.AsyncClient(transport=httpx.ASGITransport(app=access), base_url="http://127.0.0.1:7777")  # type: ignore[arg-type]
        for _ in range(2)
    )
    async with first, second:
        for http in (first, second):
            assert (await http.post("/sign-in", data={"token": TOKEN})).status_code == 303
        kept = first.cookies[COOKIE]
        assert kept != second.cookies[COOKIE]
        assert (await first.get("/sign-out")).status_code == 401, "a link of another site signs nobody out"
        assert (await first.post("/sign-out")).status_code == 200
        assert (await first.get("/", headers={"cookie": f"{COOKIE}={kept}"})).status_code == 401
        assert (await second.get("/")).text == "in"


async def test_who_tries_wrong_tokens_waits_and_is_logged(caplog):
    now = [0.0]
    transport = httpx.ASGITransport(app=Gatekeeper(inner, Access(token=TOKEN), monotonic=lambda: now[0]))  # type: ignore[arg-type]
    right, wrong = ({"authorization": f"Bearer {token}"} for token in (TOKEN, "not-the-token"))
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:7777") as http:
        tries = [(await http.get("/agents", headers=wrong)).status_code for _ in range(30)]
        assert tries == [401] * 9 + [429] * 21
        assert len(caplog.records) == 10
        assert "127.0.0.1" in caplog.text
        assert "not-the-token" not in caplog.text
        assert (await http.get("/agents", headers=right)).status_code == 429, (
            "a right guess is not told from a wrong one"
        )
        now[0] = 61.0
        assert (await http.get("/agents", headers=right)).text == "in"


async def test_a_browser_without_the_token_is_asked_for_it():
    async with client(Access(token=TOKEN)) as http:
        page = await http.get("/", headers={"accept": "text/html"})
        assert page.status_code == 401
        assert "<form" in page.text
        wrong = await http.post("/sign-in", data={"token": '"><script>'}, headers={"origin": "http://127.0.0.1:7777"})
        assert wrong.status_code == 401
        assert "That is not the token." in wrong.text
        assert "<script>" not in wrong.text
        right = await http.post("/sign-in", data={"token": TOKEN}, headers={"origin": "http://127.0.0.1:7777"})
        assert right.status_code == 303
        assert right.headers["location"] == "/"
        assert (await http.get("/")).text == "in"


@pytest.mark.parametrize("path", ["//evil.example/", "/%5Cevil.example", "/%0d%0aset-cookie:x=1"])
async def test_the_way_in_never_leads_to_another_site(path):
    async with client(Access(token=TOKEN)) as http:
        answer = await http.get(f"http://127.0.0.1:7777{path}?token={TOKEN}")
    target = answer.text.split("url=")[1].split('"')[0]
    assert target.startswith("/")
    assert not target.startswith(("//", "/\\"))
    assert "\n" not in answer.headers["location"]
