"""A model on a server of your own that speaks the OpenAI chat API: llama.cpp, Ollama, vLLM, LM Studio and others.

    export DEEPTRADER_MODEL=openai-like:my-model DEEPTRADER_MODEL_BASE_URL=http://127.0.0.1:8080/v1
    python examples/local_model.py

Needs the client that speaks to such servers: pip install openai. Without a server a stand-in answers, which repeats the
first line that memory put in front of the question: no model, but the same road.
"""

import json
import os
import tempfile
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from deeptrader.agents import answer_question
from deeptrader.core.settings import load_settings
from deeptrader.toolkits import Runtime


class StandIn(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))["messages"][-1]["content"]
        line = next((line[2:] for line in asked.splitlines() if line.startswith("- ")), "Memory said nothing.")
        choice = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": line}}
        reply = {"id": "1", "object": "chat.completion", "created": 1, "model": "stand-in", "choices": [choice]}
        body = json.dumps(reply).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


def main() -> None:
    given = {}
    if "DEEPTRADER_MODEL_BASE_URL" not in os.environ:
        server = ThreadingHTTPServer(("127.0.0.1", 0), StandIn)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        given = {"model": "openai-like:stand-in", "model_base_url": f"http://127.0.0.1:{server.server_port}/v1"}
    settings = load_settings(data_dir=tempfile.mkdtemp(), market="recorded", **given)
    with Runtime(settings) as runtime:
        runtime.engine.run_once()
        answer = answer_question("Is Apple oversold?", runtime)
        print(answer.text)
        print(f"by {answer.model}, served from {answer.served_from} in {answer.seconds:.1f} s")


if __name__ == "__main__":
    main()
