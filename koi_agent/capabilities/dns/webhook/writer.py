"""Brings a provider into agreement with the names that are wanted: reads, writes, reads again.

The records of the provider are read before each round and after the last one: a provider may accept
a record without keeping it, and others may change it at any time.
"""

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final, NamedTuple

from koi_agent.capabilities.dns.claims import Claims
from koi_agent.capabilities.dns.outcomes import ANNOUNCED, Outcome
from koi_agent.capabilities.dns.webhook.adjuster import Adjuster, Owner
from koi_agent.capabilities.dns.webhook.api import Refused, Webhook
from koi_agent.capabilities.dns.webhook.changes import Adjusted, changes, document
from koi_agent.capabilities.dns.webhook.claimed import claim_of, set_claim
from koi_agent.capabilities.dns.webhook.decisions import PENDING, Act, Claim, Decision, decide
from koi_agent.capabilities.dns.webhook.endpoints import Data
from koi_agent.capabilities.dns.webhook.evidence import Evidence
from koi_agent.capabilities.dns.webhook.filter import DomainFilter
from koi_agent.capabilities.dns.webhook.listing import Found
from koi_agent.capabilities.dns.webhook.reader import Reader
from koi_agent.capabilities.dns.webhook.settling import Settling
from koi_agent.capabilities.dns.webhook.trials import Pace, Trials
from koi_agent.core.instance import RecordState
from koi_agent.core.text import printable

log = logging.getLogger(__name__)

ROUNDS: Final = 60
"""Rounds of one pass; another pass follows if they were not enough."""
MOST_FAILURES: Final = 16
"""Failed requests after which a pass ends."""
_AT_ONCE: Final = 200
"""Names that are compared before other work of the agent continues."""
NONE_TAKEN: Final = Outcome(
    RecordState.REFUSED, "the provider takes none of its addresses; see the log of the webhook"
)


class Step(NamedTuple):
    """A decision to carry out; ``before`` is the claim that holds if it is refused."""

    decision: Decision
    found: Found
    adjusted: Adjusted
    before: Claim | None


