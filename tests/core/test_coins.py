import json
import re
import subprocess
import sys
from datetime import date, timedelta
from importlib.resources import files

import pytest

from deeptrader.core.coins import (
    age_warning,
    aliases_for,
    base_ticker,
    coin_for_id,
    coin_for_symbol,
    coins_for_ticker,
    current_symbol,
    equities_reviewed_on,
    equity_for_symbol,
    is_common_word,
    known_equities,
    left_market,
    look_like_wrapped_or_stable,
    plain_name,
    reviewed_coins,
    reviewed_on,
)
from deeptrader.core.token import normalize_symbol


def test_ids_symbols_and_names_of_reviewed_coins_are_unique():
    coins = reviewed_coins()
    for values in ([c.id for c in coins], [c.symbol for c in coins], [c.name.casefold() for c in coins]):
        assert len(values) == len(set(values))


def test_every_reviewed_row_is_a_valid_token():
    for coin in reviewed_coins():
        assert coin.symbol.endswith("-USD")
        assert coin.token().symbol == normalize_symbol(coin.symbol)
        assert coin.token().coin_id == coin.id
        assert re.fullmatch(r"[a-z0-9-]+", coin.id)
        assert coin.category in ("coin", "stablecoin", "wrapped")
        assert all(alias == alias.lower() for alias in coin.aliases)
    for equity in known_equities():
        assert equity.token().kind == "equity"
        assert equity.name


def test_no_alias_means_two_coins():
    owners: dict[str, str] = {}
    for coin in reviewed_coins():
        for alias in coin.aliases:
            assert owners.setdefault(alias, coin.id) == coin.id


def test_a_ticker_leads_to_the_symbol_with_the_numeric_suffix():
    assert [coin.symbol for coin in coins_for_ticker("uni")] == ["UNI7083-USD"]
    assert coin_for_symbol("UNI-USD") is None
    assert coin_for_symbol("uni7083-usd") is coin_for_id("uniswap")


@pytest.mark.parametrize(
    ("symbol", "ticker"),
    [("UNI7083-USD", "UNI"), ("1INCH-USD", "1INCH"), ("BTC-USD", "BTC"), ("AAPL", "AAPL"), ("BRK-B", "BRK-B")],
)
def test_the_base_ticker_drops_currency_and_suffix_only(symbol, ticker):
    assert base_ticker(symbol) == ticker


def test_people_find_bitcoin_and_facebook_by_what_they_call_them():
    assert {"bitcoin", "btc", "xbt"} <= set(aliases_for("BTC-USD"))
    assert "facebook" in aliases_for("META")
    assert "facebook" in aliases_for("FB")
    assert "google" in aliases_for("GOOG")
    assert aliases_for("NOBODY9999-USD") == ("nobody", "nobody9999")
    assert aliases_for("PEPE24478-USD")[0] == "pepe"
    assert "pepe24478" in aliases_for("PEPE24478-USD")


@pytest.mark.parametrize(
    ("symbol", "today"),
    [("FB", "META"), ("sq", "XYZ"), ("VIAC", "PSKY"), ("BRK.B", "BRK-B"), ("bf/b", "BF-B"), ("VOD.L", "VOD.L"),
     ("AAPL", "AAPL"), ("BTC-USD", "BTC-USD")],
)  # fmt: skip
def test_a_share_is_known_by_the_symbol_it_trades_under_today(symbol, today):
    assert current_symbol(symbol) == today
    assert symbol.lower().replace("/", ".") in aliases_for(today) or today == "BTC-USD"


def test_no_symbol_is_renamed_to_one_that_was_renamed_or_is_gone():
    table = json.loads(files("deeptrader.core").joinpath("data", "equities.json").read_text(encoding="utf-8"))
    for today, day in table["renamed"].values():
        assert current_symbol(today) == today
        assert left_market(today) is None
        date.fromisoformat(day)
    assert left_market("atvi") == "bought by Microsoft on 2023-10-13"


def test_everyday_words_are_marked():
    assert is_common_word("Near")
    assert is_common_word("apple")
    assert not is_common_word("bitcoin")
    words = {alias for coin in reviewed_coins() for alias in coin.aliases}
    assert "near" in words


