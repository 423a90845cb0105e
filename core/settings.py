"""Every knob in one place: `DEEPTRADER_*` variables, a `deeptrader.toml` of the same names, then the defaults."""

from __future__ import annotations

import difflib
import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import platformdirs
from pydantic import AfterValidator, BeforeValidator, Field, SecretStr, ValidationError
from pydantic_settings import (
    BaseSettings,
    NoDecode,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)
from pydantic_settings import SettingsError as SourceUnreadable

from .errors import SettingsError
from .logs import LogFormat
from .prices import ModelPrice
from .redaction import keep_secret
from .security import PassableVerdict
from .token import Interval

MarketId = Literal["yahoo", "recorded", "simulated"]
Positive = Annotated[float, Field(gt=0)]
Count = Annotated[int, Field(ge=1)]

OTHER_VARIABLES = frozenset({"DEEPTRADER_SETTINGS", "DEEPTRADER_PLAYGROUND_TOKEN"})
"""Variables that are read and are no setting."""


def _as_list(value: Any) -> Any:
    """A list out of a variable: `BTC-USD, ETH-USD`, or JSON. Commas within parentheses divide nothing."""
    if not isinstance(value, str):
        return value
    text = value.strip()
    if text.startswith("["):
        return json.loads(text)
    return tuple(part.strip() for part in re.split(r",(?![^(]*\))", text) if part.strip())


type Listed[Item] = Annotated[tuple[Item, ...], NoDecode, BeforeValidator(_as_list)]
"""Several values; in a variable with commas between them, or as JSON."""


_HOUR = "([01][0-9]|2[0-3]):[0-5][0-9]"


def _known_zone(name: str) -> str:
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise ValueError("there is no such time zone; write it like Europe/Berlin") from error
    return name


def _postgresql(url: SecretStr) -> SecretStr:
    if not url.get_secret_value().startswith(("postgresql://", "postgres://")):
        raise ValueError("it must begin with postgresql://")
    return url


