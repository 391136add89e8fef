"""The visible instances end at the real state, for any order of events and listings."""

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
    """A pending request for a listing: ids with events since then, and the reply, if sent."""

    touched: set[str] = field(default_factory=set)
    reply: list[Instance] | None = None


class Following(RuleBasedStateMachine):
    """A runtime that changes at any time, followed as the follower does it.

    Its events arrive in order and late. A reply is from any moment between the request and its
    arrival. The connection may be lost at any time, with all events and replies in transit.
    """

    def __init__(self) -> None:
        super().__init__()
        self.real: dict[str, Instance] = {}
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

    def emit(self, event: Seen | Gone) -> None:
        if self.open:
            self.stream.append(event)

    @rule(id_=IDS, detail=st.sampled_from("xyz"))
    def runtime_starts_or_changes_an_instance(self, id_: str, detail: str) -> None:
        self.real[id_] = unit(id_, detail)
        self.emit(Seen(self.real[id_]))

    @rule(id_=IDS)
    def runtime_stops_an_instance(self, id_: str) -> None:
        if self.real.pop(id_, None):
            self.emit(Gone(backend="systemd", id=id_, reason="stopped"))

    @precondition(lambda self: not self.open)
    @rule()
    def connect(self) -> None:
        self.open = True
        self.early = {}

    @precondition(lambda self: self.open and self.request is None)
    @rule()
    def request_listing(self) -> None:
        self.request = Request()

    @precondition(lambda self: self.request and self.request.reply is None)
    @rule()
    def runtime_replies(self) -> None:
        assert self.request
        self.request.reply = list(self.real.values())

    @precondition(lambda self: self.request and self.request.reply is not None)
    @rule()
    def receive_reply(self) -> None:
        request = self.request
        assert request
        assert request.reply is not None
        self.request = None
        self.apply(listing("systemd", *request.reply, touched=request.touched))
        early, self.early = self.early or {}, None
        for id_, event in early.items():
            if id_ in request.touched:
                self.apply(event)

    @precondition(lambda self: self.stream)
    @rule()
    def receive_event(self) -> None:
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
    def backend_is_removed_and_added(self) -> None:
        self.open, self.request, self.early = False, None, None
        self.stream.clear()
        self.apply(Unfollowed("systemd"))
        self.away = False
        assert self.registry.visible == {}
        self.apply(Followed("systemd", "systemd"))

    @rule()
    def late_reader_starts_from_the_visible_instances(self) -> None:
        self.late = Reader(self.registry.visible)

    @rule()
    def everything_arrives(self) -> None:
        if not self.open:
            self.connect()
        if self.request is None:
            self.request_listing()
        assert self.request
        if self.request.reply is None:
            self.runtime_replies()
        self.receive_reply()
        while self.stream:
            self.receive_event()
        visible = {i.id: i.state_detail for i in self.registry.visible.values()}
        assert visible == {id_: instance.state_detail for id_, instance in self.real.items()}
        assert not any(instance.stale for instance in self.registry.visible.values())

    def teardown(self) -> None:
        self.everything_arrives()

    @invariant()
    def readers_agree_with_the_registry(self) -> None:
        assert self.reader.known == self.late.known == self.registry.visible

    @invariant()
    def status_counts_the_visible_instances(self) -> None:
        assert self.registry.backends["systemd"].instances == len(self.registry.visible)

    @invariant()
    def only_a_lost_backend_is_stale(self) -> None:
        state = self.registry.backends["systemd"].state
        assert self.away is (state is BackendState.STALE)
        if not self.away and self.early is None and not self.request:
            assert self.registry.backends["systemd"].drift == 0

    @invariant()
    def own_listing_has_no_differences(self) -> None:
        same: Listing = listing("systemd", *self.registry.visible.values())
        assert not any(how for _, how in self.registry.differences(same))


TestFollowing = Following.TestCase
TestFollowing.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
