"""What is held and watched: kept, valued at the price seen last, refreshed first, told, read by the risk rules."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from doubles.analyses import NOW, make_analysis, make_quote, make_settings
from doubles.memory import open_memory, publish

from deeptrader.agents import RiskRules, TradeRecommendation
from deeptrader.core.clock import ManualClock
from deeptrader.core.errors import InvalidInput
from deeptrader.toolkits.khala import Khala
from deeptrader.toolkits.market_data import SimulatedMarket
from deeptrader.toolkits.sleep_mode.budgets import Budget
from deeptrader.toolkits.sleep_mode.cycle import SleepCycle
from deeptrader.toolkits.sleep_mode.holdings import Holding, Holdings, correlation_statements, positions, read_csv
from deeptrader.toolkits.sleep_mode.planner import SleepPlanner
from deeptrader.toolkits.sleep_mode.reader import Reader


def holding(symbol: str = "BTC-USD", quantity: float = 0.5, price: float = 61_000.0, **more: float) -> Holding:
    return Holding(symbol=symbol, quantity=quantity, price=price, since=NOW, **more)  # type: ignore[arg-type]


@pytest.fixture
def khala(tmp_path: Path) -> Iterator[Khala]:
    with open_memory(tmp_path) as opened:
        yield opened


@pytest.fixture
def holdings(khala: Khala) -> Holdings:
    return Holdings(khala.journal)


def brief(khala: Khala, question: str) -> str:
    reader = Reader(khala)
    return reader.brief(reader.read(question)).text


def test_buying_more_gives_the_mean_price_and_selling_a_part_keeps_it(holdings):
    holdings.add(holding(quantity=1, price=60_000, stop=50_000))
    holdings.add(holding(quantity=3, price=64_000))
    holdings.remove("BTC-USD", 1)

    assert holdings.all() == {"BTC-USD": holding(quantity=3, price=63_000, stop=50_000)}
    holdings.remove("BTC-USD", 3)
    assert holdings.all() == {}


@pytest.mark.parametrize("quantity", [0.6, -0.1, 0])
def test_what_is_not_held_cannot_be_taken_away(holdings, quantity):
    holdings.add(holding())

    with pytest.raises(InvalidInput):
        holdings.remove("BTC-USD", quantity)
    with pytest.raises(InvalidInput):
        holdings.remove("ETH-USD")
    assert holdings.all() == {"BTC-USD": holding()}


def test_a_holding_is_worth_what_the_price_seen_last_says(khala, holdings):
    holdings.put([holding(stop=58_000), holding("ETH-USD", 10, 4_000)])
    khala.observe([make_quote("BTC-USD", 68_000, as_of=NOW)])

    found = positions(khala, holdings.all())

    assert found["BTC-USD"].worth == 34_000
    assert found["BTC-USD"].result == 3_500
    assert found["BTC-USD"].total == pytest.approx(34_000 + 10 * 3_120.25)
    assert not found["BTC-USD"].below_stop


def test_a_brief_says_what_is_held_its_result_and_its_stop(khala, holdings):
    holdings.put([holding(stop=58_000)])
    khala.observe([make_quote("BTC-USD", 68_000, as_of=NOW)])

    text = brief(khala, "How is bitcoin doing?")

    held = "Held: 0.5 BTC-USD bought at 61,000.00 USD, at 68,000.00 USD worth 34,000.00 USD: +3,500.00 USD (+11.5 %)"
    assert held in text
    assert "100 % of all that is held" in text
    assert "The stop of BTC-USD that is held is at 58,000.00 USD, 14.7 % away." in brief(khala, "risk of bitcoin?")
    assert "Held" not in brief(khala, "How is ethereum doing?")


def test_a_stop_that_was_reached_stands_in_every_brief_of_its_token(khala, holdings):
    holdings.put([holding(stop=70_000)])

    assert "BTC-USD has reached its stop: 67,412.50 USD is not above 70,000.00 USD." in brief(khala, "BTC volume?")


def test_a_share_of_capital_is_told_only_where_the_capital_is_known(tmp_path):
    with open_memory(tmp_path) as khala:
        Holdings(khala.journal).put([holding()])
        assert "of capital, " not in brief(khala, "How is bitcoin doing?")
        khala.settings = make_settings(capital_usd=1_000_000.0)
        assert "; 3.4 % of capital, above the limit of 2 %." in brief(khala, "How is bitcoin doing?")


def test_the_portfolio_is_told_as_a_whole(khala, holdings):
    assert "Nothing is held" in Reader(khala).answer(Reader(khala).read("How is my portfolio?")).text

    holdings.put([holding(), holding("ETH-USD", 10, 4_000), holding("NEW-USD", 1, 1)])
    reader = Reader(khala)
    reading = reader.read("How is my portfolio?")
    answer = reader.answer(reading)

    assert reading.topic.name == "holdings"
    assert answer.text.splitlines()[0] == (
        "3 tokens are held, worth 64,908.75 USD, -5,591.25 USD of it unrealised; the largest is BTC-USD with 51.9 %; "
        "no price is known of NEW-USD."
    )
    assert [s.symbol for s in answer.statements if s.id == "holding"] == ["BTC-USD", "ETH-USD"]
    later = reader.read("What do I hold?", earlier=["BTC-USD"])
    assert reader.answer(later).text == answer.text, "whatever was talked about before"


def daily(closes: np.ndarray, *, at: str) -> pd.DataFrame:
    return pd.DataFrame({"close": closes}, index=pd.date_range(f"2025-12-02 {at}", periods=len(closes), tz="UTC"))


def test_what_is_held_is_correlated_over_the_days_that_all_have():
    moves = np.random.default_rng(1).normal(0, 0.02, (60, 3))
    moves[:, 1] = 0.8 * moves[:, 0] + 0.2 * moves[:, 1]
    prices = 100 * np.cumprod(1 + moves, axis=0)
    # The coin's bars close at midnight: those that close on the 3rd are of the 2nd, like a share's of that day.
    frames = {"IBM": daily(prices[:, 0], at="21:00"), "BTC-USD": daily(prices[:, 2], at="21:00")}
    frames["ETH-USD"] = daily(prices[:, 1], at="00:00").shift(1, freq="D")
    (said,) = correlation_statements(frames, NOW)
    pairs = np.corrcoef(moves[1:].T)
    mean = (pairs[0, 1] + pairs[0, 2] + pairs[1, 2]) / 3
    assert said.text == (
        "Of what is held IBM and ETH-USD move most alike: their daily changes correlate at "
        f"{pairs[0, 1]:.2f}; the mean of 3 pairs is {mean:.2f}, over 59 days."
    )
    assert said.facts["held:correlation_mean"] == pytest.approx(mean)
    early = datetime(2025, 12, 20, tzinfo=UTC)
    assert correlation_statements(frames, early) == [], "bars of later days are not looked at"
    assert correlation_statements({"IBM": frames["IBM"]}, NOW) == []


def test_the_portfolio_tells_what_moves_alike(tmp_path):
    clock = ManualClock(NOW)
    settings = make_settings(data_dir=tmp_path, market="simulated", top=3)
    with Khala.open(tmp_path, clock=clock, settings=settings) as khala:
        SleepCycle(market=SimulatedMarket(3, clock=clock), khala=khala, settings=settings, clock=clock).run()
        first, second, _ = (token.symbol for token in khala.symbols())
        Holdings(khala.journal).put([holding(first)])
        assert "move most alike" not in brief(khala, "How is my portfolio?")
        Holdings(khala.journal).put([holding(second)])
        for question in ("How is my portfolio?", "How correlated are my holdings?"):
            told = brief(khala, question)
            assert "move most alike" in told
            assert "does not hold what was asked" not in told
        assert "does not hold what was asked" in brief(khala, f"How correlated is {first} with gold?")


def test_what_is_held_already_counts_towards_the_limit_of_one_position(khala, holdings):
    proposal = TradeRecommendation.model_validate(
        {"token": "BTC-USD", "action": "buy", "entry": 67_000, "stop": 66_000, "target": 70_000, "confidence": 0.5}
        | {"position_percent": 1.5}
    )
    knowing = RiskRules(khala, khala.settings, loss_today=lambda: 0.0)
    assert knowing.check(proposal).status == "cleared"

    holdings.put([holding(quantity=0.1)])
    unsure = knowing.check(proposal)
    khala.settings = make_settings(capital_usd=1_000_000.0)
    full = RiskRules(khala, khala.settings, loss_today=lambda: 0.0)

    assert (unsure.status, len(unsure.notes)) == ("cleared", 1)
    assert full.check(proposal).status == "held"
    assert "with the 0.674 % that are held" in full.check(proposal).violations[0].detail
    assert full.check(proposal.model_copy(update={"position_percent": 1.3})).status == "cleared"


def test_what_is_held_is_refreshed_before_all_others(tmp_path):
    clock = ManualClock(NOW)
    settings = make_settings(data_dir=tmp_path, top=6, intervals=("1d",), fetch_concurrency=1)
    market = SimulatedMarket(8, clock=clock)
    held, watched = (token.symbol for token in market.universe(top=8).tokens[-2:])
    with Khala.open(tmp_path / "khala", clock=clock, settings=settings) as khala:
        kept = Holdings(khala.journal)
        kept.put([holding(held, 1, 1)])
        kept.watch([watched])
        cycle = SleepCycle(
            market=market,
            khala=khala,
            planner=SleepPlanner(settings),
            settings=settings,
            clock=clock,
            budgets=lambda: Budget(),
        )

        plan, report = cycle.preview(), cycle.run()

        assert plan.items[0].token.symbol == held
        assert {held, watched} <= set(report.universe)
        assert khala.latest(watched).analysis is not None


def test_the_watch_list_keeps_its_own_order(open_journal):
    kept = Holdings(open_journal())
    kept.watch(["B-USD", "A-USD", "C-USD"])
    kept.watch(["A-USD"])
    assert kept.watched() == ("B-USD", "A-USD", "C-USD")
    kept.watch_first("C-USD")
    kept.watch_first("D-USD")
    assert kept.watched() == ("D-USD", "C-USD", "B-USD", "A-USD")
    kept.watch(["C-USD"], on=False)
    assert kept.watched() == ("D-USD", "B-USD", "A-USD")


SCHWAB = """"Positions for account ...123 as of 09:12 AM ET"\r
\r
"Symbol","Description","Quantity","Price","Market Value","Cost Basis"\r
"AAPL","APPLE INC","1,250","$509.59","$636,987.50","$562,500.00"\r
"Cash & Cash Investments","--","--","--","$1,000.00","--"\r
"""
FIDELITY = """Account Name,Symbol,Quantity,Last Price,Current Value,Average Cost Basis,Type
Own,IBM,12.5,$190.10,$2376.25,$180.25,Cash

