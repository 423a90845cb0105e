"""A server on the loopback that speaks enough of OpenAI's chat completions and responses."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

RESPONSE = {
    "id": "1",
    "object": "response",
    "created_at": 1,
    "model": "small",
    "status": "completed",
    "parallel_tool_calls": True,
    "tool_choice": "auto",
    "tools": [],
    "output": [
        {
            "type": "message",
            "id": "1",
            "role": "assistant",
            "status": "completed",
            "content": [{"type": "output_text", "text": "one two three", "annotations": []}],
        }
    ],
    "usage": {"input_tokens": 5, "output_tokens": 20, "total_tokens": 25},
}
"""What the newer of OpenAI's two interfaces answers with."""


class Server(BaseHTTPRequestHandler):
    """`server.how` decides what it can do; `server.seen` is what came."""

    def do_GET(self) -> None:
        self._send({"data": [{"id": "small", "meta": {"n_ctx": 8192}}]})

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        how = self.server.how  # type: ignore[attr-defined]
        self.server.seen.append((self.headers["Authorization"], body))  # type: ignore[attr-defined]
        if how == "hangs":
            self.server.released.wait(60)  # type: ignore[attr-defined]
        if how == "broken":
            self.send_error(500, "out of memory")
            return
        if self.path.endswith("/responses"):
            self._send(RESPONSE)
            return
        message: dict[str, Any] = {"role": "assistant", "content": "one two three"}
        if how == "able" and body.get("tools"):
            called = {"name": "look_up", "arguments": '{"word": "gold"}'}
            message = {"role": "assistant", "tool_calls": [{"id": "1", "type": "function", "function": called}]}
        if how == "able" and body.get("response_format"):
            message["content"] = '{"choice": "left"}'
        self._send(
            {
                "id": "1",
                "object": "chat.completion",
                "created": 1,
                "model": "small",
                "choices": [{"index": 0, "finish_reason": "stop", "message": message}],
                "usage": {"prompt_tokens": 5, "completion_tokens": 20, "total_tokens": 25},
            }
        )

    def _send(self, body: Any) -> None:
        data = json.dumps(body).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *args: Any) -> None: ...


@contextmanager
def openai_server() -> Iterator[Any]:
    """Runs it; `url` is where it answers."""
    running: Any = ThreadingHTTPServer(("127.0.0.1", 0), Server)
    running.how, running.seen, running.released = "able", [], threading.Event()
    running.url = f"http://127.0.0.1:{running.server_port}/v1"
    thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield running
    finally:
        running.released.set()
        running.shutdown()
        running.server_close()