class Writer:
    """Writes the names in ``wanted`` to a webhook. ``outcomes`` has what became of each name."""

    def __init__(
        self,
        webhook: Webhook,
        claims: Claims,
        owner: Owner,
        wanted: Mapping[str, frozenset[Data]],
        pace: Pace,
    ) -> None:
        self.outcomes: dict[str, Outcome] = {}
        self.trials = Trials()
        self._webhook = webhook
        self._claims = claims
        self._owner = owner
        self._wanted = wanted
        self._pace = pace
        known = [claim_of(claims, name) for name in claims.all()]
        self._evidence = Evidence(keeps=not any(one and one.is_proof for one in known))
        self._settling = Settling()
        self._reader = Reader(webhook, owner.mark, self._is_known)
        self._adjuster = Adjuster(webhook, owner, wanted, self.trials, pace)
        self._accepted: dict[str, Decision] = {}

    def forget(self, name: str) -> None:
        """Forget the outcome of a name, because other addresses are wanted now."""
        self.outcomes.pop(name, None)
        self.trials.forget(name)

    def limit(self, domains: DomainFilter) -> None:
        """Send only names that a filter permits."""
        self._adjuster.filter = domains

    async def converge(self, after_round: Callable[[], None], *, is_complete: bool) -> bool:
        """Write all names; return False if another pass must follow.

        ``is_complete`` is True once the wanted names are complete: others are then removed. Raises
        ``ProviderLost`` and ``Busy``.
        """
        self._accepted.clear()
        left = MOST_FAILURES
        for _ in range(ROUNDS):
            # The other half is for changes, of adjusted names and of those to be removed.
            left -= await self._adjuster.adjust(left // 2, self._fail)
            if not await self._pace.turn():
                break
            steps = await self._read(is_complete=is_complete)
            self._claims.store()
            after_round()
            if steps:
                left -= await self._write(steps, left)
            elif self._evidence.is_open:
                await self._pace.sleep(1.0)
            elif not self._adjuster.pending():
                return True
            if left <= 1 or self._pace.is_stopped:
                break
        after_round()
        return False

    async def _read(self, *, is_complete: bool) -> Mapping[str, Step]:
        """Read the records of the provider; return what must be sent."""
        listing = await self._reader.read(is_complete=is_complete)
        self._evidence.observe(has_marks=listing.has_marks)
        names = dict.fromkeys((*self._wanted, *self._claims.all(), *self._reader.unknown))
        self.trials.keep(names.keys())
        steps = {}
        for number, name in enumerate(names):
            if number % _AT_ONCE == 0:
                await asyncio.sleep(0)
            if name in self._wanted or is_complete:
                steps[name] = self._step(name, listing.at(name))
        return {name: step for name, step in steps.items() if step}

    def _is_known(self, name: str) -> bool:
        return name in self._wanted or self._claims.has(name)

    def _step(self, name: str, found: Found) -> Step | None:
        """Decide about a name, and store its outcome and its claim."""
        wanted = self._wanted.get(name, frozenset())
        one, refusal = Adjusted(), ""
        if wanted:
            refusal = self._adjuster.filter.refusal(name)
            known = self._adjuster.of(name)
            if not known and not refusal:
                return None  # it waits for the adjustment
            one = known or one
        claim = self._settled(name, found)
        decision = decide(
            found,
            frozenset() if refusal else one.data,
            self._proved(name, claim),
            self._owner.mark,
            keeps_marks=self._evidence.keeps and one.mark is not None,
        )
        if wanted:
            decision = decision._replace(outcome=_outcome(decision, one, refusal))
        return self._noted(name, Step(decision, found, one, claim))

    def _settled(self, name: str, found: Found) -> Claim | None:
        """Return the claim of a name, without records that the provider does not have."""
        claim = claim_of(self._claims, name)
        if claim and (gone := self._settling.gone(name, claim.sent, found.present)):
            claim = claim._replace(sent=claim.sent - gone)
            set_claim(self._claims, name, claim)
        return claim

    def _proved(self, name: str, claim: Claim | None) -> Claim | None:
        """Return a claim that proves the ownership of just accepted records without a mark.

        Others may remove the mark just before the addresses are added.
        """
        before = self._accepted.get(name)
        if claim and before and before.added:
            return claim._replace(is_proof=True)
        return claim

    def _noted(self, name: str, step: Step) -> Step | None:
        decision = step.decision
        if decision.act is None:
            set_claim(self._claims, name, decision.claim)
            self.trials.forget(name)
            self._note(name, decision.outcome)
            if decision.claim is None:
                self._settling.forget(name)
                self._reader.unknown.discard(name)
            return None
        if self.trials.waits(name) or self._evidence.awaits(name):
            return None
        if self._is_repeated(name, decision):
            what = decision.act.value
            self._fail([name], f"the webhook accepted {what}, and the provider does not show it")
            return None
        set_claim(self._claims, name, decision.claim)
        # The reason of an earlier failure is more useful than that the name is being sent.
        if decision.outcome != PENDING or self._is_settled(name):
            self._note(name, decision.outcome)
        return step

    def _is_settled(self, name: str) -> bool:
        waiting = (RecordState.FAILED, RecordState.WANTED)
        return self.outcomes.get(name, ANNOUNCED).state not in waiting

    def _is_repeated(self, name: str, decision: Decision) -> bool:
        """Return True if the same was accepted in this pass already."""
        before = self._accepted.get(name)
        return before is not None and (before.act, before.removed, before.added) == (
            decision.act,
            decision.removed,
            decision.added,
        )

    def _note(self, name: str, outcome: Outcome) -> None:
        if name in self._wanted:
            self.outcomes[name] = outcome
        else:
            self.outcomes.pop(name, None)

    async def _write(self, steps: Mapping[str, Step], most: int) -> int:
        """Send steps; return how many requests failed, at most ``most``."""
        failed = 0
        for group in self.trials.groups(steps):
            if failed >= most or not await self._pace.turn():
                break
            for name in group:
                self._settling.expect(name, steps[name].decision.added)
            try:
                await self._webhook.apply(self._document(group, steps))
            except Refused as refused:
                failed += 1
                self._fail(group, str(refused))
                self._roll_back(group, steps, refused)
            else:
                self._accept(group, steps)
        return failed

    def _document(self, group: Iterable[str], steps: Mapping[str, Step]) -> Mapping[str, object]:
        return document(
            changes(one.decision, one.found, one.adjusted, self._owner.mark)
            for one in (steps[name] for name in group)
        )

    def _accept(self, group: Sequence[str], steps: Mapping[str, Step]) -> None:
        self.trials.accept(group)
        for name in group:
            self._accepted[name] = steps[name].decision
            self._settling.give_up(name, steps[name].decision.removed)
        self._evidence.send(name for name in group if steps[name].decision.act is Act.ADD_MARK)

    def _fail(self, group: Sequence[str], reason: str) -> None:
        self.trials.fail(group)
        outcome = Outcome(RecordState.FAILED, reason)
        if len(group) > 1:
            text = f"{reason}, which had {len(group)} names; it is sent with fewer"
            outcome = Outcome(RecordState.WANTED, text)
        elif group[0] not in self._wanted:
            text = "DNS name %s stays at the provider of the webhook: %s; trying again"
            log.warning(text, printable(group[0]), reason)
        for name in group:
            self._note(name, outcome)

    def _roll_back(self, group: Sequence[str], steps: Mapping[str, Step], refused: Refused) -> None:
        """Drop claims on records that were not added: others may add them later."""
        for name in group if refused.is_over else ():
            before = steps[name].before
            added = steps[name].decision.added
            self._settling.give_up(name, added - before.sent if before else added)
        if refused.is_certain and len(group) == 1:
            before = steps[group[0]].before
            set_claim(self._claims, group[0], before)
            self._claims.store()
            if before is None:
                self._settling.forget(group[0])


def _outcome(decision: Decision, one: Adjusted, refusal: str) -> Outcome:
    """Return the outcome of a wanted name, with the effects of the webhook on it."""
    if refusal:
        return Outcome(RecordState.HELD, refusal)
    if not one.data:
        return NONE_TAKEN
    if decision.outcome.state is ANNOUNCED.state and one.left_out:
        text = f"the provider leaves out {', '.join(one.left_out)}"
        reason = decision.outcome.reason
        return decision.outcome._replace(reason=f"{reason}; {text}" if reason else text)
    return decision.outcome