def test_a_coin_answers_to_its_name_with_and_without_the_quote_currency():
    bitcoin, paypal = coin_for_symbol("BTC-USD"), coin_for_symbol("PYUSD-USD")
    assert bitcoin is not None
    assert paypal is not None
    assert bitcoin.answers_to("Bitcoin USD")
    assert not bitcoin.answers_to("Bitcoin Cash USD")
    assert not bitcoin.answers_to("")
    assert paypal.answers_to("PayPal USD USD")
    assert paypal.answers_to("PayPal USD")
    assert plain_name("Bitcoin USD") == "Bitcoin"


def test_stablecoins_and_wrapped_coins_are_known_as_such():
    categories = {"USDT-USD": "stablecoin", "BTC-USD": "coin", "WBTC-USD": "wrapped", "STETH-USD": "wrapped"}
    for symbol, category in categories.items():
        coin = coin_for_symbol(symbol)
        assert coin is not None
        assert coin.category == category


@pytest.mark.parametrize(
    ("name", "symbol", "category"),
    [
        ("Wrapped Something USD", "WSMT12345-USD", "wrapped"),
        ("Super Staked ETH USD", "SSETH-USD", "wrapped"),
        ("Bridged USDC USD", "USDCE-USD", "wrapped"),
        ("World Liberty Financial USD USD", "WLUSD-USD", "stablecoin"),
        ("Anything USD", "USDX-USD", "stablecoin"),
        ("Mystery Euro USD", "EURX-USD", "stablecoin"),
    ],
)
def test_the_heuristic_names_its_reason(name, symbol, category):
    guess = look_like_wrapped_or_stable(name, symbol)
    assert guess is not None
    assert guess[0] == category
    assert guess[1].startswith("looks ")


def test_the_heuristic_leaves_every_reviewed_coin_alone():
    wrong = [
        coin.symbol
        for coin in reviewed_coins()
        if coin.category == "coin" and look_like_wrapped_or_stable(f"{coin.name} USD", coin.symbol)
    ]
    assert wrong == []


def test_the_fallback_has_fifty_distinct_equities():
    top = [equity for equity in known_equities() if equity.top]
    assert len({equity.symbol for equity in top}) == len(top) == 50
    assert equity_for_symbol("aapl") in top


def test_loading_the_list_pulls_in_nothing_heavy():
    code = (
        "import sys; from deeptrader.core.coins import reviewed_coins; reviewed_coins();"
        "print([m for m in ('pandas', 'numpy', 'yfinance', 'agno', 'chromadb') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("symbol", "name"),
    [
        ("TIA-USD", "Celestia"),
        ("CC37263-USD", "Canton"),
        ("WLFI33251-USD", "World Liberty Financial"),
        ("PI35697-USD", "Pi"),
        ("XPL-USD", "Plasma"),
        ("NIGHT39064-USD", "Midnight"),
        ("MON30495-USD", "Monad"),
        ("ZRO26997-USD", "LayerZero"),
        ("LIT39125-USD", "Lighter"),
        ("FLR-USD", "Flare"),
        ("HTX-USD", "HTX DAO"),
        ("AERO29270-USD", "Aerodrome Finance"),
        ("CFX-USD", "Conflux"),
        ("ETHFI-USD", "ether.fi"),
        ("SYRUP-USD", "Maple Finance"),
        ("JST-USD", "JUST"),
        ("SUN-USD", "Sun [New]"),
    ],
)
def test_large_newcomers_are_known_by_symbol_and_name(symbol, name):
    coin = coin_for_symbol(symbol)
    assert coin is not None
    assert coin.category == "coin"
    assert coin.answers_to(f"{name} USD")


