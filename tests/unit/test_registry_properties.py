"""Whatever order a runtime's events and lists come in, what is visible ends at the truth."""

from collections import deque
from dataclasses import dataclass, field

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from koi_agent.core.events import (
    BackendDisconnected,
    BackendReconnected,
    BackendState,
    Change,
    Followed,
    Gone,
    Listing,
    Lost,
    Seen,
    Started,
    Unfollowed,
    Updated,
)
from koi_agent.core.instance import Instance
from koi_agent.core.registry import Registry
from tests.unit.things import Reader, listing, unit

IDS = st.sampled_from(["a.service", "b.service", "c.service"])


@dataclass
class Request:
    """A list on its way: what events spoke of since, and the answer once it is made."""

    touched: set[str] = field(default_factory=set)
    answer: list[Instance] | None = None


class Following(RuleBasedStateMachine):
    """A runtime that lives its own life, followed as the engine does it.

    Its events come in order and late, its answers are of any moment between request and
    arrival, and the connection may be lost at any time, with all that was on its way.
    """

    def __init__(self) -> None:
        super().__init__()
        self.truth: dict[str, Instance] = {}
        self.stream: deque[Seen | Gone] = deque()
        self.open = False
        self.early: dict[str, Seen | Gone] | None = None
        self.request: Request | None = None
        self.registry = Registry({"systemd": "systemd", "podman": "podman"})
        self.reader = Reader()
        self.late = Reader()
        self.now = 0
        self.away = False

    def apply(self, change: Change) -> None:
        self.now += 1
        events = self.registry.apply(change, self.now)
        self.reader.read(events)
        self.late.read(events)
        for event in events:
            if isinstance(event, BackendDisconnected | BackendReconnected):
                assert self.away is isinstance(event, BackendReconnected)
                self.away = not self.away
            if isinstance(event, Started):
                assert event.instance.discovered_at == self.now
            if isinstance(event, Updated):
                assert event.new.discovered_at == event.old.discovered_at

    def say(self, event: Seen | Gone) -> None:
        if self.open:
            self.stream.append(event)

    @rule(id_=IDS, detail=st.sampled_from("xyz"))
    def runtime_starts_or_changes_one(self, id_: str, detail: str) -> None:
        self.truth[id_] = unit(id_, detail)
        self.say(Seen(self.truth[id_]))

    @rule(id_=IDS)
    def runtime_stops_one(self, id_: str) -> None:
        if self.truth.pop(id_, None):
            self.say(Gone(backend="systemd", id=id_, reason="stopped"))

    @precondition(lambda self: not self.open)
    @rule()
    def connect(self) -> None:
        self.open = True
        self.early = {}

    @precondition(lambda self: self.open and self.request is None)
    @rule()
    def ask(self) -> None:
        self.request = Request()

    @precondition(lambda self: self.request and self.request.answer is None)
    @rule()
    def runtime_answers(self) -> None:
        assert self.request
        self.request.answer = list(self.truth.values())

    @precondition(lambda self: self.request and self.request.answer is not None)
    @rule()
    def take_answer(self) -> None:
        request = self.request
        assert request
        assert request.answer is not None
        self.request = None
        self.apply(listing("systemd", *request.answer, touched=request.touched))
        early, self.early = self.early or {}, None
        for id_, event in early.items():
            if id_ in request.touched:
                self.apply(event)

    @precondition(lambda self: self.stream)
    @rule()
    def take_event(self) -> None:
        event = self.stream.popleft()
        id_ = event.instance.id if isinstance(event, Seen) else event.id
        if self.request:
            self.request.touched.add(id_)
        if self.early is None:
            self.apply(event)
        else:
            self.early[id_] = event

    @precondition(lambda self: self.open)
    @rule()
    def lose(self) -> None:
        self.open, self.request = False, None
        self.stream.clear()
        self.apply(Lost(backend="systemd", reason="test"))

    @rule()
    def is_followed_anew(self) -> None:
        self.open, self.request, self.early = False, None, None
        self.stream.clear()
        self.apply(Unfollowed("systemd"))
        self.away = False
        assert self.registry.visible == {}
        self.apply(Followed("systemd", "systemd"))

    @rule()
    def reader_begins_anew_from_what_is_visible(self) -> None:
        self.late = Reader(self.registry.visible)

    @rule()
    def everything_arrives(self) -> None:
        if not self.open:
            self.connect()
        if self.request is None:
            self.ask()
        assert self.request
        if self.request.answer is None:
            self.runtime_answers()
        self.take_answer()
        while self.stream:
            self.take_event()
        said = {i.id: i.state_detail for i in self.registry.visible.values()}
        assert said == {id_: instance.state_detail for id_, instance in self.truth.items()}
        assert not any(instance.stale for instance in self.registry.visible.values())

    def teardown(self) -> None:
        self.everything_arrives()

    @invariant()
    def readers_know_what_is_visible(self) -> None:
        assert self.reader.known == self.late.known == self.registry.visible

    @invariant()
    def status_counts_what_is_visible(self) -> None:
        assert self.registry.backends["systemd"].instances == len(self.registry.visible)

    @invariant()
    def stale_are_only_those_of_a_backend_that_was_lost(self) -> None:
        state = self.registry.backends["systemd"].state
        assert self.away is (state is BackendState.STALE)
        if not self.away and self.early is None and not self.request:
            assert self.registry.backends["systemd"].drift == 0

    @invariant()
    def list_differs_from_itself_in_nothing(self) -> None:
        same: Listing = listing("systemd", *self.registry.visible.values())
        assert not any(how for _, how in self.registry.differences(same))


TestFollowing = Following.TestCase
TestFollowing.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
