"""The claims of this outlet: names, each with the addresses that the agent has sent."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Final

from koi_agent.capabilities.dns.claims import Claims, claims_file
from koi_agent.capabilities.dns.webhook.decisions import Claim
from koi_agent.capabilities.dns.webhook.endpoints import Data
from koi_agent.capabilities.dns.webhook.settings import WebhookSettings
from koi_agent.capabilities.dns.webhook.spelling import is_plain, same_address
from koi_agent.core.errors import BadInput

_PROOF: Final = "proof"
"""The word that makes a claim the proof of ownership."""


def name_claims_file(settings: WebhookSettings, environment: Mapping[str, str]) -> Path:
    """Return the path of the file for a webhook."""
    return claims_file("webhook", settings.url, settings.scope, environment)


def name_claims(path: Path) -> Claims:
    """Return the names that are claimed in a file."""
    return Claims(path, _is_valid)


def claim_of(claims: Claims, name: str) -> Claim | None:
    """Return the claim of a name, None without a claim."""
    if not claims.has(name):
        return None
    words = claims.details(name)
    return Claim(frozenset(_data(word) for word in words - {_PROOF}), is_proof=_PROOF in words)


def set_claim(claims: Claims, name: str, claim: Claim | None) -> None:
    """Set the claim of a name, or drop it."""
    if claim is None:
        claims.drop(name)
    else:
        claims.claim(name, _words(claim))


def _words(claim: Claim) -> Iterable[str]:
    proof = {_PROOF} if claim.is_proof else frozenset[str]()
    return {f"{one.type.lower()}={one.text}" for one in claim.sent} | proof


def _data(word: str) -> Data:
    """Parse a word of a claim; raise ``BadInput``."""
    kind, _, text = word.partition("=")
    kind = kind.upper()
    if kind not in ("A", "AAAA"):
        raise BadInput("not an address of a claim")
    return Data(kind, same_address(kind, text))


def _is_valid(words: Sequence[str]) -> bool:
    name, *details = words
    try:
        return is_plain(name) and all(one == _PROOF or _data(one) for one in details)
    except BadInput:
        return False
