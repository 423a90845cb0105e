"""The second price source, against a loopback server."""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from deeptrader.core.errors import MalformedResponse, RateLimited, SourceUnreachable
from deeptrader.toolkits.market_data.yahoo_rows import coingecko_prices


@pytest.fixture
def server():
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            running.paths.append(self.path)
            status, body = running.answer
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            pass

    class Server(HTTPServer):
        paths: list[str]
        answer: tuple[int, bytes]

    running = Server(("127.0.0.1", 0), Handler)
    running.paths, running.answer = [], (200, b"{}")
    threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    yield running
    running.shutdown()
    running.server_close()


def prices(server, *ids):
    return coingecko_prices(ids, base_url=f"http://127.0.0.1:{server.server_port}")


def test_prices_come_in_one_request_without_those_it_does_not_know(server):
    server.answer = 200, json.dumps({"bitcoin": {"usd": 64000.5}, "ethereum": {"usd": None}}).encode()

    assert prices(server, "bitcoin", "ethereum", "nobody") == {"bitcoin": 64000.5}
    assert server.paths == ["/simple/price?ids=bitcoin%2Cethereum%2Cnobody&vs_currencies=usd"]


def test_nothing_is_asked_for_no_coins(server):
    assert prices(server) == {}
    assert server.paths == []


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        ((429, b""), RateLimited),
        ((503, b""), SourceUnreachable),
        ((200, b"<html>"), MalformedResponse),
        ((200, b"[1]"), MalformedResponse),
        ((200, b'{"bitcoin": 3}'), MalformedResponse),
        ((200, b'{"bitcoin": {"usd": "x"}}'), MalformedResponse),
    ],
)
def test_each_failure_has_its_type(server, answer, error):
    server.answer = answer
    with pytest.raises(error):
        prices(server, "bitcoin")


def test_a_dead_port_is_unreachable(server):
    server.shutdown()
    server.server_close()
    with pytest.raises(SourceUnreachable):
        prices(server, "bitcoin")