class Settings(BaseSettings):
    """Build with `load_settings()`, which turns a wrong value into one clear `SettingsError`."""

    model_config = SettingsConfigDict(env_prefix="DEEPTRADER_", extra="forbid", frozen=True, hide_input_in_errors=True)

    # Where things are
    data_dir: Path = Field(
        default_factory=lambda: Path(platformdirs.user_data_dir("deeptrader")),
        description="folder of the memories, one for each market",
    )
    instructions_dir: Path | None = Field(
        default=None, description="folder whose files override the shipped instructions one by one"
    )
    plugins_dir: Path | None = Field(
        default=None, description="folder of Python files with indicators, statements, topics and rules of your own"
    )
    recorded_dir: Path | None = Field(default=None, description="folder of a recorded market; None: the shipped one")
    journal_url: Annotated[SecretStr, AfterValidator(_postgresql)] | None = Field(
        default=None, repr=False, description="postgresql://user:password@host/database; None: a file in data_dir"
    )
    chroma_url: str | None = Field(default=None, description="http://host:port of a Chroma server; None: embedded")
    chroma_token: SecretStr | None = Field(default=None, repr=False, description="token that the server asks for")
    chroma_basic: SecretStr | None = Field(default=None, repr=False, description="user:password that it asks for")
    log_format: LogFormat = Field(default="text", description="of log lines: text or json")

    # Market and universe
    market: MarketId = Field(default="yahoo", description="yahoo, recorded or simulated")
    universe: Literal["crypto", "equity", "both"] = Field(
        default="crypto", description="what is kept in memory: crypto, equity or both"
    )
    top: Count = Field(default=50, description="how many tokens by market cap")
    intervals: Listed[Interval] = Field(default=("1d", "1h"), description="bars that are analysed: 1d, 1h")
    watchlist: Listed[str] = Field(
        default=(), description="symbols kept in memory besides the top of the market; `deeptrader watch` adds others"
    )
    include_stablecoins: bool = Field(default=False, description="keep coins that follow a currency too")
    include_wrapped: bool = Field(default=False, description="keep wrapped and bridged coins too")
    seed: int = Field(default=7, description="of the simulated market")
    yahoo_requests_per_minute: Positive = Field(default=60, description="the most that Yahoo is asked")
    price_reference: Literal["none", "coingecko"] = Field(
        default="none", description="second source that coin prices are compared with before a coin enters the universe"
    )
    news: Literal["yahoo", "none"] = Field(
        default="yahoo", description="source of news and fundamentals on a live market; none: they are not read"
    )
    news_every_hours: Positive = Field(default=6, description="how often they are read for one token")
    extra_indicators: Listed[str] = Field(
        default=(), description="further pandas-ta indicators, as name(arg=value,...)"
    )

    # Signal thresholds
    rsi_oversold: Annotated[float, Field(gt=0, lt=50)] = Field(
        default=30, description="RSI(14) below which a token is called oversold"
    )
    rsi_overbought: Annotated[float, Field(gt=50, lt=100)] = Field(
        default=70, description="RSI(14) above which a token is called overbought"
    )

    # Rules and their record
    cost_percent: float = Field(default=0.1, ge=0, description="what getting in or out costs, in percent of the price")
    slippage_percent: float = Field(default=0.05, ge=0, description="how much worse a price is got than the one seen")
    history_bars: Annotated[int, Field(ge=400)] = Field(
        default=730, description="closed bars fetched and kept of each token; more of them are more evidence"
    )

    # Freshness
    price_band_atr: Positive = Field(default=0.5, description="stale once the price moved this many ATR(14)")
    observation_max_age_minutes: Positive = Field(default=15, description="older price sightings vouch for nothing")
    bar_grace_minutes: Positive = Field(default=10, description="how late a closed bar may be published")
    ttl_hours_daily: Positive = Field(
        default=26, description="an analysis of daily bars is stale after so long, whatever happened"
    )
    ttl_hours_hourly: Positive = Field(default=3, description="the same for hourly bars")

    # Sleep cycle
    sleep_every_seconds: Positive = Field(default=300, description="how often the scheduler begins a cycle")
    cycle_deadline_seconds: Positive = Field(
        default=240, description="a cycle that takes longer stops, and publishes what it has"
    )
    fetch_concurrency: Count = Field(default=4, description="requests to the market at a time")
    lease_seconds: Positive = Field(default=60, description="a cycle without progress for so long loses its lease")
    sleep_shards: Count = Field(
        default=1, description="parts of the universe that several sleepers share; the same number for all of them"
    )
    idle_after_seconds: Positive = Field(default=120, description="quiet after work for so long starts an idle pass")
    source_seconds: Positive = Field(default=45, description="the longest a cycle waits for one answer of a source")
    kill_switch: bool = Field(default=False, description="True: no sleep cycle runs at all")
    budget_requests_per_cycle: Count = Field(default=200, description="network requests of a cycle at most")
    budget_requests_per_day: Count = Field(default=20_000, description="network requests of a day (UTC) at most")
    budget_security_calls_per_cycle: Count = Field(
        default=60, description="calls of security sources in a cycle at most"
    )
    budget_security_calls_per_day: Count = Field(default=600, description="calls of security sources in a day at most")
    budget_model_tokens_per_cycle: int = Field(
        default=20_000, ge=0, description="tokens of the sleeping model in a cycle at most"
    )
    budget_model_tokens_per_day: int = Field(
        default=500_000, ge=0, description="tokens of the sleeping model in a day at most"
    )
    budget_usd_per_cycle: float = Field(
        default=0.05, ge=0, description="US dollars of a cycle at most, where `model_prices` knows them"
    )
    budget_usd_per_day: float = Field(default=2.0, ge=0, description="US dollars of a day at most")

    # Security
    security_ttl_hours: Positive = Field(default=24, description="how long a security report stays in date")
    security_ttl_hours_caution: Positive = Field(
        default=6, description="the same where the verdict is caution or unknown"
    )
    security_retry_minutes: Positive = Field(default=15, description="when a failed security look-up is tried again")
    security_second_opinions: bool = Field(default=True, description="also ask honeypot.is and RugCheck")
    security_allowed_verdicts: Listed[PassableVerdict] = Field(
        default=("safe", "caution", "not_applicable"),
        description="verdicts a recommendation may rest on; unknown can be added, danger cannot",
    )
    goplus_requests_per_minute: Positive = Field(default=25, description="the most that GoPlus is asked")
    goplus_app_key: SecretStr | None = Field(
        default=None, repr=False, description="key of a GoPlus account; without one the free limits hold"
    )
    goplus_app_secret: SecretStr | None = Field(default=None, repr=False, description="its secret")
    goplus_url: str = Field(default="https://api.gopluslabs.io", description="where GoPlus answers")
    honeypot_is_url: str = Field(default="https://api.honeypot.is", description="where honeypot.is answers")
    rugcheck_url: str = Field(default="https://api.rugcheck.xyz", description="where RugCheck answers")
    coingecko_url: str = Field(default="https://api.coingecko.com", description="where CoinGecko answers")

    # Models
    model: str | None = Field(
        default=None, description="awake model, e.g. openai:gpt-5-mini, or openai-like:NAME for a server of your own"
    )
    model_base_url: str | None = Field(default=None, description="where openai-like models answer, e.g. http://host/v1")
    model_api_key: SecretStr | None = Field(
        default=None, repr=False, description="key of the server at `model_base_url`"
    )
    model_seconds: Positive = Field(
        default=120, description="after so long an answer is given from memory, without the model"
    )
    model_tool_calls: Count = Field(default=8, description="how many tools a model may call for one answer")
    model_output_tokens: Count = Field(default=800, description="how long a model's answer may be")
    sleep_model: str | None = Field(default=None, description="model that works while asleep; may be a larger one")
    sleep_model_seconds: Positive = Field(default=45, description="the longest a cycle waits for one answer of it")
    sleep_model_base_url: str | None = Field(default=None, description="as model_base_url, for the sleeping model")
    sleep_model_api_key: SecretStr | None = Field(
        default=None, repr=False, description="key of the server at `sleep_model_base_url`"
    )
    model_prices: dict[str, ModelPrice] = Field(
        default_factory=dict, description="USD per million tokens by model: {'openai:x': {'input': 1, 'output': 4}}"
    )
    embedder: str = Field(
        default="wordllama", description="wordllama, or `package.module:attribute` of an embedder of your own"
    )
    reply_budget_tokens: Count = Field(default=1_500, description="model tokens of a tool's reply at most")
    brief_tokens: Count = Field(default=150, description="model tokens of the brief that is pushed for one token")
    brief_tokens_more: Count = Field(default=60, description="model tokens more for each further token")
    brief_tokens_most: Count = Field(default=400, description="model tokens of a brief at most")

    # Alerts, about what is held or watched
    alert_channels: Listed[SecretStr] = Field(
        default=(SecretStr("log"),),
        repr=False,
        description="log (by default), file:PATH, https://... (a webhook), or Apprise URLs",
    )
    alert_quiet_hours: str | None = Field(
        default=None, pattern=rf"^{_HOUR}-{_HOUR}$", description="e.g. 22:00-07:00: nothing is told, it waits"
    )
    daily_brief_at: str | None = Field(default=None, pattern=f"^{_HOUR}$", description="e.g. 08:00, every day")
    timezone: Annotated[str, AfterValidator(_known_zone)] = Field(default="UTC", description="of those times")

    # Risk rules
    max_position_percent: Positive = Field(
        default=2.0, description="largest position that a recommendation may name, in percent of capital"
    )
    capital_usd: Positive | None = Field(
        default=None, description="what shares of capital are shares of; None: what is held already is not counted"
    )
    daily_loss_limit_percent: Positive = Field(
        default=5.0, description="loss of a day, in percent of capital, at which nothing new is recommended"
    )

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        path = settings_file()
        file_sources = (TomlConfigSettingsSource(settings_cls, path),) if path else ()
        return (init_settings, env_settings, *file_sources)

    def model_post_init(self, _context: Any) -> None:
        keep_secret(self._secrets())

    def _secrets(self) -> Iterator[str]:
        """Every secret value, and the password within it where it is an address or `user:password`."""
        for name in type(self).model_fields:
            value = getattr(self, name)
            for part in value if isinstance(value, tuple) else (value,):
                if isinstance(part, SecretStr):
                    text = part.get_secret_value()
                    yield from (text, text.partition(":")[2], text.rpartition("@")[0].rpartition(":")[2])

    @property
    def store_dir(self) -> Path:
        """Folder of the memory for this market: memories of different markets never mix."""
        return self.data_dir / self.market

    @property
    def round_trip_cost(self) -> float:
        """What getting in and out costs, as a fraction of the price: fees and slippage, twice each."""
        return 2 * (self.cost_percent + self.slippage_percent) / 100

    def with_changes(self, **changes: Any) -> Settings:
        """A copy with some values replaced, validated like the original.

        Raises:
            SettingsError: a value is out of range.
        """
        return _validated({**self.model_dump(), **changes})