"The data in this spreadsheet is provided to you solely"
"""
STATEMENT = """Open Positions,Header,Asset Category,Currency,Symbol,Quantity,Cost Price,Cost Basis,Close Price
Open Positions,Data,Stocks,USD,IBM,5,160,800,170
Open Positions,Total,,USD,,,,800,
"""
TOTALS = """"Symbol","Qty (Quantity)","Price","Mkt Val (Market Value)","Cost Basis","Security Type"
"AAPL","10","$170.00","$1,700.00","$1,500.00","Equity"
"Account Total","--","--","$1,800.00","$1,500.00","--"
"""
GERMAN = "Kürzel;Symbol;Stück;Einstandskurs;Währung\n;AAPL;1.250;450,25;USD\n;IBM;10,5;1.180,00;USD\n"


@pytest.mark.parametrize(
    ("content", "held"),
    [
        (
            "\ufeffSymbol, Quantity, Price, Stop, Note\nbtc-usd,1,60000,,first\nBTC-USD,1,70000,55000,\n",
            [holding(quantity=2, price=65_000, stop=55_000)],
        ),
        (SCHWAB, [holding("AAPL", 1_250, 450)]),  # its price is that of today
        (FIDELITY, [holding("IBM", 12.5, 180.25)]),
        (GERMAN.encode("cp1252"), [holding("AAPL", 1_250, 450.25), holding("IBM", 10.5, 1_180)]),
        ("Ticker\tQty\tAvg Cost\nAAPL\t1 000\t1.25\n".encode("utf-16"), [holding("AAPL", 1_000, 1.25)]),
        ("symbol,quantity,price\nAAPL,1'000,\"1,400\"\nbitcoin,1e-3,$60000\n",
         [holding("AAPL", 1_000, 1_400), holding("BTC-USD", 0.001, 60_000)]),
        (STATEMENT, [holding("IBM", 5, 160)]),
        (TOTALS, [holding("AAPL", 10, 150)]),
        ("Instrument,Shares,Avg Cost/Share,Market Price\nIBM,5,160,170\n", [holding("IBM", 5, 160)]),
        ("Asset,Balance,Average Open Price (USD)\nbitcoin,1,60000\n", [holding(quantity=1, price=60_000)]),
        ("Produkt;Symbol/ISIN;Anzahl;Einstandskurs\nIBM;IBM;5;160,5\n", [holding("IBM", 5, 160.5)]),
        ("Symbol,Qty,Unit Cost ($),Security Type\nIBM,5,160,Short-term\nAAPL,0,0,x\n", [holding("IBM", 5, 160)]),
    ],
)  # fmt: skip
def test_a_file_is_read_as_brokers_write_it_and_adds_up_its_rows(tmp_path, content, held):
    file = tmp_path / "held.csv"
    file.write_bytes(content if isinstance(content, bytes) else content.encode())

    assert read_csv(file, NOW, lambda name: {"bitcoin": "BTC-USD"}.get(name, name)) == held


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("symbol,quantity\nAAPL,1\n", "lacks a column"),
        ("symbol,quantity,price\nAAPL,1,150\nIBM,-1,100\n", "line 3: quantity"),
        ("symbol,quantity,price\nIBM,(1),100\n", "line 2: quantity"),
        ("symbol,quantity,price\nAAPL,many,150\n", "line 2: quantity"),
        ("symbol,quantity,price\n!,1,150\n", "line 2: symbol"),
        ("symbol,quantity,price\nAAPL,1,nan\n", "line 2: price"),
        ("symbol;quantity;price\nAAPL;1;450,25 €\n", "line 2: price: 450,25 € is no number, or not in USD"),
        ("symbol,quantity,price,currency\nAAPL,1,450,GBP\n", "line 2: Its price is in GBP"),
        ("symbol;quantity;price\nAAPL;1;1.250\n", "in two ways"),
        ('symbol,quantity,price\nAAPL,1.5,"450,25"\n', "in two ways"),
        ('symbol,quantity,price\nAAPL,"1,00,000",450\n', "line 2: quantity"),
        ("symbol,side,quantity,price\nAAPL,Buy,2,150\nAAPL,SELL,1,150\n", "line 3: It is a sale"),
        ("", "lacks a column"),
    ],
)
def test_a_file_with_a_wrong_line_is_not_taken(tmp_path, text, told):
    file = tmp_path / "held.csv"
    file.write_text(text)

    with pytest.raises(InvalidInput, match=told):
        read_csv(file, NOW)


def test_a_price_seen_before_the_bar_closed_is_not_the_price(khala, holdings):
    khala.observe([make_quote("BTC-USD", 1.0, as_of=NOW - timedelta(days=1))])
    publish(khala, make_analysis("XRP-USD", price=2.0, quote=None))
    holdings.put([holding(), holding("XRP-USD", 1, 1)])

    assert positions(khala, holdings.all())["XRP-USD"].price == 2.0
    assert positions(khala, holdings.all())["BTC-USD"].price == 67_412.5
