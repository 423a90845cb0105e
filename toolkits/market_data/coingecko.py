"""A second source of coin prices, to see whether a Yahoo symbol still means the coin the reviewed list says it means.

One keyless request for a whole universe (`/simple/price`). Only prices are read, and only to compare them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ...core.errors import MalformedResponse, RateLimited, SourceUnreachable
from ...core.metering import about_to_send

BASE_URL = "https://api.coingecko.com/api/v3"
TIMEOUT = 10.0


def coingecko_prices(
    coin_ids: Sequence[str], *, base_url: str = BASE_URL, timeout: float = TIMEOUT
) -> dict[str, float]:
    """USD prices by CoinGecko id; ids it does not know are missing from the answer.

    Raises:
        RateLimited: too many requests (the keyless limit is a few a minute).
        SourceUnreachable: no connection, no answer in `timeout` seconds, or a server error.
        MalformedResponse: the answer does not parse.
        BudgetExceeded: whoever meters this call may not send another request.
    """
    import httpx

    if not coin_ids:
        return {}
    about_to_send("requests")
    try:
        answer = httpx.get(
            f"{base_url}/simple/price",
            params={"ids": ",".join(coin_ids), "vs_currencies": "usd"},
            timeout=timeout,
        )
    except httpx.HTTPError as error:
        raise SourceUnreachable(f"CoinGecko could not be reached: {error}.", hint="Check the network.") from error
    if answer.status_code == 429:
        raise RateLimited("CoinGecko asks us to slow down.", hint="Prices are compared again in the next cycle.")
    if answer.status_code >= 400:
        raise SourceUnreachable(f"CoinGecko answered HTTP {answer.status_code}.")
    try:
        rows: dict[str, Any] = answer.json()
        return {coin_id: float(row["usd"]) for coin_id, row in rows.items() if row.get("usd")}
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise MalformedResponse(f"CoinGecko's answer cannot be read ({type(error).__name__}).") from error