def settings_file() -> Path | None:
    """`$DEEPTRADER_SETTINGS`, or `deeptrader.toml` in the working directory, or None.

    Raises:
        SettingsError: `$DEEPTRADER_SETTINGS` names a file that is not there.
    """
    named = os.environ.get("DEEPTRADER_SETTINGS")
    if named:
        path = Path(named)
        if not path.is_file():
            raise SettingsError(
                f"The settings file {path} does not exist.", hint="Correct or unset DEEPTRADER_SETTINGS."
            )
        return path
    local = Path("deeptrader.toml")
    return local if local.is_file() else None


def load_settings(**overrides: Any) -> Settings:
    """Settings from variables, file and defaults; `overrides` (None values ignored) win over all of them.

    Raises:
        SettingsError: a value is out of range, a name is unknown or the file does not parse.
    """
    return _validated({name: value for name, value in overrides.items() if value is not None})


def _validated(values: dict[str, Any]) -> Settings:
    try:
        return Settings(**values)
    except ValidationError as error:
        first = error.errors()[0]
        name = ".".join(str(part) for part in first["loc"]) or "settings"
        field = Settings.model_fields.get(str(first["loc"][0])) if first["loc"] else None
        secret = field is None or not field.repr or name.endswith("url")
        raise SettingsError(
            f"Setting {name!r}: {first['msg']}" + ("." if secret else f" (got {first.get('input')!r})."),
            hint=f"Correct DEEPTRADER_{name.partition('.')[0].upper()}, the settings file or the argument.",
        ) from error
    except SourceUnreadable as error:  # a variable that should hold JSON and does not
        raise SettingsError(f"A DEEPTRADER_ variable does not parse: {error}.", hint="It must be JSON.") from error
    except ValueError as error:  # tomllib's own error for a file that does not parse
        raise SettingsError(f"The settings file does not parse: {error}.", hint="Correct its TOML.") from error


def unknown_variables() -> dict[str, str | None]:
    """`DEEPTRADER_` variables that no setting reads, each with the nearest name there is; a slip of the finger would
    otherwise leave a default in force and say nothing."""
    known = {f"DEEPTRADER_{name.upper()}" for name in Settings.model_fields} | OTHER_VARIABLES
    unknown = sorted(name for name in os.environ if name.startswith("DEEPTRADER_") and name.upper() not in known)
    return {name: next(iter(difflib.get_close_matches(name, known, 1)), None) for name in unknown}
