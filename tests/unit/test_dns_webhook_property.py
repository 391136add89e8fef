"""Two agents and a person change a provider at one time, and agents are killed at any moment.

In the end the provider has what the person made, and what the agents want, and nothing else.
"""

import asyncio
import tempfile
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import NamedTuple, cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from koi_agent.capabilities.dns.webhook.adjuster import Owner
from koi_agent.capabilities.dns.webhook.api import Webhook
from koi_agent.capabilities.dns.webhook.claimed import name_claims
from koi_agent.capabilities.dns.webhook.session import LOOK, WebhookSession
from koi_agent.core.instance import RecordState, RecordStatus
from koi_agent.core.key import Key
from koi_agent.host.http_client import Client, Incoming, Limits
from tests.unit.dns_zones import key, named
from tests.unit.virtual_time import run
from tests.unit.webhook_provider import Answer, Provider
from tests.unit.webhook_sessions import MARK, OTHER

NAMES = ("x.internal", "y.internal")
AGENTS = (0, 1)
SECONDS = 30
END = 12 * LOOK


class Event(NamedTuple):
    """An event at a time; ``by`` is an agent, or 2 for the person."""

    at: float
    by: int
    act: str
    name: str
    number: int


def events(*acts: str) -> st.SearchStrategy[list[Event]]:
    one = st.builds(
        Event,
        at=st.floats(0, SECONDS),
        by=st.sampled_from((*AGENTS, 2)),
        act=st.sampled_from(("add", "change", "remove", *acts)),
        name=st.sampled_from(NAMES),
        number=st.integers(1, 3),
    )
    return st.lists(one, max_size=20)


ODD = ("hide", "give up")
DELAYS = st.lists(st.floats(0, 2), min_size=1, max_size=12)


class Response:
    def __init__(self, answer: Answer) -> None:
        self.status = answer.status
        self.headers = {name.lower(): text for name, text in answer.fields.items()}
        self._body = answer.body

    async def pieces(self) -> AsyncIterator[bytes]:
        yield self._body


class Wire:
    """A client whose requests take a while until they arrive, and until they are answered."""

    def __init__(self, provider: Provider, delays: Iterator[float]) -> None:
        self._provider = provider
        self._delays = delays

    @asynccontextmanager
    async def sent(
        self,
        method: str,
        path: str,
        _limits: Limits,
        *,
        headers: Mapping[str, str],
        body: bytes | None = None,
    ) -> AsyncIterator[Incoming]:
        fields = {name.lower(): text for name, text in headers.items()}
        await asyncio.sleep(next(self._delays))
        answer = self._provider.handle(method, path, fields, body or b"")
        await asyncio.sleep(next(self._delays))
        yield cast("Incoming", Response(answer))


class Agent:
    """An agent that can be killed and started again; ``wanted`` has the address of each name."""

    def __init__(self, number: int, wire: Wire, folder: Path, group: asyncio.TaskGroup) -> None:
        self.wanted: dict[str, str] = {}
        self.reported: dict[Key, tuple[RecordState, str]] = {}
        self.mark = (MARK, OTHER)[number]
        self._number = number
        self._wire = wire
        self._claims = folder / f"claims{number}"
        self._group = group
        self._task: asyncio.Task[None] | None = None
        self._session: WebhookSession | None = None

    async def start(self) -> None:
        webhook = Webhook(cast("Client", self._wire), "http://test")
        claims = name_claims(self._claims)
        self._session = WebhookSession(
            webhook, claims, Owner(self.mark, 30), self._report, releases=False
        )
        for name in NAMES:
            await self._put(name)
        self._session.complete()
        self._task = self._group.create_task(self._session.work())

    def _report(self, owner: Key, found: object) -> None:
        (status,) = cast("list[RecordStatus]", found)
        self.reported[owner] = status.state, status.reason

    async def want(self, name: str, number: int) -> None:
        """Set the address of a name, or withdraw the name if the number is 0."""
        self.wanted.pop(name, None)
        if number:
            self.wanted[name] = f"192.0.2.{10 * self._number + number}"
        await self._put(name)

    async def _put(self, name: str) -> None:
        assert self._session
        address = self.wanted.get(name)
        records = [named(name, name, address)] if address else []
        if not records:
            self.reported.pop(key(name), None)
        await self._session.put(key(name), records)

    async def kill(self) -> None:
        assert self._task
        self._task.cancel()
        await asyncio.wait([self._task])

    async def restart(self) -> None:
        await self.kill()
        await self.start()


class Unsteady(Provider):
    """A provider whose lists lack ``hidden`` until a time, and that a proxy answers for."""

    def __init__(self) -> None:
        super().__init__()
        self.hidden = frozenset[str]()
        self.until = 0.0
        self.shown = lambda one: [] if one["recordType"] in self.hidden and self.is_odd else [one]

    @property
    def is_odd(self) -> bool:
        return asyncio.get_running_loop().time() < self.until

    def handle(self, method: str, path: str, fields: Mapping[str, str], body: bytes) -> Answer:
        answer = super().handle(method, path, fields, body)
        is_given_up = self.is_odd and not self.hidden and (method, path) == ("POST", "/records")
        return Answer(504) if is_given_up else answer

    def act(self, event: Event) -> None:
        # A list without the mark, too, is that of a person who has removed the name.
        self.hidden = frozenset({"A"}) if event.act == "hide" else frozenset()
        self.until = asyncio.get_running_loop().time() + event.number * 10


