"""A feed brings its provider to the wanted records, despite errors, hangs and disconnections."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Never

import pytest
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


class FakeProvider:
    """A provider; ``published`` are its records by id.

    ``failures`` is how often the next requests of an id fail. Requests of ``silent`` ids hang.
    """

    absence = "it is not present"

    def __init__(self) -> None:
        self.published: dict[str, tuple[Record, ...]] = {}
        self.puts: list[tuple[str, float]] = []
        self.failures: dict[str, int] = {}
        self.silent: set[str] = set()
        self.slow = 0.0
        self.sessions = 0
        self.present = asyncio.Event()
        self.end = asyncio.Event()
        self.report: Report | None = None

    @asynccontextmanager
    async def session(self, report: Report) -> AsyncIterator["FakeProvider"]:
        await self.present.wait()
        self.end.clear()
        self.sessions += 1
        self.report = report
        try:
            yield self
        finally:
            self.published.clear()

    async def put(self, owner: Key, records: Sequence[Record]) -> None:
        key = owner.id
        self.puts.append((key, now()))
        await asyncio.sleep(self.slow)
        if key in self.silent:
            await asyncio.Event().wait()
        if self.failures.get(key, 0) > 0:
            self.failures[key] -= 1
            raise ProviderRefused("refused")
        if records:
            self.published[key] = tuple(records)
            assert self.report
            done = RecordState.ANNOUNCED
            self.report(
                owner, [RecordStatus(name=r.title, state=done, provider="fake") for r in records]
            )
        else:
            self.published.pop(key, None)

    async def run(self) -> Never:
        await self.end.wait()
        raise ProviderLost("it went away")

    def times(self, key: str) -> list[float]:
        return [at for owner, at in self.puts if owner == key]


class LastingProvider(FakeProvider):
    """A provider whose records are withdrawn at the end, after a while."""

    place = "a file"
    withdrawals = 0

    async def withdraw(self) -> None:
        await asyncio.sleep(3)
        self.withdrawals += 1


class SlowProvider(FakeProvider):
    """A provider whose sessions take a while to withdraw their records."""

    withdrawals = 0

    @asynccontextmanager
    async def session(self, report: Report) -> AsyncIterator["FakeProvider"]:
        async with super().session(report):
            try:
                yield self
            finally:
                await asyncio.sleep(3)
                self.withdrawals += 1


def run_feed(
    steps: Callable[[Feed, FakeProvider], Awaitable[None]],
    kind: Callable[[], FakeProvider] = FakeProvider,
) -> None:
    """Run a feed and these steps in virtual time; all records are withdrawn at the end."""

    async def whole() -> None:
        provider = kind()
        provider.present.set()
        feed = Feed("test", provider, lambda _owner: None)
        async with asyncio.TaskGroup() as group:
            feeding = group.create_task(feed.run())
            try:
                await steps(feed, provider)
            finally:
                feeding.cancel()
        assert provider.published == {}

    run(whole())


def want(feed: Feed, wanted: Mapping[str, tuple[Record, ...]]) -> None:
    """Request these records, and no others."""
    for id_ in sorted({*(owner.id for owner in feed._wanted), *wanted}):
        feed.want(key(id_), wanted.get(id_, ()))


def status(feed: Feed, id_: str) -> tuple[str, str]:
    (one,) = feed.status(key(id_))
    return one.state, one.reason


def test_wanted_records_are_published_and_withdrawn() -> None:
    async def steps(feed: Feed, provider: FakeProvider) -> None:
        wanted: Mapping[str, tuple[Record, ...]] = {"a": records("a"), "b": records("b", "c")}
        want(feed, wanted)
        await asyncio.sleep(1)
        assert provider.published == wanted
        assert status(feed, "a") == ("announced", "")
        want(feed, {"b": records("b")})
        await asyncio.sleep(1)
        assert provider.published == {"b": records("b")}
        assert feed.status(key("a")) == []
        assert [key for key, _ in provider.puts] == ["a", "b", "a", "b"]

    run_feed(steps)


def test_provider_is_connected_only_if_records_are_wanted() -> None:
    async def steps(feed: Feed, provider: FakeProvider) -> None:
        await asyncio.sleep(100)
        assert provider.sessions == 0
        want(feed, {"a": records("a")})
        await asyncio.sleep(1)
        assert provider.sessions == 1

    run_feed(steps)


def test_a_provider_that_is_always_open_is_connected_at_once() -> None:
    async def steps(feed: Feed, provider: FakeProvider) -> None:
        await asyncio.sleep(1)
        assert provider.sessions == 1
        provider.end.set()
        await asyncio.sleep(1)
        assert provider.sessions == 2

    class Open(FakeProvider):
        is_always_open = True

    run_feed(steps, Open)


def test_failed_records_are_tried_again_with_growing_pauses() -> None:
    async def steps(feed: Feed, provider: FakeProvider) -> None:
        provider.failures["a"] = 100
        want(feed, {"a": records("a"), "b": records("b")})
        await asyncio.sleep(600)
        assert provider.published == {"b": records("b")}
        assert status(feed, "a") == ("failed", "refused")
        times = provider.times("a")
        assert 12 <= len(times) <= 30
        assert times[-1] - times[-2] > 10 > times[2] - times[1]
        provider.failures["a"] = 0
        await asyncio.sleep(61)
        assert status(feed, "a") == ("announced", "")

    run_feed(steps)


def test_changed_records_are_tried_at_once() -> None:
    async def steps(feed: Feed, provider: FakeProvider) -> None:
        provider.failures["a"] = 5
        want(feed, {"a": records("a")})
        await asyncio.sleep(10)
        provider.failures["a"] = 0
        want(feed, {"a": records("other")})
        await asyncio.sleep(0.01)
        assert provider.published == {"a": records("other")}

    run_feed(steps)


def test_request_that_hangs_fails_and_does_not_block_others() -> None:
    async def steps(feed: Feed, provider: FakeProvider) -> None:
        provider.silent = {f"a{number}" for number in range(7)}
        want(feed, {key: records(key) for key in (*provider.silent, "b")})
        await asyncio.sleep(1)
        assert provider.published == {"b": records("b")}
        await asyncio.sleep(9.5)
        assert status(feed, "a0") == ("failed", "no answer within 10 s")
        provider.silent.clear()
        await asyncio.sleep(10)
        assert len(provider.published) == 8

    run_feed(steps)


def test_reconnected_provider_gets_all_records() -> None:
    async def steps(feed: Feed, provider: FakeProvider) -> None:
        want(feed, {"a": records("a")})
        await asyncio.sleep(1)
        provider.present.clear()
        provider.end.set()
        await asyncio.sleep(50)
        assert status(feed, "a") == ("wanted", "it went away")
        want(feed, {"a": records("a"), "b": records("b")})
        provider.present.set()
        await asyncio.sleep(1)
        assert provider.published == {"a": records("a"), "b": records("b")}

    run_feed(steps)


def test_absent_provider_is_awaited() -> None:
    async def steps(feed: Feed, provider: FakeProvider) -> None:
        provider.present.clear()
        want(feed, {"a": records("a")})
        await asyncio.sleep(1000)
        assert status(feed, "a") == ("wanted", "it is not present")
        provider.present.set()
        await asyncio.sleep(0.01)
        assert status(feed, "a") == ("announced", "")

    run_feed(steps)


def test_records_that_change_during_a_request_end_as_the_last() -> None:
    async def steps(feed: Feed, provider: FakeProvider) -> None:
        provider.slow = 1.0
        for name in "abc":
            want(feed, {"a": records(name)})
            await asyncio.sleep(0.3)
        await asyncio.sleep(5)
        assert provider.published == {"a": records("c")}
        assert len(provider.puts) == 2

    run_feed(steps)


def test_record_that_fails_after_publishing_is_requested_again() -> None:
    async def steps(feed: Feed, provider: FakeProvider) -> None:
        want(feed, {"a": records("a")})
        await asyncio.sleep(1)
        assert provider.report
        status_ = RecordStatus(name="a.local", state=RecordState.FAILED, reason="collision")
        provider.report(key("a"), [status_])
        assert status(feed, "a") == ("failed", "collision")
        await asyncio.sleep(1.1)
        assert status(feed, "a") == ("announced", "")
        assert len(provider.puts) == 2

    run_feed(steps)


def test_another_provider_takes_over() -> None:
    async def steps(feed: Feed, provider: FakeProvider) -> None:
        want(feed, {"a": records("a")})
        await asyncio.sleep(1)
        other = FakeProvider()
        other.present.set()
        feed.renew(other)
        await asyncio.sleep(1)
        assert (provider.published, other.published) == ({}, {"a": records("a")})
        feed.renew(provider)
        await asyncio.sleep(1)
        assert (provider.published, other.published) == ({"a": records("a")}, {})

    run_feed(steps)


def test_interrupted_records_are_put_again_even_if_they_are_the_same() -> None:
    async def steps(feed: Feed, provider: FakeProvider) -> None:
        want(feed, {"a": records("a")})
        await asyncio.sleep(1)
        feed.interrupt(key("a"))
        want(feed, {"a": records("a")})
        await asyncio.sleep(1)
        assert provider.published == {"a": records("a")}
        assert len(provider.puts) == 2

    run_feed(steps)


class Unreachable(FakeProvider):
    """A provider that no attempt reaches; ``reason`` is why."""

    reason = "no answer"

    @asynccontextmanager
    async def session(self, report: Report) -> AsyncIterator["FakeProvider"]:
        self.sessions += 1
        if self.reason:
            raise ProviderLost(self.reason)
        yield self


def test_status_is_reported_again_only_when_the_reason_changes() -> None:
    async def steps() -> None:
        provider = Unreachable()
        changed: list[str] = []
        feed = Feed("test", provider, lambda owner: changed.append(owner.id))
        async with asyncio.TaskGroup() as group:
            feeding = group.create_task(feed.run())
            want(feed, {"a": records("a"), "b": records("b")})
            await asyncio.sleep(1)
            assert status(feed, "a") == ("wanted", "no answer")
            changed.clear()
            await asyncio.sleep(60)
            assert provider.sessions > 5
            assert changed == []
            provider.reason = "refused"
            await asyncio.sleep(60)
            assert changed == ["a", "b"]
            assert status(feed, "a") == ("wanted", "refused")
            feeding.cancel()

    run(steps())


def act(feed: Feed, provider: FakeProvider, what: str, value: object) -> None:
    match what, value:
        case "fail next", str(id_):
            provider.failures[id_] = 2
        case "fail later", str(id_) if provider.report:
            status_ = RecordStatus(name="", state=RecordState.FAILED, reason="later")
            provider.report(Key("docker", id_), [status_])
        case "lose", _:
            provider.end.set()
        case "renew", _:
            feed.renew(provider)
        case _:
            pass


class Patient(FakeProvider):
    """A provider that notes what is published when it learns that this is all."""

    def __init__(self) -> None:
        super().__init__()
        self.whole: list[Collection[str]] = []

    def complete(self) -> None:
        self.whole.append(sorted(self.published))


def test_a_session_learns_once_that_all_wanted_records_have_been_put() -> None:
    async def steps(feed: Feed, provider: FakeProvider) -> None:
        assert isinstance(provider, Patient)
        provider.slow = 1.0
        want(feed, {id_: records(id_) for id_ in "abcdefghijklmnop"})
        await asyncio.sleep(100)
        assert provider.whole == []  # more may be wanted
        feed.want(key("q"), records("q"))
        feed.complete()
        assert provider.whole == []
        await asyncio.sleep(100)
        assert provider.whole == [[*"abcdefghijklmnopq"]]
        want(feed, {"a": records("a")})
        feed.complete()
        await asyncio.sleep(100)
        assert len(provider.whole) == 1
        provider.end.set()  # the next session gets all again
        await asyncio.sleep(100)
        assert provider.whole[1:] == [["a"]]
        feed.renew(provider)
        await asyncio.sleep(100)
        assert len(provider.whole) == 2  # the new rules may want other records
        feed.complete()
        assert provider.whole[2:] == [["a"]]

    run_feed(steps, Patient)


def test_a_session_without_records_is_complete_at_once() -> None:
    async def steps(feed: Feed, provider: FakeProvider) -> None:
        assert isinstance(provider, Patient)
        feed.want(key("a"), records("a"))
        await asyncio.sleep(100)
        feed.want(key("a"), ())
        await asyncio.sleep(100)
        feed.complete()
        assert provider.whole == [[]]

    run_feed(steps, Patient)


ACTIONS = st.one_of(
    st.tuples(st.just("want"), st.dictionaries(st.sampled_from("abc"), st.sampled_from("xyz"))),
    st.tuples(st.just("sleep"), st.sampled_from([0.0, 0.1, 0.6, 3.0, 20.0])),
    st.tuples(st.just("fail next"), st.sampled_from("abc")),
    st.tuples(st.just("lose"), st.none()),
    st.tuples(st.just("fail later"), st.sampled_from("abc")),
    st.tuples(st.just("renew"), st.none()),
)


@settings(max_examples=200, deadline=None)
@given(actions=st.lists(ACTIONS, max_size=12), slow=st.sampled_from([0.0, 0.5]))
def test_provider_ends_with_the_wanted_records(
    actions: list[tuple[str, object]], slow: float
) -> None:
    async def steps(feed: Feed, provider: FakeProvider) -> None:
        provider.slow = slow
        wanted: dict[str, tuple[Record, ...]] = {}
        for what, value in actions:
            if isinstance(value, dict):
                wanted = {key: records(name) for key, name in value.items()}
                want(feed, wanted)
            elif isinstance(value, float):
                await asyncio.sleep(value)
            else:
                act(feed, provider, what, value)
        await asyncio.sleep(300)
        assert provider.published == wanted

    run_feed(steps)


@pytest.mark.parametrize("moment", ["unused", "absent", "fed", "lost"])
def test_lasting_records_are_withdrawn_once_whenever_the_feed_ends(moment: str) -> None:
    made = LastingProvider()

    async def steps(feed: Feed, provider: FakeProvider) -> None:
        if moment in ("unused", "absent"):
            provider.present.clear()
        if moment != "unused":
            want(feed, {"a": records("a")})
        await asyncio.sleep(1)
        if moment == "lost":
            provider.end.set()
            await asyncio.sleep(0)

    run_feed(steps, lambda: made)
    assert made.withdrawals == 1


@pytest.mark.parametrize("place", ["a file", "another file"])
@pytest.mark.parametrize("is_lost", [False, True])
def test_lasting_records_are_withdrawn_unless_a_provider_at_the_same_place_follows(
    place: str, *, is_lost: bool
) -> None:
    made, other = LastingProvider(), LastingProvider()
    other.place = place

    async def steps(feed: Feed, provider: FakeProvider) -> None:
        other.present.set()
        want(feed, {"a": records("a")})
        await asyncio.sleep(1)
        if is_lost:
            provider.present.clear()
            provider.end.set()
            await asyncio.sleep(0.01)
        feed.renew(other)
        await asyncio.sleep(10)
        assert made.withdrawals == (place != made.place)
        assert other.published

    run_feed(steps, lambda: made)
    assert other.withdrawals == 1


@pytest.mark.parametrize("kind", [LastingProvider, SlowProvider])
def test_a_second_cancellation_does_not_interrupt_a_withdrawal(
    kind: type[LastingProvider] | type[SlowProvider],
) -> None:
    made = kind()

    async def whole() -> None:
        feed = Feed("test", made, lambda _owner: None)
        async with asyncio.TaskGroup() as group:
            feeding = group.create_task(feed.run())
            want(feed, {"a": records("a")})
            made.present.set()
            await asyncio.sleep(1)
            if kind is SlowProvider:
                feed.renew(kind())
                await asyncio.sleep(1)
            for _ in range(3):
                feeding.cancel()
                await asyncio.sleep(0.1)

    run(whole())
    assert made.withdrawals == 1


def test_the_loss_of_a_provider_that_is_replaced_is_no_reason() -> None:
    async def steps(feed: Feed, provider: FakeProvider) -> None:
        absent = FakeProvider()
        for turns in range(8):
            want(feed, {"a": records("a")})
            await asyncio.sleep(1)
            provider.end.set()
            for _ in range(turns):
                await asyncio.sleep(0)
            feed.renew(absent)
            await asyncio.sleep(60)
            assert status(feed, "a") == ("wanted", FakeProvider.absence)
            feed.renew(provider)

    run_feed(steps)
