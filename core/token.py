"""What is analysed: a token, its kind and, if it has one, its contract."""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

from .text import clean_label

TokenKind = Literal["crypto", "equity"]
Interval = Literal["1d", "1h"]
INTERVALS: tuple[Interval, ...] = ("1d", "1h")

_SYMBOL = re.compile(r"^[A-Z0-9^][A-Z0-9.^=_-]{0,23}$")


class Record(BaseModel):
    """Base of everything that is stored: frozen, strict about unknown fields, no NaN or infinity."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


def normalize_symbol(text: str) -> str:
    """Upper-case Yahoo-style symbol.

    Raises:
        ValueError: not a symbol (no text, empty, too long, or characters outside A-Z 0-9 . ^ = _ -).
    """
    symbol = text.strip().upper() if isinstance(text, str) else ""  # models and files bring other values too
    if not _SYMBOL.match(symbol):
        raise ValueError(f"{clean_label(str(text))!r} is not a token symbol; symbols look like BTC-USD or AAPL")
    return symbol


Symbol = Annotated[str, BeforeValidator(normalize_symbol)]
Label = Annotated[str, AfterValidator(clean_label)]


class Contract(Record):
    """Where a token lives on a chain. `chain` is GoPlus's id as text ("1", "56", "solana"); the address as given."""

    chain: str
    address: str


class Token(Record):
    """A Yahoo symbol with what is known about it. Equal symbols mean the same token."""

    symbol: Symbol
    name: Label = ""
    kind: TokenKind = "crypto"
    coin_id: str | None = Field(default=None, description="CoinGecko id, the key of the reviewed symbol map")
    contract: Contract | None = None

    @property
    def ticker(self) -> str:
        """Short form people say: `BTC` for `BTC-USD`; an equity's symbol is its ticker."""
        return self.symbol.removesuffix("-USD") if self.kind == "crypto" else self.symbol

    def __str__(self) -> str:
        return self.symbol