class Person:
    """Adds and changes addresses by hand, and removes all that is at a name."""

    def __init__(self, provider: Provider) -> None:
        self.made: dict[str, set[str]] = {name: set() for name in NAMES}
        self._provider = provider

    def act(self, event: Event) -> None:
        address, held = f"192.0.2.{100 + event.number}", self._provider.held
        before = self._provider.targets(event.name)
        match event.act:
            case "add":
                targets = dict.fromkeys([*before, address])
                self._provider.add(event.name, "A", *targets)
                self.made[event.name].add(address)
            case "change":
                self._provider.add(event.name, "A", address)
                self.made[event.name] = {address}
            case _:
                held.pop((event.name, "A"), None)
                self.made[event.name].clear()
                if event.act == "lose":
                    held.pop((f"_koi.{event.name}", "TXT"), None)


async def happen(provider: Provider, happening: list[Event], delays: list[float], at: Path) -> None:
    wire = Wire(provider, (delays[number % len(delays)] for number in range(10**6)))
    person = Person(provider)
    async with asyncio.TaskGroup() as group:
        agents = [Agent(number, wire, at, group) for number in AGENTS]
        for agent in agents:
            await agent.start()
        now = 0.0
        for event in sorted(happening):
            await asyncio.sleep(event.at - now)
            now = event.at
            if event.act in ODD:
                cast("Unsteady", provider).act(event)
            elif event.by == 2:
                person.act(event)
            elif event.act == "kill":
                await agents[event.by].restart()
            else:
                await agents[event.by].want(event.name, event.number * (event.act != "remove"))
        await asyncio.sleep(END)
        for agent in agents:
            await agent.kill()
    for name in NAMES:
        check(provider, name, agents, person.made[name])


def is_markless(agents: list[Agent]) -> bool:
    """Return True if the person removed so many marks that the provider seemed to drop them."""
    reasons = [reason for agent in agents for _, reason in agent.reported.values()]
    return any("only a file has the owner" in reason for reason in reasons)


def check(provider: Provider, name: str, agents: list[Agent], made: set[str]) -> None:
    found = set(provider.targets(name))
    marks = provider.targets(f"_koi.{name}", "TXT")
    assert made <= found
    of_agents = {agent.wanted[name]: agent for agent in agents if name in agent.wanted}
    assert found - made <= of_agents.keys()
    announced = [of_agents[address] for address in found - made]
    assert len(announced) <= 1
    if of_agents and not made:
        assert announced
    if "TXT" not in provider.drops and not is_markless(agents):
        assert marks == [f'"koi-runtime {agent.mark}"' for agent in announced]
    for agent in of_agents.values():
        expected = RecordState.ANNOUNCED if agent in announced else RecordState.REFUSED
        assert agent.reported[key(name)][0] is expected, agent.reported


def ends_well(happening: list[Event], delays: list[float], provider: Provider) -> None:
    with tempfile.TemporaryDirectory() as folder:
        run(happen(provider, happening, delays, Path(folder)))


@settings(max_examples=120)
@given(events("kill"), DELAYS, st.sampled_from((400, 500)))
def test_agents_that_are_killed_leave_what_is_wanted_and_what_is_foreign(
    happening: list[Event], delays: list[float], exists: int
) -> None:
    provider = Provider()
    provider.exists = exists
    ends_well(happening, delays, provider)


@settings(max_examples=60)
@given(events("lose"), DELAYS)
def test_marks_that_are_lost_with_their_names_come_back(
    happening: list[Event], delays: list[float]
) -> None:
    ends_well(happening, delays, Provider())


@settings(max_examples=60)
@given(events("kill"), DELAYS)
def test_a_provider_without_marks_has_the_same_in_the_end(
    happening: list[Event], delays: list[float]
) -> None:
    provider = Provider()
    provider.drops = {"TXT"}
    ends_well(happening, delays, provider)


@pytest.mark.parametrize("merges", [True, False])
@settings(max_examples=60)
@given(happening=events("kill", *ODD), delays=DELAYS)
def test_lists_that_lack_records_and_proxies_that_give_up_change_nothing_in_the_end(
    *, merges: bool, happening: list[Event], delays: list[float]
) -> None:
    provider = Unsteady()
    provider.merges = merges
    # Names are announced for a while before they are not listed.
    seldom = [one._replace(at=10 * one.at) for one in happening if one.by != 2 or one.act in ODD]
    # What no list has had for SETTLED seconds is given up, so a second lapse may cost a record.
    later = [one for one in sorted(seldom) if one.act in ODD][1:]
    ends_well([one for one in seldom if one not in later], delays, provider)
