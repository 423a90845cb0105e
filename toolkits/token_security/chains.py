"""Chains by GoPlus's ids, the names people and CoinGecko use for them, and what an address on each looks like."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from ...core.errors import InvalidInput
from ...core.text import quote_untrusted
from ...core.token import Contract
from .keccak import keccak_256

Family = Literal["evm", "solana"]

_EVM_ADDRESS = re.compile(r"0x[0-9a-fA-F]{40}")
_BASE58 = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"
_SOLANA_ADDRESS = re.compile(rf"[{_BASE58}]{{32,44}}")


@dataclass(frozen=True, slots=True)
class Chain:
    """`id` is GoPlus's, `platform` CoinGecko's; `aliases` is what people write."""

    id: str
    name: str
    family: Family
    platform: str
    aliases: tuple[str, ...] = ()


CHAINS: tuple[Chain, ...] = (
    Chain("1", "Ethereum", "evm", "ethereum", ("eth", "erc20", "mainnet")),
    Chain("56", "BNB Smart Chain", "evm", "binance-smart-chain", ("bsc", "bnb", "bep20", "binance")),
    Chain("8453", "Base", "evm", "base"),
    Chain("42161", "Arbitrum One", "evm", "arbitrum-one", ("arbitrum", "arb")),
    Chain("10", "Optimism", "evm", "optimistic-ethereum", ("op",)),
    Chain("137", "Polygon", "evm", "polygon-pos", ("matic", "pol")),
    Chain("43114", "Avalanche C-Chain", "evm", "avalanche", ("avax",)),
    Chain("324", "zkSync Era", "evm", "zksync", ("zksync-era",)),
    Chain("59144", "Linea", "evm", "linea"),
    Chain("5000", "Mantle", "evm", "mantle", ("mnt",)),
    Chain("25", "Cronos", "evm", "cronos", ("cro",)),
    Chain("250", "Fantom", "evm", "fantom", ("ftm",)),
    Chain("100", "Gnosis", "evm", "xdai", ("gno",)),
    Chain("solana", "Solana", "solana", "solana", ("sol", "spl")),
)

_BY_NAME = {
    name.casefold(): chain for chain in CHAINS for name in (chain.id, chain.name, chain.platform, *chain.aliases)
}
_BY_PLATFORM = {chain.platform: chain for chain in CHAINS}


def find_chain(text: str) -> Chain:
    """The chain behind an id or a name ("1", "eth", "Ethereum", "bsc", "solana").

    Raises:
        InvalidInput: no chain here goes by that name.
    """
    chain = _BY_NAME.get(text.strip().casefold())
    if chain is None:
        raise InvalidInput(
            f"No chain is known as {quote_untrusted(text, limit=32)}.",
            hint=f"Known: {', '.join(chain.aliases[0] if chain.aliases else chain.platform for chain in CHAINS)}.",
        )
    return chain


def chain_for_platform(platform: str) -> Chain | None:
    """The chain CoinGecko calls by this platform id, or None when it cannot be checked here."""
    return _BY_PLATFORM.get(platform)


def checked_contract(chain: str, address: str) -> Contract:
    """A contract with GoPlus's chain id and the address in one spelling (EVM lower case, Solana as given).

    Raises:
        InvalidInput: unknown chain, or an address that cannot exist on it (wrong form, wrong chain, failed checksum).
    """
    found = find_chain(chain)
    given = address.strip()
    problem = _address_problem(found, given)
    if problem:
        raise InvalidInput(
            f"{quote_untrusted(given, limit=80)} is no address on {found.name}: {problem}.",
            hint="Copy the address again and check which chain it belongs to.",
        )
    return Contract(chain=found.id, address=given.lower() if found.family == "evm" else given)


def family_of(contract: Contract) -> Family:
    """How a contract is checked: as an EVM contract or as a Solana mint.

    Raises:
        InvalidInput: the chain is not known here.
    """
    return find_chain(contract.chain).family


def eip55(address: str) -> str:
    """The mixed-case spelling of an EVM address that carries its own checksum (EIP-55)."""
    plain = address.lower().removeprefix("0x")
    digest = keccak_256(plain.encode()).hex()
    return "0x" + "".join(c.upper() if int(d, 16) >= 8 else c for c, d in zip(plain, digest, strict=False))


def _address_problem(chain: Chain, address: str) -> str | None:
    if chain.family == "solana":
        if _EVM_ADDRESS.fullmatch(address):
            return "it has the form of an EVM address"
        if not _SOLANA_ADDRESS.fullmatch(address) or len(_base58_bytes(address)) != 32:
            return "a mint is 32 bytes in base58"
        return None
    if not _EVM_ADDRESS.fullmatch(address):
        looks_solana = _SOLANA_ADDRESS.fullmatch(address) is not None
        return "it has the form of a Solana mint" if looks_solana else "an address is 0x and 40 hexadecimal digits"
    digits = address[2:]
    mixed = digits != digits.lower() and digits != digits.upper()
    if mixed and eip55(address) != address:
        return "its checksum is wrong (a digit is mistyped)"
    return None


def _base58_bytes(text: str) -> bytes:
    number = 0
    for character in text:
        number = number * 58 + _BASE58.index(character)
    leading = len(text) - len(text.lstrip("1"))
    return b"\0" * leading + number.to_bytes((number.bit_length() + 7) // 8)
