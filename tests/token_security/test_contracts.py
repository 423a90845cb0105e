"""The reviewed map: every address has the form of its chain, and no coin is in two places."""

from __future__ import annotations

import json
from importlib.resources import files

import pytest
from doubles.security_server import LINK

from deeptrader.core.coins import coin_for_id, coin_for_symbol, reviewed_coins
from deeptrader.core.errors import InvalidInput
from deeptrader.core.token import Contract
from deeptrader.toolkits.token_security.contracts import CHAINS, ContractBook, checked_contract, eip55, find_chain

DATA = files("deeptrader.toolkits.token_security") / "data"
CONTRACTS = json.loads((DATA / "contracts.json").read_text())["contracts"]
NATIVES = json.loads((DATA / "native.json").read_text())["natives"]
PAIRS = [(coin_id, chain, address) for coin_id, by_chain in CONTRACTS.items() for chain, address in by_chain.items()]


@pytest.mark.parametrize(
    "address",
    [  # from the text of EIP-55
        "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed",
        "0xfB6916095ca1df60bB79Ce92cE3Ea74c37c5d359",
        "0xdbF03B407c01E7cD3CBea99509d93f8DDDC8C6FB",
        "0xD1220A0cf47c7B9Be7A2E6BA89F429762e7b9aDb",
    ],
)
def test_checksums_agree_with_the_standard(address):
    assert eip55(address.lower()) == address
    swapped = address[:2] + address[2:].swapcase()
    with pytest.raises(InvalidInput, match="checksum"):
        checked_contract("1", swapped)


@pytest.mark.parametrize(("coin_id", "chain", "address"), PAIRS)
def test_every_reviewed_address_has_the_form_of_its_chain(coin_id, chain, address):
    contract = checked_contract(chain, address)
    assert find_chain(chain).id == chain, "chains are written by GoPlus's id"
    if find_chain(chain).family == "evm":
        assert eip55(contract.address) == address, "EVM addresses carry their checksum"
    assert coin_for_id(coin_id) is not None, "every key is a reviewed coin"
    assert ContractBook.shipped().coin_at(contract) is coin_for_id(coin_id)


def test_no_two_coins_share_an_address_and_none_is_native_and_contract_at_once():
    assert len({(chain, address.lower()) for _, chain, address in PAIRS}) == len(PAIRS)
    assert not set(CONTRACTS) & set(NATIVES)
    assert all(coin_for_id(coin_id) is not None for coin_id in NATIVES)
    assert all(2009 <= year <= 2026 for year in NATIVES.values())


def test_seven_in_eight_reviewed_coins_are_placed_without_coingecko():
    """The others have a chain of their own whose first year nobody reviewed, live on chains that no source checks, or
    moved from one chain to another: CoinGecko is asked."""
    coins = reviewed_coins()
    open_questions = [coin.id for coin in coins if coin.id not in CONTRACTS and coin.id not in NATIVES]
    assert len(open_questions) <= len(coins) // 8, open_questions


@pytest.mark.parametrize(
    ("symbol", "chain", "address"),
    [
        ("LINK-USD", "1", LINK),
        ("UNI7083-USD", "1", "0x1f9840a85d5af5bf1d1762f925bdaddc4201f984"),
        ("PEPE24478-USD", "1", "0x6982508145454ce325ddbe47a25d4ec3d2311933"),
        ("ARB11841-USD", "42161", "0x912ce59144191c1204e64559fe8253a0e49e6548"),
        ("OP-USD", "10", "0x4200000000000000000000000000000000000042"),
        ("BONK-USD", "solana", "DezXAZ8z7PnrnRJjz3wXBoRgixCa6xjnB7YaB1pPB263"),
        ("WIF-USD", "solana", "EKpQGSJtjMFqKZ9KQanSqYXRcF8fBopzLHYxdM65zcjm"),
        ("CAKE-USD", "56", "0x0e09fabb73bd3ade0a17ecc321fd13a19e81ce82"),
    ],
)
def test_a_symbol_leads_to_its_contract(symbol, chain, address):
    coin = coin_for_symbol(symbol)
    assert coin is not None
    assert ContractBook.shipped().contract_of(coin.id) == Contract(chain=chain, address=address)


def test_natives_have_no_contract():
    book = ContractBook.shipped()
    for coin_id in ("bitcoin", "ethereum", "solana", "ripple", "cardano", "dogecoin"):
        assert book.native(coin_id) is not None
        assert book.contract_of(coin_id) is None


def test_chains_go_by_the_names_people_use():
    assert find_chain(" Ethereum ").id == find_chain("eth").id == find_chain("1").id == "1"
    assert find_chain("bsc").id == "56"
    assert find_chain("sol").family == "solana"
    names = [name.casefold() for chain in CHAINS for name in {chain.id, chain.name, chain.platform, *chain.aliases}]
    assert len({*names}) >= len(CHAINS) * 2
    with pytest.raises(InvalidInput, match="No chain"):
        find_chain("\x1b[31mroot")