@pytest.mark.parametrize(
    ("symbol", "name", "category"),
    [
        ("AETHWETH-USD", "Aave Ethereum WETH", "wrapped"),
        ("AETHUSDT-USD", "Aave Ethereum USDT", "wrapped"),
        ("ABASCBBTC-USD", "Aave v3 cbBTC", "wrapped"),
        ("JLP-USD", "Jupiter Perps LP", "wrapped"),
        ("FIGRHELOC-USD", "Figure Heloc", "wrapped"),
        ("CLBTC-USD", "clBTC", "wrapped"),
        ("UNIBTC-USD", "Universal BTC", "wrapped"),
        ("PUFETH-USD", "pufETH", "wrapped"),
        ("TSLAX12345-USD", "Tesla xStock", "wrapped"),
        ("BUIDL-USD", "Something Treasury Fund", "wrapped"),
        ("KHYPE-USD", "kHYPE", "wrapped"),
        ("CBXRP-USD", "cbXRP", "wrapped"),
        ("STATOM-USD", "stATOM", "wrapped"),
        ("SLISBNB-USD", "slisBNB", "wrapped"),
        ("FRAGSOL-USD", "fragSOL", "wrapped"),
        ("SYRUPUSDC-USD", "syrupUSDC", "wrapped"),
        ("USOL-USD", "Unit Solana", "wrapped"),
        ("VDOT-USD", "Bifrost Voucher DOT", "wrapped"),
        ("AMAPT-USD", "Amnis Aptos Coin", "wrapped"),
        ("BNBX-USD", "Stader BNBx", "wrapped"),
        ("ETHX-USD", "Stader ETHx", "wrapped"),
        ("OUSG-USD", "OUSG", "wrapped"),
        ("JAAA-USD", "Janus Henderson Anemoy AAA CLO Fund", "wrapped"),
        ("BENJI-USD", "Franklin OnChain U.S. Government Money Fund", "wrapped"),
        ("NVDAON-USD", "NVIDIA (Ondo Tokenized Stock)", "wrapped"),
        ("PAXG-USD", "PAX Gold", "wrapped"),
        ("PT-SUSDE-USD", "PT Ethena sUSDE", "wrapped"),
        ("BTC3L-USD", "BTC3L", "wrapped"),
        ("ETH2X-USD", "ETH 2x Flexible Leverage Index", "wrapped"),
        ("UST-USD", "TerraUSD", "stablecoin"),
        ("XSGD-USD", "XSGD", "stablecoin"),
        ("AGEUR-USD", "agEUR", "stablecoin"),
        ("IDRT-USD", "Rupiah Token", "stablecoin"),
        ("GHO-USD", "GHO", "stablecoin"),
    ],
)
def test_what_wraps_stakes_bridges_or_tokenises_another_is_told(symbol, name, category):
    coin = coin_for_symbol(symbol)
    guess = look_like_wrapped_or_stable(f"{name} USD", symbol)
    assert (coin.category if coin else guess and guess[0]) == category
    if category == "wrapped":
        assert guess is not None  # as its kind is, whether or not it is on the list


@pytest.mark.parametrize(
    ("symbol", "name"),
    [
        ("LISTA-USD", "Lista DAO"),
        ("SWELL-USD", "Swell Network"),
        ("SOLV-USD", "Solv Protocol"),
        ("ETHW-USD", "EthereumPoW"),
        ("BABYDOGE-USD", "Baby Doge Coin"),
        ("W-USD", "Wormhole"),
        ("DYDX-USD", "dYdX"),
        ("RLC-USD", "iExec RLC"),
        ("USUAL-USD", "Usual"),
        ("RESOLV-USD", "Resolv"),
        ("FF-USD", "Falcon Finance"),
        ("SUSHI-USD", "Sushi"),
        ("A-USD", "Vaulta"),
        ("LPT-USD", "Livepeer"),
        ("FLOCK-USD", "FLock.io"),
    ],
)
def test_coins_of_their_own_are_not_taken_for_forms_of_others(symbol, name):
    assert look_like_wrapped_or_stable(f"{name} USD", symbol) is None


def test_an_old_list_says_so():
    newest, oldest = max(reviewed_on(), equities_reviewed_on()), min(reviewed_on(), equities_reviewed_on())
    assert "coins" not in (age_warning(reviewed_on() + timedelta(days=180)) or "")
    assert "equities" not in (age_warning(equities_reviewed_on() + timedelta(days=180)) or "")
    for day, what in ((reviewed_on(), "coins"), (equities_reviewed_on(), "equities")):
        assert f"The list of {what} is of {day:%Y-%m-%d}, 181 days old" in (age_warning(day + timedelta(181)) or "")
    assert (age_warning(oldest - timedelta(days=2)) or "").count("in the future") == 2
    assert (age_warning(newest + timedelta(days=999)) or "").count("days old") == 2
