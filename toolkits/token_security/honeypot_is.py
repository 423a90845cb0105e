"""honeypot.is: buys and sells the token in a simulation (Ethereum, BNB Smart Chain, Base). A second opinion.

`GET /v2/IsHoneypot?address=&chainID=`. Taxes are in percent. A token without a pair is HTTP 404: no opinion.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from ...core.clock import Clock
from ...core.errors import MalformedResponse, SourceError, TokenNotFound
from ...core.settings import Settings
from ...core.token import Contract
from .evidence import Evidence, Labels, Sheet, unanswered
from .fields import both, flag, mapping, number, percent, text
from .goplus_fields import put_age, put_liquidity, put_tax
from .http import HttpSource
from .provider import ContractSource

CHAINS = frozenset({"1", "56", "8453"})
CHECKS = ("honeypot", "buy_tax", "sell_tax", "open_source", "proxy", "liquidity_depth", "age")
_PER_MINUTE = 30.0


class HoneypotIs(ContractSource):
    """Second opinion on whether a token can be sold."""

    id = "honeypot.is"

    def __init__(
        self,
        *,
        settings: Settings | None = None,
        clock: Clock | None = None,
        http: HttpSource | None = None,
        **options: Any,
    ) -> None:
        super().__init__(settings=settings, clock=clock, **options)
        self._http = http or HttpSource(
            "honeypot.is", self.settings.honeypot_is_url, per_minute=_PER_MINUTE, clock=self.clock
        )

    def covers(self, contract: Contract) -> tuple[str, ...]:
        return CHECKS if contract.chain in CHAINS else ()

    def calls_made(self) -> int:
        return self._http.calls_made()

    async def evidence(self, contract: Contract, *, at: datetime) -> Evidence:
        try:
            answer = await self._http.fetch(
                "/v2/IsHoneypot", params={"address": contract.address, "chainID": contract.chain}, inspect=_inspect
            )
        except TokenNotFound:
            return Evidence(self.id, withdrawn=True)
        except SourceError as error:
            return unanswered(self.id, self.covers(contract), at, error)
        sheet = Sheet(self.id, at)
        labels = read(answer, sheet)
        return Evidence(self.id, sheet.checks, labels)


def read(payload: Mapping[str, Any], sheet: Sheet) -> Labels:
    """Write honeypot.is's findings onto the sheet; returns the names the contract gives itself."""
    simulated = flag(payload.get("simulationSuccess"))
    trapped = flag((mapping(payload.get("honeypotResult")) or {}).get("isHoneypot"))
    if trapped is False and not simulated:
        trapped = None  # nothing was simulated, so nothing was found
    sheet.unless("honeypot", trapped, "a simulated sale fails")
    result = (mapping(payload.get("simulationResult")) or {}) if simulated else {}
    put_tax(sheet, "buy_tax", percent(result.get("buyTax")))
    put_tax(sheet, "sell_tax", percent(result.get("sellTax")))

    code = mapping(payload.get("contractCode")) or {}
    own, root = flag(code.get("openSource")), flag(code.get("rootOpenSource"))
    closed = both(None if own is None else not own, None if root is None else not root)
    sheet.unless("open_source", closed, "the source code is not published")
    exchangeable = both(flag(code.get("isProxy")), flag(code.get("hasProxyCalls")))
    sheet.unless("proxy", exchangeable, "the code behind the contract can be exchanged")

    pair = mapping(payload.get("pair"))
    put_liquidity(sheet, None if pair is None else [number(pair.get("liquidity"))])
    put_age(sheet, [number(pair.get("createdAtTimestamp"))] if pair else [])
    token = mapping(payload.get("token")) or {}
    return Labels(text(token.get("symbol")), text(token.get("name")))


def _inspect(answer: Any) -> None:
    body = mapping(answer)
    if body is None:
        raise MalformedResponse("honeypot.is answered with something else than an object.")
    if "error" in body and "honeypotResult" not in body:
        raise MalformedResponse("honeypot.is reports an error instead of an answer.")
