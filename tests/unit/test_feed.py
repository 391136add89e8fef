"""A provider that fails, hangs, dies and comes back ends with what is wanted, and nothing else."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Never

from hypothesis import given, settings
from hypothesis import strategies as st

from koi_agent.announce.feed import Feed
from koi_agent.capabilities.mdns.records import HostName
from koi_agent.core.contracts import Report
from koi_agent.core.errors import ProviderLost, ProviderRefused
from koi_agent.core.instance import RecordState, RecordStatus
from koi_agent.core.key import Key
from koi_agent.core.plan.records import Record
from tests.unit.virtual_time import now, run


def key(id_: str) -> Key:
    return Key("docker", id_)


def records(*names: str) -> tuple[Record, ...]:
    return tuple(HostName(owner=key("a"), name=name) for name in names)


class Far:
    """The far end: ``known`` is what it made known; ``troubles`` fail, and ``silent`` hang."""

    absence = "it is not there"

    def __init__(self) -> None:
        self.known: dict[str, tuple[Record, ...]] = {}
        self.puts: list[tuple[str, float]] = []
        self.troubles: dict[str, int] = {}
        self.silent: set[str] = set()
        self.slow = 0.0
        self.sessions = 0
        self.there = asyncio.Event()
        self.end = asyncio.Event()
        self.report: Report | None = None

    @asynccontextmanager
    async def session(self, report: Report) -> AsyncIterator["Far"]:
        await self.there.wait()
        self.end.clear()
        self.sessions += 1
        self.report = report
        try:
            yield self
        finally:
            self.known.clear()

    async def put(self, owner: Key, records: Sequence[Record]) -> None:
        key = owner.id
        self.puts.append((key, now()))
        await asyncio.sleep(self.slow)
        if key in self.silent:
            await asyncio.Event().wait()
        if self.troubles.get(key, 0) > 0:
            self.troubles[key] -= 1
            raise ProviderRefused("not today")
        if records:
            self.known[key] = tuple(records)
            assert self.report
            done = RecordState.ANNOUNCED
            self.report(
                owner, [RecordStatus(name=r.title, state=done, provider="far") for r in records]
            )
        else:
            self.known.pop(key, None)

    async def run(self) -> Never:
        await self.end.wait()
        raise ProviderLost("it went away")

    def times(self, key: str) -> list[float]:
        return [at for asked, at in self.puts if asked == key]


def fed(todo: Callable[[Feed, Far], Awaitable[None]]) -> None:
    """Run a feed for as long as it takes, in virtual time."""

    async def whole() -> None:
        far = Far()
        far.there.set()
        feed = Feed("test", far, lambda _owner: None)
        async with asyncio.TaskGroup() as group:
            feeding = group.create_task(feed.run())
            try:
                await todo(feed, far)
            finally:
                feeding.cancel()
        assert far.known == {}

    run(whole())


def want(feed: Feed, wanted: Mapping[str, tuple[Record, ...]]) -> None:
    """Want this, and nothing else any more."""
    for id_ in sorted({*(owner.id for owner in feed._wanted), *wanted}):
        feed.want(key(id_), wanted.get(id_, ()))


def status(feed: Feed, id_: str) -> tuple[str, str]:
    (one,) = feed.status(key(id_))
    return one.state, one.reason


def test_what_is_wanted_is_made_known_and_withdrawn() -> None:
    async def todo(feed: Feed, far: Far) -> None:
        wanted: Mapping[str, tuple[Record, ...]] = {"a": records("a"), "b": records("b", "c")}
        want(feed, wanted)
        await asyncio.sleep(1)
        assert far.known == wanted
        assert status(feed, "a") == ("announced", "")
        want(feed, {"b": records("b")})
        await asyncio.sleep(1)
        assert far.known == {"b": records("b")}
        assert feed.status(key("a")) == []
        assert [key for key, _ in far.puts] == ["a", "b", "a", "b"]

    fed(todo)


def test_nobody_is_connected_to_without_need() -> None:
    async def todo(feed: Feed, far: Far) -> None:
        await asyncio.sleep(100)
        assert far.sessions == 0
        want(feed, {"a": records("a")})
        await asyncio.sleep(1)
        assert far.sessions == 1

    fed(todo)


def test_one_that_fails_is_tried_again_ever_less_often_and_holds_up_no_other() -> None:
    async def todo(feed: Feed, far: Far) -> None:
        far.troubles["a"] = 100
        want(feed, {"a": records("a"), "b": records("b")})
        await asyncio.sleep(600)
        assert far.known == {"b": records("b")}
        assert status(feed, "a") == ("failed", "not today")
        times = far.times("a")
        assert 12 <= len(times) <= 30
        assert times[-1] - times[-2] > 10 > times[2] - times[1]
        far.troubles["a"] = 0
        await asyncio.sleep(61)
        assert status(feed, "a") == ("announced", "")

    fed(todo)


def test_what_is_wanted_anew_is_tried_at_once() -> None:
    async def todo(feed: Feed, far: Far) -> None:
        far.troubles["a"] = 5
        want(feed, {"a": records("a")})
        await asyncio.sleep(10)
        far.troubles["a"] = 0
        want(feed, {"a": records("other")})
        await asyncio.sleep(0.01)
        assert far.known == {"a": records("other")}

    fed(todo)


def test_one_that_hangs_fails_in_time_and_holds_up_no_other() -> None:
    async def todo(feed: Feed, far: Far) -> None:
        far.silent = {f"a{number}" for number in range(7)}
        want(feed, {key: records(key) for key in (*far.silent, "b")})
        await asyncio.sleep(1)
        assert far.known == {"b": records("b")}
        await asyncio.sleep(9.5)
        assert status(feed, "a0") == ("failed", "no answer within 10 s")
        far.silent.clear()
        await asyncio.sleep(10)
        assert len(far.known) == 8

    fed(todo)


def test_a_provider_that_is_lost_is_told_everything_when_it_is_back() -> None:
    async def todo(feed: Feed, far: Far) -> None:
        want(feed, {"a": records("a")})
        await asyncio.sleep(1)
        far.there.clear()
        far.end.set()
        await asyncio.sleep(50)
        assert status(feed, "a") == ("wanted", "it went away")
        want(feed, {"a": records("a"), "b": records("b")})
        far.there.set()
        await asyncio.sleep(1)
        assert far.known == {"a": records("a"), "b": records("b")}

    fed(todo)


def test_what_is_absent_at_first_is_waited_for() -> None:
    async def todo(feed: Feed, far: Far) -> None:
        far.there.clear()
        want(feed, {"a": records("a")})
        await asyncio.sleep(1000)
        assert status(feed, "a") == ("wanted", "it is not there")
        far.there.set()
        await asyncio.sleep(0.01)
        assert status(feed, "a") == ("announced", "")

    fed(todo)


def test_a_wish_that_changes_on_its_way_ends_as_the_last() -> None:
    async def todo(feed: Feed, far: Far) -> None:
        far.slow = 1.0
        for name in "abc":
            want(feed, {"a": records(name)})
            await asyncio.sleep(0.3)
        await asyncio.sleep(5)
        assert far.known == {"a": records("c")}
        assert len(far.puts) == 2

    fed(todo)


def test_a_provider_may_fail_a_record_later_and_is_asked_again() -> None:
    async def todo(feed: Feed, far: Far) -> None:
        want(feed, {"a": records("a")})
        await asyncio.sleep(1)
        assert far.report
        status_ = RecordStatus(name="a.local", state=RecordState.FAILED, reason="collision")
        far.report(key("a"), [status_])
        assert status(feed, "a") == ("failed", "collision")
        await asyncio.sleep(1.1)
        assert status(feed, "a") == ("announced", "")
        assert len(far.puts) == 2

    fed(todo)


def test_another_provider_takes_over() -> None:
    async def todo(feed: Feed, far: Far) -> None:
        want(feed, {"a": records("a")})
        await asyncio.sleep(1)
        other = Far()
        other.there.set()
        feed.renew(other)
        await asyncio.sleep(1)
        assert (far.known, other.known) == ({}, {"a": records("a")})
        feed.renew(far)
        await asyncio.sleep(1)
        assert (far.known, other.known) == ({"a": records("a")}, {})

    fed(todo)


def test_interrupted_records_are_put_again_even_if_they_are_the_same() -> None:
    async def todo(feed: Feed, far: Far) -> None:
        want(feed, {"a": records("a")})
        await asyncio.sleep(1)
        feed.interrupt(key("a"))
        want(feed, {"a": records("a")})
        await asyncio.sleep(1)
        assert far.known == {"a": records("a")}
        assert len(far.puts) == 2

    fed(todo)


def act(feed: Feed, far: Far, what: str, value: object) -> None:
    match what, value:
        case "trouble", str(id_):
            far.troubles[id_] = 2
        case "fail", str(id_) if far.report:
            status_ = RecordStatus(name="", state=RecordState.FAILED, reason="later")
            far.report(Key("docker", id_), [status_])
        case "lose", _:
            far.end.set()
        case "renew", _:
            feed.renew(far)
        case _:
            pass


STEPS = st.one_of(
    st.tuples(st.just("want"), st.dictionaries(st.sampled_from("abc"), st.sampled_from("xyz"))),
    st.tuples(st.just("sleep"), st.sampled_from([0.0, 0.1, 0.6, 3.0, 20.0])),
    st.tuples(st.just("trouble"), st.sampled_from("abc")),
    st.tuples(st.just("lose"), st.none()),
    st.tuples(st.just("fail"), st.sampled_from("abc")),
    st.tuples(st.just("renew"), st.none()),
)


@settings(max_examples=200, deadline=None)
@given(steps=st.lists(STEPS, max_size=12), slow=st.sampled_from([0.0, 0.5]))
def test_whatever_happens_it_ends_with_what_is_wanted(
    steps: list[tuple[str, object]], slow: float
) -> None:
    async def todo(feed: Feed, far: Far) -> None:
        far.slow = slow
        wanted: dict[str, tuple[Record, ...]] = {}
        for what, value in steps:
            if isinstance(value, dict):
                wanted = {key: records(name) for key, name in value.items()}
                want(feed, wanted)
            elif isinstance(value, float):
                await asyncio.sleep(value)
            else:
                act(feed, far, what, value)
        await asyncio.sleep(300)
        assert far.known == wanted

    fed(todo)
