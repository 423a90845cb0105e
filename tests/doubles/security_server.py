"""A loopback server that answers as GoPlus, honeypot.is, RugCheck and CoinGecko do, well or badly, and counts.

`payloads` below are what the real services send for a clean token (field names and types as documented, 2026-10).
"""

from __future__ import annotations

import copy
import json
import threading
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

EVM_ADDRESS = "0x00000000000000000000000000000000cafebabe"
MINT = "7GCihgDB8fe6KNjn2MYtkzZcRjQy3t9GHdC8uHYmW2hr"

LINK = "0x514910771af9ca656af840dff83e8264ecf986ca"
BONK = "DezXAZ8z7PnrnRJjz3wXBoRgixCa6xjnB7YaB1pPB263"


@dataclass(frozen=True)
class Answer:
    """One prepared answer. `body` is JSON data, or bytes sent as they are."""

    body: Any = None
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    silent: bool = False
    """Accept the request and never answer."""
    drip: bool = False
    """Start an answer and send one byte of it at a time, without end."""


@dataclass(frozen=True)
class Seen:
    """One request as it came in."""

    method: str
    path: str
    query: dict[str, list[str]]
    headers: dict[str, str]
    body: Any
    at: float


class SecurityServer:
    """Answers by the longest matching path prefix; a queue is used up one by one, its last answer stays."""

    def __init__(self, monotonic: Callable[[], float] | None = None) -> None:
        self.requests: list[Seen] = []
        self.closing = threading.Event()
        self._monotonic = monotonic or (lambda: 0.0)
        self._answers: dict[str, deque[Answer | Callable[[Seen], Answer]]] = {}
        self._lock = threading.Lock()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        self._thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def on(self, prefix: str, *answers: Answer | Callable[[Seen], Answer]) -> None:
        """Answer requests whose path begins with `prefix`."""
        with self._lock:
            self._answers[prefix] = deque(answers)

    def goplus(self, *answers: Answer | Callable[[Seen], Answer]) -> None:
        self.on("/api/v1/token_security/", *answers)

    def goplus_solana(self, *answers: Answer | Callable[[Seen], Answer]) -> None:
        self.on("/api/v1/solana/token_security", *answers)

    def honeypot_is(self, *answers: Answer | Callable[[Seen], Answer]) -> None:
        self.on("/v2/IsHoneypot", *answers)

    def rugcheck(self, *answers: Answer | Callable[[Seen], Answer]) -> None:
        self.on("/v1/tokens/", *answers)

    def coingecko(self, *answers: Answer | Callable[[Seen], Answer]) -> None:
        self.on("/api/v3/coins/list", *answers)

    def count(self, prefix: str = "") -> int:
        """How many requests came for paths with this prefix."""
        return sum(seen.path.startswith(prefix) for seen in self.requests)

    def close(self) -> None:
        self.closing.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def take(self, method: str, target: str, headers: dict[str, str], body: bytes) -> Answer:
        parts = urlsplit(target)
        seen = Seen(
            method,
            parts.path,
            parse_qs(parts.query),
            {name.lower(): value for name, value in headers.items()},
            json.loads(body) if body else None,
            self._monotonic(),
        )
        with self._lock:
            self.requests.append(seen)
            matching = [prefix for prefix in self._answers if parts.path.startswith(prefix)]
            if not matching:
                return Answer({"error": "nothing here"}, 404)
            queue = self._answers[max(matching, key=len)]
            answer = queue.popleft() if len(queue) > 1 else queue[0]
        return answer(seen) if callable(answer) else answer


@contextmanager
def security_server(monotonic: Callable[[], float] | None = None) -> Iterator[SecurityServer]:
    server = SecurityServer(monotonic)
    try:
        yield server
    finally:
        server.close()


def _handler(server: SecurityServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self._answer("GET", b"")

        def do_POST(self) -> None:
            self._answer("POST", self.rfile.read(int(self.headers.get("Content-Length", 0))))

        def log_message(self, format: str, *args: Any) -> None:
            pass

        def _answer(self, method: str, body: bytes) -> None:
            answer = server.take(method, self.path, dict(self.headers), body)
            if answer.silent:
                server.closing.wait()
                self.close_connection = True
                return
            content = answer.body if isinstance(answer.body, bytes) else json.dumps(answer.body).encode()
            self.send_response(answer.status)
            for name, value in answer.headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(10**9 if answer.drip else len(content)))
            self.end_headers()
            try:
                while answer.drip and not server.closing.wait(0.01):
                    self.wfile.write(b" ")
                    self.wfile.flush()
                self.wfile.write(content)
            except OSError:
                self.close_connection = True  # the client gave up, which is what these answers are for

    return Handler


