"""Decides what is done about one name, given the records of the provider: pure."""

from enum import Enum
from typing import Final, NamedTuple

from koi_agent.capabilities.dns.marks import mark_text
from koi_agent.capabilities.dns.outcomes import ANNOUNCED, Outcome
from koi_agent.capabilities.dns.webhook.endpoints import ADDRESSES, Data
from koi_agent.capabilities.dns.webhook.listing import Found
from koi_agent.core.instance import RecordState

NOT_OURS: Final = Outcome(
    RecordState.REFUSED, "the provider has this name, and it is not from this agent"
)
OTHER_AGENT: Final = Outcome(RecordState.REFUSED, "another agent has this name at the provider")
TEXT_IS_FOREIGN: Final = Outcome(
    RecordState.REFUSED, "the provider has a TXT record at the name of the mark, _koi.NAME"
)
CONTESTED: Final = Outcome(
    RecordState.WANTED, "another agent marked this name at the same time; waiting for it"
)
PENDING: Final = Outcome(RecordState.WANTED, "it is sent to the webhook")
GONE: Final = Outcome(RecordState.WANTED, "it is at the provider no longer")


class Claim(NamedTuple):
    """The records that the agent has sent for a name, and that the provider may have.

    ``is_proof`` is True if they belong to the agent without a mark, because the provider keeps no
    TXT records.
    """

    sent: frozenset[Data] = frozenset()
    is_proof: bool = False


class Act(Enum):
    """A part of the work for a name, which is sent in one request."""

    ADD_MARK = "the mark"
    REMOVE_MARK = "the removal of the mark"
    WRITE = "its addresses"


class Decision(NamedTuple):
    """The next act for a name, None if there is nothing to do, and the outcome in the meantime.

    ``claim`` is stored before the act, None for no claim. A ``WRITE`` removes the records
    ``removed`` and adds those of ``added``.
    """

    outcome: Outcome
    claim: Claim | None
    act: Act | None = None
    removed: frozenset[Data] = frozenset()
    added: frozenset[Data] = frozenset()


def decide(
    found: Found,
    wanted: frozenset[Data],
    claim: Claim | None,
    mark: str,
    *,
    keeps_marks: bool,
) -> Decision:
    """Return what brings a name closer to the records that are wanted.

    ``claim`` is a proof by itself if the provider accepted the records a moment ago.
    """
    own = mark_text(mark)
    others = found.texts - {own}
    is_marked = own in found.texts
    if claim is None and is_marked:
        claim = Claim(found.present)  # the claims are lost; the mark proves what is ours
    proves = is_marked or (claim is not None and claim.is_proof)
    mine = found.present & claim.sent if claim and proves else frozenset[Data]()
    if not wanted:
        return _withdrawal(GONE, found, claim, mine, is_marked=is_marked)
    if others and (not is_marked or min(found.texts) != own):
        return _withdrawal(OTHER_AGENT, found, claim, mine, is_marked=is_marked)
    if not claim or not proves:
        return _claiming(found, wanted, claim, keeps_marks=keeps_marks)
    if not mine and (found.present or found.is_foreign):
        return _withdrawal(NOT_OURS, found, claim, mine, is_marked=is_marked)
    if others and not mine:
        return Decision(CONTESTED, claim)
    if not is_marked and keeps_marks and not found.is_mark_foreign:
        return Decision(PENDING, claim, Act.ADD_MARK)
    return _writing(found, wanted, Claim(claim.sent, is_proof=not is_marked), mine)


def _withdrawal(
    outcome: Outcome, found: Found, claim: Claim | None, mine: frozenset[Data], *, is_marked: bool
) -> Decision:
    """Remove the agent's records: first the addresses, then the mark."""
    if mine:
        return Decision(outcome, claim, Act.WRITE, removed=mine)
    if claim and claim.sent - found.present:
        return Decision(outcome, claim)  # sent records may still appear and need their mark
    if is_marked:
        return Decision(outcome, claim and claim._replace(sent=frozenset()), Act.REMOVE_MARK)
    return Decision(outcome, None)


def _claiming(
    found: Found, wanted: frozenset[Data], claim: Claim | None, *, keeps_marks: bool
) -> Decision:
    """Begin the ownership of a name without records."""
    if found.present or found.is_foreign:
        return Decision(NOT_OURS, None)
    if found.is_mark_foreign:
        return Decision(TEXT_IS_FOREIGN, None)
    if keeps_marks:
        # A list may lack the whole name temporarily.
        return Decision(PENDING, claim or Claim(), Act.ADD_MARK)
    return Decision(PENDING, Claim(wanted, is_proof=True), Act.WRITE, added=wanted)


def _writing(
    found: Found, wanted: frozenset[Data], claim: Claim, mine: frozenset[Data]
) -> Decision:
    """Return the decision that writes what the provider lacks and removes what is not wanted."""
    blocked = {
        kind
        for kind in ADDRESSES
        if any(data.type == kind for data in found.present)
        and not any(data.type == kind for data in mine)
    }
    removed = mine - wanted
    added = frozenset(one for one in wanted - found.present if one.type not in blocked)
    if removed or added:
        claim = claim._replace(sent=claim.sent | added)
        return Decision(PENDING, claim, Act.WRITE, removed=removed, added=added)
    if missing := wanted - found.present:
        kinds = " and ".join(sorted({data.type for data in missing}))
        text = f"the provider has {kinds} records at this name that are not from this agent"
        return Decision(Outcome(RecordState.REFUSED, text), claim)
    return Decision(_announced(found, claim, mine), claim)


def _announced(found: Found, claim: Claim, mine: frozenset[Data]) -> Outcome:
    reasons = []
    if claim.is_proof:
        reasons.append("the provider keeps no TXT records, so that only a file has the owner")
    if found.present - mine or found.is_foreign:
        reasons.append("the provider also has records of others at this name")
    return ANNOUNCED._replace(reason="; ".join(reasons))
