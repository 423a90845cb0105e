"""GoPlus: contract checks for EVM chains and Solana, anonymous or with a key.

Endpoints: `GET /api/v1/token_security/{chain}?contract_addresses=` and `GET /api/v1/solana/token_security`, one address
a call; `POST /api/v1/token` for a key's access token. GoPlus reports errors inside HTTP 200 by `code`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from ...core.clock import Clock
from ...core.errors import MalformedResponse, RateLimited, SourceError, SourceUnreachable, TokenNotFound
from ...core.settings import Settings
from ...core.token import Contract
from .chains import family_of
from .evidence import Evidence, Sheet, unanswered
from .fields import mapping, number, text
from .goplus_fields import EVM_CHECKS, SOLANA_CHECKS, read_evm, read_solana
from .http import HttpSource
from .provider import ContractSource

_OK = 1
_RATE_LIMITED = 4029
_SERVER_ERROR = 5000
_STALE_TOKEN = (4011, 4022, 4023)
_KEY_REFUSED = (4010, 4012)
_ABOUT_THE_TOKEN = {
    2: "has no finished data about this contract yet",
    2004: "takes this for no address",
    2018: "does not check this chain",
    2020: "finds no contract at this address",
    2021: "has no data about this contract",
    5006: "does not accept this address",
}
_TOKEN_MARGIN = 60.0


class _StaleToken(MalformedResponse):
    """The access token is no longer taken."""


class GoPlus(ContractSource):
    """The primary source for contracts.

    Args:
        key, secret: a GoPlus application key, for a higher limit. Without them requests are anonymous.
        http: how to reach it; made from the settings when not given.
    """

    id = "goplus"

    def __init__(
        self,
        *,
        settings: Settings | None = None,
        clock: Clock | None = None,
        key: str | None = None,
        secret: str | None = None,
        http: HttpSource | None = None,
        **options: Any,
    ) -> None:
        super().__init__(settings=settings, clock=clock, **options)
        self._http = http or HttpSource(
            "GoPlus", self.settings.goplus_url, per_minute=self.settings.goplus_requests_per_minute, clock=self.clock
        )
        self._key = key or self.settings.goplus_app_key
        self._secret = secret or self.settings.goplus_app_secret
        self._access: tuple[str, float] | None = None

    def covers(self, contract: Contract) -> tuple[str, ...]:
        return SOLANA_CHECKS if family_of(contract) == "solana" else EVM_CHECKS

    def calls_made(self) -> int:
        return self._http.calls_made()

    async def evidence(self, contract: Contract, *, at: datetime) -> Evidence:
        try:
            payload = await self._payload(contract)
        except SourceError as error:
            return unanswered(self.id, self.covers(contract), at, error)
        sheet = Sheet(self.id, at)
        read = read_solana if family_of(contract) == "solana" else read_evm
        labels = read(payload, sheet)
        return Evidence(self.id, sheet.checks, labels)

    async def _payload(self, contract: Contract) -> Mapping[str, Any]:
        solana = family_of(contract) == "solana"
        path = "/api/v1/solana/token_security" if solana else f"/api/v1/token_security/{contract.chain}"
        try:
            answer = await self._ask(path, contract)
        except _StaleToken:
            self._access = None
            answer = await self._ask(path, contract)
        result = mapping(answer.get("result")) or {}
        fold = str if solana else str.lower
        for address, payload in result.items():
            if fold(address) == fold(contract.address):
                found = mapping(payload)
                if found is None:
                    raise MalformedResponse("GoPlus answered with something else than an object about this contract.")
                if found:
                    return found
        raise TokenNotFound("GoPlus has no data about this contract.")

    async def _ask(self, path: str, contract: Contract) -> Mapping[str, Any]:
        return await self._http.fetch(
            path, params={"contract_addresses": contract.address}, headers=await self._headers(), inspect=_inspect
        )

    async def _headers(self) -> dict[str, str]:
        if not (self._key and self._secret):
            return {}
        now = self.clock.monotonic()
        if self._access is None or now >= self._access[1]:
            moment = int(self.clock.now().timestamp())
            sign = hashlib.sha1(f"{self._key}{moment}{self._secret}".encode()).hexdigest()  # as GoPlus prescribes
            answer = await self._http.fetch(
                "/api/v1/token", body={"app_key": self._key, "sign": sign, "time": moment}, inspect=_inspect
            )
            result = mapping(answer.get("result")) or {}
            token, lifetime = text(result.get("access_token")), number(result.get("expires_in"))
            if token is None:
                raise MalformedResponse("GoPlus gave no access token for the key.", hint=_KEY_HINT)
            self._access = (token, now + max((lifetime or 0.0) - _TOKEN_MARGIN, 0.0))
        return {"Authorization": self._access[0]}


def _inspect(answer: Any) -> None:
    """Raise what a code in the body really says."""
    body = mapping(answer)
    code = body.get("code") if body is not None else None
    if isinstance(code, bool) or not isinstance(code, int):
        raise MalformedResponse("GoPlus answered without its code.")
    if code == _OK:
        return
    if code == _RATE_LIMITED:
        raise RateLimited("GoPlus asks us to slow down (code 4029).", hint="Try again later, or use a key.")
    if code in _ABOUT_THE_TOKEN:
        raise TokenNotFound(f"GoPlus {_ABOUT_THE_TOKEN[code]} (code {code}).")
    if code in _STALE_TOKEN:
        raise _StaleToken(f"GoPlus no longer takes the access token (code {code}).", hint=_KEY_HINT)
    if code in _KEY_REFUSED:
        raise MalformedResponse(f"GoPlus refuses the key (code {code}).", hint=_KEY_HINT)
    if code == _SERVER_ERROR:
        raise SourceUnreachable("GoPlus reports a fault of its own (code 5000).", hint="Try again later.")
    raise MalformedResponse(f"GoPlus answered with code {code}, which is not known here.")


_KEY_HINT = "Check DEEPTRADER_GOPLUS_APP_KEY and DEEPTRADER_GOPLUS_APP_SECRET."