def goplus_answer(payload: Any, address: str = EVM_ADDRESS, *, code: int = 1, message: str = "OK") -> Answer:
    """GoPlus's envelope around one token; without a payload around nothing."""
    return Answer({"code": code, "message": message, "result": {address: payload} if payload is not None else {}})


def goplus_error(code: int, message: str = "error") -> Answer:
    """An error the way GoPlus reports it: HTTP 200 and a code."""
    return Answer({"code": code, "message": message, "result": None})


def _changed(clean: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """A deep copy with some fields replaced; None takes a field away."""
    merged = {**copy.deepcopy(dict(clean)), **changes}
    return {key: value for key, value in merged.items() if value is not None}


def evm_payload(**changes: Any) -> dict[str, Any]:
    """What GoPlus says about a clean ERC-20 that is on its trust list."""
    clean = {
        "anti_whale_modifiable": "0",
        "buy_tax": "0",
        "can_take_back_ownership": "0",
        "cannot_buy": "0",
        "cannot_sell_all": "0",
        "creator_address": "0xf55037738604fddfc4043d12f25124e94d7d1780",
        "creator_balance": "0",
        "creator_percent": "0.000000",
        "dex": [
            {
                "liquidity_type": "UniV2",
                "name": "UniswapV2",
                "liquidity": "5034211.27",
                "pair": "0xa2107fa5b38d9bbd2c461d6edf11b11a50f6b974",
            },
            {
                "liquidity_type": "UniV3",
                "name": "UniswapV3",
                "liquidity": "30211345.9",
                "pair": "0xa6cc3c2531fdaa6ae1a3ca84c2855806728693e8",
            },
        ],
        "external_call": "0",
        "hidden_owner": "0",
        "holder_count": "812345",
        "holders": [
            {
                "address": f"0x{rank:040x}",
                "tag": "",
                "is_contract": 0,
                "balance": "1000",
                "percent": f"{0.03 - rank / 1000:.3f}",
                "is_locked": 0,
            }
            for rank in range(1, 11)
        ],
        "honeypot_with_same_creator": "0",
        "is_anti_whale": "0",
        "is_blacklisted": "0",
        "is_honeypot": "0",
        "is_in_cex": {"listed": "1", "cex_list": ["Binance"]},
        "is_in_dex": "1",
        "is_mintable": "0",
        "is_open_source": "1",
        "is_proxy": "0",
        "is_whitelisted": "0",
        "lp_holder_count": "3",
        "lp_holders": [
            {
                "address": "0x000000000000000000000000000000000000dead",
                "tag": "Burn",
                "is_contract": 0,
                "balance": "9",
                "percent": "0.9",
                "is_locked": 1,
            },
            {"address": "0x01", "tag": "", "is_contract": 0, "balance": "1", "percent": "0.06", "is_locked": 0},
            {"address": "0x02", "tag": "", "is_contract": 0, "balance": "1", "percent": "0.04", "is_locked": 0},
        ],
        "lp_total_supply": "10",
        "owner_address": "",
        "owner_change_balance": "0",
        "personal_slippage_modifiable": "0",
        "selfdestruct": "0",
        "sell_tax": "0",
        "slippage_modifiable": "0",
        "token_name": "Harbour Token",
        "token_symbol": "HRB",
        "total_supply": "1000000000",
        "trading_cooldown": "0",
        "transfer_pausable": "0",
        "trust_list": "1",
    }
    return _changed(clean, changes)


def solana_payload(**changes: Any) -> dict[str, Any]:
    """What GoPlus says about a clean SPL mint that is on its trust list."""

    def power() -> dict[str, Any]:
        return {"authority": [], "status": "0"}

    clean = {
        "balance_mutable_authority": power(),
        "closable": power(),
        "creators": [{"address": "9AhKqLR67hwapvG8SA2JFXaCshXc9nALJjpKaHZrsbkw", "malicious_address": 0}],
        "default_account_state": "1",
        "default_account_state_upgradable": power(),
        "dex": [
            {
                "dex_name": "raydium",
                "id": "3ne4mWqdYuNiYrYZC9TrA3FcfuFdErghH97vNPbjicr1",
                "open_time": "1672531200",
                "tvl": "4512345.1",
                "price": "0.00002",
                "type": "Standard",
                "burn_percent": 99.1,
            }
        ],
        "freezable": power(),
        "holder_count": "912345",
        "holders": [
            {
                "token_account": f"account{rank}",
                "account": f"owner{rank}",
                "tag": "",
                "balance": "1",
                "percent": "0.02",
                "is_locked": 0,
            }
            for rank in range(10)
        ],
        "lp_holders": [],
        "metadata": {"name": "Harbour Dog", "symbol": "HDOG", "description": "", "uri": "https://example.invalid"},
        "metadata_mutable": {"metadata_upgrade_authority": [], "status": "0"},
        "mintable": power(),
        "non_transferable": "0",
        "total_supply": "88000000000",
        "transfer_fee": {},
        "transfer_fee_upgradable": power(),
        "transfer_hook": [],
        "transfer_hook_upgradable": power(),
        "trusted_token": 1,
    }
    return _changed(clean, changes)


def honeypot_payload(address: str = EVM_ADDRESS, **changes: Any) -> dict[str, Any]:
    """What honeypot.is says about a token that can be bought and sold."""
    clean = {
        "token": {
            "name": "Harbour Token",
            "symbol": "HRB",
            "decimals": 18,
            "address": address,
            "totalHolders": 812345,
        },
        "withToken": {"name": "Wrapped Ether", "symbol": "WETH", "decimals": 18},
        "summary": {"risk": "low", "riskLevel": 1, "flags": []},
        "simulationSuccess": True,
        "honeypotResult": {"isHoneypot": False},
        "simulationResult": {"buyTax": 0, "sellTax": 0, "transferTax": 0, "buyGas": "142692", "sellGas": "129776"},
        "flags": [],
        "contractCode": {"openSource": True, "rootOpenSource": True, "isProxy": False, "hasProxyCalls": False},
        "chain": {"id": "1", "name": "Ethereum", "shortName": "eth", "currency": "ETH"},
        "pair": {
            "pair": {"name": "Uniswap V2: HRB-WETH", "address": "0xa2107fa5b38d9bbd2c461d6edf11b11a50f6b974"},
            "chainId": "1",
            "liquidity": 5034211.27,
            "createdAtTimestamp": "1620232628",
        },
        "pairAddress": "0xa2107fa5b38d9bbd2c461d6edf11b11a50f6b974",
    }
    return _changed(clean, changes)


def rugcheck_payload(mint: str = MINT, **changes: Any) -> dict[str, Any]:
    """What RugCheck says about a mint whose authorities were given up."""
    clean: dict[str, Any] = {
        "mint": mint,
        "tokenProgram": "TokenkegQfeZyiNwAJbNbGKPFXCWuBvf9Ss623VQ5DA",
        "creator": "9AhKqLR67hwapvG8SA2JFXaCshXc9nALJjpKaHZrsbkw",
        "creatorBalance": 0,
        "token": {
            "mintAuthority": None,
            "freezeAuthority": None,
            "supply": 88_000_000_000,
            "decimals": 5,
            "isInitialized": True,
        },
        "tokenMeta": {"name": "Harbour Dog", "symbol": "HDOG", "uri": "", "mutable": False, "updateAuthority": ""},
        "topHolders": [
            {"address": f"account{rank}", "owner": f"owner{rank}", "pct": 2.0, "insider": False} for rank in range(10)
        ],
        "totalHolders": 912345,
        "risks": [],
        "score": 1,
        "score_normalised": 1,
        "rugged": False,
        "markets": [{"pubkey": "m1", "marketType": "raydium", "lp": {"lpLockedPct": 99.5, "lpLockedUSD": 4_000_000}}],
        "totalMarketLiquidity": 4_512_345.1,
        "transferFee": {"pct": 0, "maxAmount": 0, "authority": "11111111111111111111111111111111"},
    }
    return _changed(clean, changes)
