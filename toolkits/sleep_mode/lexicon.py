"""The words that questions about a market are made of, in families.

A family is a slot value ("oversold"), a condition that makes a question its own ("negation"), or a filler that adds
nothing. Phrases win over the words inside them. Embedders do not see opposites (oversold and overbought lie side by
side), so every opposite is a family of its own here. A word in no family is kept as unexplained.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cache

MAX_PHRASE = 6

# What is asked about. The value is the topic of the question.
TOPICS: dict[str, str] = {
    "oversold": "oversold, over sold, oversold level, oversold levels, oversold territory, oversold zone, sold off too much, "
    "sold off too far, sold too much",
    "overbought": "overbought, over bought, overbought level, overbought levels, overbought territory, overbought zone, "
    "overheated, over heated, overextended, bought too much",
    "buy": "buy, buys, buying, bought, entry, entries, enter, entering, long, go long, going long, accumulate, accumulating, "
    "buy signal, buy signals, buying signal, buying opportunity, buying opportunities, opportunity, opportunities, "
    "buy opportunity, buy the dip, worth buying, open a position, opening a position, get into, get in, getting into, "
    "jump in, entry point, entry points, entry price, buy price, buy idea, buy ideas, purchase, purchasing",
    "sell": "sell, sells, selling, exit, exits, exiting, sell signal, sell signals, selling signal, get out, get out of, "
    "getting out, take profit, take profits, taking profit, taking profits, take the profit, dump, dumping, unload, "
    "offload, cash out, close the position, close our position, close my position, close a position, exit price, exit point, "
    "sell price, short, go short",
    "hold": "hold on to, keep holding, should i hold, should we hold",
    "up": "uptrend, up trend, bullish, bull, bulls, rise, rises, rising, risen, rose, climb, climbs, climbing, rally, "
    "rallying, gaining, going up, go up, gone up, trending up, trend up, upwards, upward, bull trend, bull market, "
    "trend upwards, trending upwards, trending higher, moving up, heading up, advancing",
    "down": "downtrend, down trend, bearish, bear, bears, fall, falls, falling, fallen, fell, drop, drops, dropping, "
    "dropped, sink, sinking, decline, declining, declined, going down, go down, gone down, trending down, trend down, "
    "downwards, downward, bear trend, bear market, trend downwards, trending downwards, trending lower, moving down, "
    "heading down, losing",
    "trend": "trend, trends, trending, direction",
    "rsi": "rsi, relative strength index, relative strength",
    "macd": "macd",
    "adx": "adx, trend strength",
    "atr": "atr, average true range, true range",
    "ema": "ema, emas, moving average, moving averages",
    "bands": "band, bands, bollinger, bollinger band, bollinger bands, percent b, upper band, lower band",
    "volume": "volume, volumes, trading volume, traded volume, turnover, heavy trading, heavily traded",
    "price": "price, prices, priced, quote, quotes, trading at, trade at, trades at, worth, cost, costs, how much is, "
    "last close, closing price, last price, going for, go for, goes for",
    "high_52w": "52 week high, year high, yearly high, from its high, off its high, below its high",
    "low_52w": "52 week low, year low, yearly low, from its low, off its low, above its low",
    "risk": "risk, risks, risky, riskier, riskiest, downside, danger, dangers, dangerous, exposure, risk assessment, "
    "risk profile, drawdown, go wrong, goes wrong, lose money",
    "volatility": "volatility, volatile, volatilities, swing, swings, swinging, choppy, move around, moves around, "
    "fluctuate, fluctuates, fluctuating, jumpy, wild, bumpy",
    "calm": "calm, calmest, calmer, quiet, quietest, stable",
    "stop": "stop, stops, stop loss, stop losses, stoploss, stop price, stop level, protective stop",
    "safety": "safe, safer, safest, safely, safety, secure, security, scam, scams, scammy, honeypot, honeypots, rug, rugs, "
    "rugged, rug pull, rug pulls, rugpull, rug pull risk, security risk, security risks, legit, legitimate, trust, "
    "trustworthy, fraud, fraudulent, malicious, contract, security check, security checks, security report, security issue, "
    "security issues, clean security, clean, audited, audit, buy tax, sell tax, mintable, security verdict, "
    "security problem, security problems, vulnerable, vulnerability, is it safe to buy, safe to buy, safe to trade, "
    "safe to enter",
    "change": "change, changes, changed, changing, move, moves, new, news, different, differs, differ, moved, happened, happen, "
    "happening since, updates since, since then",
    "compare": "versus, vs, v, contrast, line up, lined up, compare, compares, compared, comparing, comparison, against, difference, differences, "
    "differ from, stack up, stacks up, stack up against, side by side, head to head, relative to, or",
    "rank": "rank, ranks, ranked, ranking, rankings, standing, place among, position among, leaderboard",
    "similar": "similar, situations similar, similar past situations, similar situations, past situations, situations like this, like this before, "
    "looked like this, looks like this, look like this, setup like this, setups like this, was like this, "
    "looked like this before, looks like before, like this, seen before, happened before, alike, precedent, precedents, historically, history, analog, analogs, the last time, last time, "
    "happened next, what followed, followed, came next, before when",
    "breakout": "breakout, breakouts, breaking out, break out, breaks out, broke out, broken out, broken above, broke above, "
    "breaking above, break above, above the upper band, above its upper band, above their upper band, "
    "through the upper band",
    "performance": "return, returns, performance, perform, performed, performing, gain, gains, gainer, gainers, loser, losers, "
    "loss, losses, done, do this week, do this month",
    "state": "state, status, overview, summary, summarise, summarize, picture, situation, outlook, analysis, analyse, analyze, "
    "doing, going on, up with, brief, briefing, read, update, condition, stand, stands, shape, view, snapshot, "
    "how does, how is, how are, tell me about, technicals, technically, fare, faring",
}

# How it is asked: degree, time, scope.
MARKS: dict[str, str] = {
    "most": "most, best, top, highest, strongest, biggest, largest, greatest, maximum",
    "least": "least, lowest, weakest, smallest, minimum",
    "better": "better, more, rather, higher, greater",
    "worse": "worse, less, lower, worst, poorer",
    "market": "which, which one, what, anything, any, something, everything, all, market, markets, the market, universe, "
    "anywhere, overall, find, list, scan, screen, out there, across the board",
    "tokens": "which token, which tokens, which coin, which coins, which stock, which stocks, which large cap, "
    "which large caps, which ones, any token, any coin, any stock, any large cap, tokens, coins, stocks, names, "
    "large cap, large caps, largecap, largecaps, big caps",
    "close": "close, closing, closed",
    "position": "position, positions, holding, holdings, hold, holds",
    "half": "half, third, quarter, double, doubles, doubled, twice, triple, tenth, few, dozen, hundred, thousand, million, "
    "billion, one percent, two, three, four, five, six, eight, nine, ten, twenty, thirty, fifty, seventy, eighty, ninety",
    "below": "below, under, less than, beneath, lower than, at most, smaller than, no more than, fewer than",
    "above": "above, over, more than, greater than, higher than, at least, beyond, exceeds, exceed, no less than",
    "day": "since yesterday, from yesterday, yesterday, past day, last day, the day before, overnight, last 24 hours, "
    "past 24 hours, 24 hours, 24h, day over day, compared to yesterday, compared with yesterday, since the day before",
    "week": "this week, past week, last week, since last week, over the week, last 7 days, past 7 days, 7 days, 7d, weekly, "
    "last seven days, past seven days, seven days, on the week, week over week, the week",
    "month": "this month, past month, last month, last 30 days, past 30 days, 30 days, 30d, monthly, thirty days, "
    "last four weeks",
    "cycle": "since the last cycle, last cycle, since last cycle, since the last pass, since the last update, "
    "since the previous cycle, previous cycle, since you last looked, since i last asked, since last time",
    "hourly": "hourly, 1h, 1 hour, one hour, last hour, past hour, intraday, hourly chart, hourly bars, 60 minutes, "
    "this hour, 1 hour chart, 1h chart",
    "daily": "daily, 1d, daily chart, daily bars, day chart, 1 day chart, 1d chart, end of day",
}

# What makes a question its own, so that no prepared answer is the right one.
OBSTACLES: dict[str, str] = {
    "negation": "not, never, no longer, nor, without, except, excluding, instead of, other than, besides, apart from, avoid, "
    "avoiding, wrong, nothing, none, neither, no, cannot, hardly, barely, stop being, rather than",
    "degree": "near, nearly, almost, close to, approaching, half way, on the verge, about to, towards",
    "conditional": "if, when, unless, in case, after, because, before, enough, suppose, supposing, assume, assuming, provided, once, should it, were to, "
    "would have, in the event, as soon as, until, otherwise",
    "future": "will, tomorrow, next, going to, will be, soon, later, forecast, predict, prediction, expected, expect, "
    "target, gonna, eventually, by friday, by monday, future",
    "past": "was, were, ago, last year, past year, last quarter, past quarter, previously, formerly, used to, earlier, back in, "
    "years, months, month ago, year ago, should have, back then, last friday, last monday, january, february, march, april, "
    "may, june, july, august, september, october, november, december, in may, spring, summer, autumn, winter, all time",
    "explanation": "why, who, whose, whom, mean, means, meaning, explains, define, defined, definition, calculated, "
    "computed, calculate, compute, formula, rule, rules, how often, how long, since when, how many, how reliable, remind, "
    "alert, alerts, notify, translate, ignore, forget, write, joke, poem, where can i, how do i, how can i, how to, can you buy, "
    "can you sell, buy me, sell me, sold me, said, says, what is a, what is an, reliable, accurate, never mind, for example, "
    "how do you, teach, learn, invented, instructions, system prompt, prompt, pretend, disregard, legal, tax, taxes, fee, fees",
    "interval": "4h, 2h, 6h, 8h, 12h, 15m, 5m, 1m, 30m, 3d, 1w, minute, minutes, hours, weekly chart, monthly chart, "
    "weekly bars, 4 hour, 15 minute, 15 minute chart, weekly timeframe, minute chart, 5 minute, 30 minute, 4 hours, quarterly, "
    "yearly chart, week chart",
}

FILLERS = (
    "a, an, the, is, are, am, be, been, being, it, its, this, that, these, those, there, here, do, does, did, has, have, had, "
    "should, shall, would, could, can, might, ought, to, of, in, on, at, for, from, with, by, as, about, into, and, than, "
    "i, we, you, me, us, our, my, your, he, they, them, one, some, please, pls, plz, kindly, hey, hi, ok, okay, so, well, then, "
    "now, right now, at the moment, currently, at present, present, current, today, these days, moment, time, yet, already, "
    "still, again, just, really, actually, too, also, quite, very, much, how, where, where is, when should, when to, when do i, "
    "when do we, when is it time, when has, when have, at what, "
    "report, but, what is a good, what is a decent, "
    "tell, tell me, tell me if, show, show me, give, give me, check, check if, see, see if, let me know, let me know if, know, "
    "know if, tell us if, check whether, whether, wonder, wondering, think, thinking, consider, considering, say, want, need, "
    "like to know, would like, would you, do you think, opinion, thoughts, question, quick, "
    "look, looks, looking, looked, seem, seems, appear, appears, get, gets, getting, got, become, becomes, became, becoming, "
    "make, makes, sense, come, came, "
    "territory, zone, level, levels, reading, readings, value, figure, figures, number, signal, signals, point, points, chart, "
    "token, coin, coins token, stock, share, shares, crypto, asset, symbol, ticker, good, nice, decent, fine, ideal, great, "
    "sensible, worthwhile, worth it, idea, ideas, place, put, set up, go, going, goes, sit, sits, at all, "
    "high, low, average, its average, above average, above its average, below average, its mean, compared with its average, "
    "compared to its average, unusual, normal, heavy, usual, latest, last, recent, recently, lately, "
    "or no, or not, yes or no, yes, sure, say whether, can you, could you, would it, will you please, out, off, ready, "
    "since, over, among, amongst, between, rest, rest of, whole, each, other, others, we know, since the"
)

# Words around a question that leave its meaning alone: asking, judging, courtesy. They also show the embedder what such
# words are like, so that one that is not here can be recognised (see matching.py).
COURTESY = (
    "explain, describe, summarize, summarise, present, report, mention, share, provide, hand, bring, fetch, pull, grab, "
    "spot, flag, pick, choose, select, locate, identify, discover, suggest, recommend, propose, advise, advisable, wise, "
    "smart, clever, reasonable, sensible, justified, sound, honestly, frankly, basically, simply, generally, roughly, "
    "seriously, literally, obviously, probably, possibly, maybe, perhaps, feeling, gut, hunch, guess, impression, sense, "
    "belief, judgement, judgment, opinion, take, thought, mind, curious, interested, interesting, confused, unsure, worried, "
    "concerned, buddy, bro, dude, mate, friend, folks, team, guys, man, sir, boss, quickly, briefly, shortly, fast, asap, "
    "urgent, help, helping, assist, guide, walk, run, through, wondering, asking, asked, ask, inquire, request, agree, "
    "correct, right, true, certain, confirm, verify, behaved, behaving, acting, acted, appeared, seemed, seeing, saw, feels, "
    "felt, feel, nutshell, details, depth, recap, rundown, glance, thank, thanks, appreciate, hello, morning, evening, prefer, "
    "favor, favour, support, indicate, hint, crazy, insane, super, pretty, fairly, somewhat, extremely, worry, care, bother, "
    "yo, cheers, alright, anyway, gladly, hopefully, kinda, sorta, hmm, wow, sorry, pardon, excuse, welcome, hurry, exactly, "
    "precisely, essentially, effectively, apparently, presumably, definitely, absolutely, totally, completely, entirely, "
    "reckon, imagine, believe, notice, observe, reveal, illustrate, outline, sketch, clarify, elaborate, comment, remark, "
    "inform, answer, reply, respond, speak, talk, discuss, chat, review, examine, inspect, evaluate, assess, judge, estimate, "
    "dig, hunt, search, seek, fill, spell, surprise, sane, sanity, prudent, foolish, silly, stupid, dumb, brilliant, "
    "excellent, perfect, lovely, likely, underway, carrying, handle, plan, planning, intend, hope, hoping, try, trying, "
    "deciding, decide, settle, honest, blunt, straight, plain, plainly, sincerely, personally, gently, "
    "chance, worthwhile, truly, surely, clearly, point out, feels like, feel like, in short, hand me, would you call, "
    "do you call, quote me, catch me up, right then, what about, how about, take on, your take"
)

# Words that make it another question whatever else is in it. They show the embedder the other side.
FOREIGN = (
    "leverage, margin, futures, option, options, puts, calls, derivatives, swap, perpetual, loan, lending, borrow, borrowing, "
    "collateral, mortgage, staking, stake, staked, yield, farming, airdrop, mining, miner, miners, rig, hashrate, hash, "
    "validator, validators, node, nodes, wallet, wallets, ledger, exchange, exchanges, binance, coinbase, kraken, broker, bank, "
    "government, regulation, regulator, regulators, regulatory, law, lawsuit, court, election, president, senate, company, ceo, "
    "foundation, founder, employee, analyst, analysts, expert, experts, investor, investors, whale, whales, crowd, public, "
    "people, institution, institutions, blackrock, etf, fund, funds, pension, retirement, kids, children, family, wife, "
    "grandmother, gold, silver, oil, bonds, dollar, euro, yen, currency, inflation, rates, fed, economy, nasdaq, network, "
    "protocol, bridge, upgrade, fork, roadmap, adoption, supply, circulation, burn, dominance, gas, throughput, speed, "
    "transaction, transactions, block, blocks, developer, developers, github, meme, defi, ai, gaming, layer, nft, privacy, "
    "stablecoin, sector, category, telegram, twitter, reddit, media, influencer, elon, electricity, energy, hardware, software, "
    "app, website, password, earnings, revenue, dividend, merger, acquisition, employer, product, weather, song, football, food, "
    "travel, halving, christmas, weekend, divergence, triangle, fibonacci, elliott, timeframe, capital, portfolio, "
    "savings, salary, credit, card, martingale, hedge, arbitrage, insurance, custody, deposit, withdraw, withdrawal, "
    "velocity, latency, bandwidth, capacity, brokerage, dealer, lawyer, police, crime, theft, insurer, premium, policy, holiday, "
    "trip, flight, hotel, vehicle, truck, apartment, music, movie, game, games, sport, cricket, basketball, chess, recipe, "
    "restaurant, coffee, school, university, student, teacher, hospital, doctor, disease, religion, church, army, war, "
    "military, china, russia, america, europe, germany, japan, india, country, city, semiconductors, sales, customers, users, "
    "community, discord, conference, podcast, article, book, whitepaper, author, battery, server, servers, cloud, database, "
    "code, bug, mempool, difficulty, rollup, dao, treasury, governance, vote, proposal, mint, minted, issuance, emission, "
    "vesting, unlock, presale, ipo, buyback, guidance, billionaire, millionaire, ownership, headquarters, shareholders, "
    "lockup, custodian, depositor, payment, payments, merchant, remittance, passport, visa, immigration, marriage, lottery, "
    "casino, gambling, poker, strategy, backtest, liquidation, liquidity, partnership, listing, delisting, hackers, hacked, consensus, energy use, rent, house, car"
)

_CONTRACTIONS: tuple[tuple[str, str], ...] = (
    ("what's", "what is"),
    ("whats", "what is"),
    ("how's", "how is"),
    ("hows", "how is"),
    ("where's", "where is"),
    ("wheres", "where is"),
    ("who's", "who is"),
    ("when's", "when is"),
    ("it's", "it is"),
    ("that's", "that is"),
    ("there's", "there is"),
    ("let's", "let us"),
    ("won't", "will not"),
    ("can't", "can not"),
    ("ain't", "is not"),
)
CONTRACTIONS: Mapping[str, str] = dict(_CONTRACTIONS)

Tag = tuple[str, str]
"""Family and value: ("topic", "oversold"), ("mark", "most"), ("obstacle", "negation"), ("filler", "")."""


@cache
def phrases() -> Mapping[tuple[str, ...], Tag]:
    """Every phrase as a tuple of words, with its family and value."""
    table: dict[tuple[str, ...], Tag] = {
        tuple(text.split()): ("obstacle", "another matter") for text in _split(FOREIGN)
    }
    table |= {tuple(text.split()): ("filler", "") for text in _split(COURTESY) + _split(FILLERS)}
    table |= {("up",): ("particle", "up"), ("down",): ("particle", "down")}
    for family, groups in (("mark", MARKS), ("topic", TOPICS), ("obstacle", OBSTACLES)):
        for value, texts in groups.items():
            for text in _split(texts):
                table[tuple(text.split())] = (family, value)
    return table


@cache
def vocabulary() -> frozenset[str]:
    """Every single word that stands in some phrase."""
    return frozenset(word for phrase in phrases() for word in phrase)


_VOWELS = frozenset("aeiouy")


class OneEdit:
    """Words, found again from a spelling with one slip: a letter added or left out, two exchanged, a wrong vowel.

    Only words of six letters and more, with the first letter right, and only where a single word is that near: one
    letter turns "tell" into "sell".
    """

    def __init__(self, words: Iterable[str]) -> None:
        self._by_shape: dict[str, set[str]] = {}
        for word in words:
            if len(word) >= 6:
                for shape in _shapes(word):
                    self._by_shape.setdefault(shape, set()).add(word)

    def correct(self, word: str) -> str | None:
        """The one word that `word` is a slip away from, or None."""
        if len(word) < 5:
            return None
        near = set().union(*(self._by_shape.get(shape, ()) for shape in _shapes(word)))
        near = {target for target in near if target[0] == word[0] and _is_one_edit(word, target)}
        return near.pop() if len(near) == 1 else None


@cache
def _families() -> OneEdit:
    return OneEdit(word for word in vocabulary() if word.isalpha())


def corrected(word: str) -> str | None:
    """The vocabulary word that an unknown word is one slip of the finger away from, or None."""
    return None if word in vocabulary() else _families().correct(word)


def _shapes(word: str) -> set[str]:
    return {word, *(word[:i] + word[i + 1 :] for i in range(len(word)))}


def _is_one_edit(a: str, b: str) -> bool:
    """True for one letter added or left out, two neighbours exchanged, or one vowel for another: a replaced consonant
    makes another word too often (contrast, contract)."""
    start = next((i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))
    rest_a, rest_b = a[start:], b[start:]
    return (
        rest_a[1:] == rest_b
        or rest_a == rest_b[1:]
        or (rest_a[1:] == rest_b[1:] and {rest_a[:1], rest_b[:1]} <= _VOWELS)
        or (rest_a[:2] == rest_b[1::-1] and rest_a[2:] == rest_b[2:])
    )


def courtesy_words() -> list[str]:
    """Single words that leave a question's meaning alone: what the embedder is shown for that side."""
    return [word for word in _split(COURTESY) if " " not in word]


def foreign_words() -> list[str]:
    """Single words that make it another question: what the embedder is shown for that side."""
    return [word for word in _split(FOREIGN) if " " not in word]


def _split(texts: str) -> list[str]:
    return [text.strip() for text in texts.split(",") if text.strip()]
