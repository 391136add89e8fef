"""The reader of signals, against dbus-next's own reader."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from koi_agent.bus import signals
from koi_agent.bus.signals import Changed, PropertyFilter, Signal, SignalReader, Subscription
from koi_agent.bus.variants import Variant
from tests.bus.wire import BASIC, VALUES, frame, plain, texts
from tests.bus.witness import Witness, witness

SYSTEMD, STRANGER = ":1.1", ":1.66"
UNIT, MANAGER, PROPERTIES = "t.Unit", "t.Manager", "org.freedesktop.DBus.Properties"
KEYS = {
    "ActiveState": "s", "SubState": "s", "InvocationID": "ay", "Since": "t", "Path": "o",
    "Flag": "b", "PID": "u", "Small": "y", "Short": "n", "Word": "q", "Int": "i", "Long": "x",
    "Load": "d",
}  # fmt: skip
FILTERS = (PropertyFilter(UNIT, KEYS), PropertyFilter("t.Service", {"PID": "u", "Text": "s"}))
PATHS = ("/u/a", "/u/b", "/u/longer_than_that")


def ignore(_items: Sequence[Signal | Changed]) -> None:
    return


def subscription(**changes: Any) -> Subscription:
    members = frozenset((MANAGER, name) for name in ("UnitNew", "UnitRemoved", "Reloading"))
    given: dict[str, Any] = {"members": members, "filters": FILTERS, **changes}
    return Subscription(sender="t", rules=(), deliver=ignore, **given)


def reader(*subscriptions: Subscription) -> SignalReader:
    made = SignalReader()
    for one in subscriptions or (subscription(),):
        made.set_owner(one, SYSTEMD)
    return made


def signal(
    path: str, interface: str, member: str, signature: str, body: list[Any], **how: Any
) -> bytes:
    sender = how.pop("sender", SYSTEMD)
    fields = {1: ("o", path), 2: ("s", interface), 3: ("s", member), 7: ("s", sender)}
    return frame(4, fields, signature, body, **how)


def changed(values: dict[str, Variant], path: str = "/u/a", **how: Any) -> bytes:
    body = [how.pop("interface", UNIT), values, how.pop("invalid", [])]
    return signal(path, PROPERTIES, "PropertiesChanged", "sa{sv}as", body, **how)


def unit_new(name: str = "a.service", **how: Any) -> bytes:
    return signal("/m", MANAGER, "UnitNew", "so", [name, "/u/a"], **how)


@st.composite
def properties(draw: st.DrawFn) -> dict[str, Variant]:
    made = {}
    for name in draw(st.lists(st.sampled_from([*KEYS, "Text", "Other"]), unique=True)):
        if name in KEYS and KEYS[name] in BASIC and draw(st.integers(0, 3)):
            made[name] = Variant(KEYS[name], draw(BASIC[KEYS[name]]))
        else:
            made[name] = Variant(*draw(VALUES))
    return made


@st.composite
def messages(draw: st.DrawFn) -> bytes:
    big = draw(st.integers(0, 5)) == 0
    path = draw(st.sampled_from(PATHS))
    match draw(st.integers(0, 9)):
        case 0:
            return unit_new(draw(texts), big=big)
        case 1:
            return signal("/m", MANAGER, "Reloading", "b", [draw(st.booleans())], big=big)
        case 2:
            return signal("/m", MANAGER, "Unwanted", "s", [draw(texts)], big=big)
        case 3:
            return changed(draw(properties()), path, sender=STRANGER)
        case _:
            interface = draw(st.sampled_from([UNIT, UNIT, "t.Service", "t.Else"]))
            invalid = draw(st.lists(st.sampled_from(list(KEYS)), max_size=3))
            return changed(draw(properties()), path, interface=interface, invalid=invalid, big=big)


Trace = list[Any]


@pytest.fixture(scope="module")
def stock(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Witness]:
    with witness(tmp_path_factory.mktemp("witness")) as made:
        yield made


def expected(stock: Witness, frames: Sequence[bytes]) -> Iterator[Signal | Changed]:
    """Filter what dbus-next reads of the messages."""
    for message in map(stock.read, frames):
        if message.sender != SYSTEMD:
            continue
        if message.member in ("UnitNew", "Reloading"):
            yield Signal(message.path, message.interface, message.member, message.body)
        for pick, keys in zip(FILTERS, (KEYS, {"PID": "u", "Text": "s"}), strict=True):
            if message.member == "PropertiesChanged" and message.body[0] == pick.interface:
                values = {
                    name: plain(value)
                    for name, value in message.body[1].items()
                    if value.signature == keys.get(name)
                }
                if values:
                    yield Changed(message.path, pick.interface, values)


def trace(items: Iterable[Signal | Changed]) -> Trace:
    """Merge the properties of each object between two whole signals."""
    folded: Trace = [{}]
    for item in items:
        if isinstance(item, Signal):
            folded += [item, {}]
        else:
            key = (item.path, item.interface)
            folded[-1][key] = {**folded[-1].get(key, {}), **item.values}
    return folded


@settings(deadline=None)
@given(frames=st.lists(messages(), max_size=8), data=st.data())
def test_any_cut_of_the_stream_is_read_as_dbus_next_reads_it(
    stock: Witness, frames: list[bytes], data: st.DataObject
) -> None:
    stream = b"".join(frames)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=12)))
    ours, got = reader(), []
    for begin, end in zip([0, *cuts], [*cuts, len(stream)], strict=True):
        batch, rest = ours.feed(stream[begin:end])
        assert not rest
        got += [item for _, item in batch]
    assert trace(got) == trace(expected(stock, frames))
    assert ours.bad == 0


def test_stream_can_be_cut_at_every_byte() -> None:
    stream = changed({"PID": Variant("u", 7)}) + unit_new() + changed({"PID": Variant("u", 8)})
    ours, got = reader(), []
    for at in range(len(stream)):
        got += [item for _, item in ours.feed(stream[at : at + 1])[0]]
    assert [type(item) for item in got] == [Changed, Signal, Changed]


def values_of(ours: SignalReader, *frames: bytes) -> list[dict[str, Any]]:
    batch, _ = ours.feed(b"".join(frames))
    return [dict(item.values) for _, item in batch if isinstance(item, Changed)]


def test_latest_value_of_each_property_in_one_read_counts() -> None:
    first = changed({"PID": Variant("u", 1), "ActiveState": Variant("s", "activating")})
    last = changed({"PID": Variant("u", 2)})
    assert values_of(reader(), first, last) == [{"PID": 2, "ActiveState": "activating"}]


def test_objects_come_in_the_order_of_their_last_signals() -> None:
    one, two = {"PID": Variant("u", 1)}, {"PID": Variant("u", 2)}
    batch, _ = reader().feed(changed(one, "/u/a") + changed(one, "/u/b") + changed(two, "/u/a"))
    assert [item.path for _, item in batch] == ["/u/b", "/u/a"]


NEEDLE = b"\x0b\0\0\0ActiveState\0\x01s\0"
TRUE = Variant("s", "active")
LIE = NEEDLE + b"\x04\0\0\0dead\0"


@pytest.mark.parametrize(
    "decoy",
    [
        Variant("a{sv}", {"ActiveState": Variant("s", "dead")}),
        Variant("ay", b"\0" * 4 + LIE),
        Variant("ay", LIE + bytes(64)),
        Variant("as", ["ActiveState", "x" * 29441]),
        Variant("(su)", ["ActiveState", 0x7301]),
        Variant("s", "ActiveState\x01s"),
        Variant("v", Variant("s", "ActiveState")),
    ],
)
@pytest.mark.parametrize("before", [True, False])
def test_values_that_look_like_properties_are_ignored(decoy: Variant, *, before: bool) -> None:
    pairs = [("Aaa", decoy), ("ActiveState", TRUE)]
    sent = changed(dict(pairs if before else reversed(pairs)), invalid=["ActiveState"])
    assert values_of(reader(), sent) == [{"ActiveState": "active"}]


@pytest.mark.parametrize(
    "decoy",
    [
        Variant("a{sv}", {"ActiveState": Variant("s", "dead")}),
        Variant("as", ["ActiveState", "x" * 29441]),
        Variant("s", "ActiveState"),
    ],
)
def test_imitation_of_an_absent_property_is_ignored(decoy: Variant) -> None:
    assert values_of(reader(), changed({"Other": decoy}, invalid=["ActiveState"])) == []


def test_signals_of_another_sender_are_ignored() -> None:
    lie = {"PID": Variant("u", 666)}
    stream = changed(lie, sender=STRANGER) + unit_new(sender=STRANGER)
    assert reader().feed(stream) == ([], [])


def test_signals_are_ignored_without_an_owner() -> None:
    ours, wanted = SignalReader(), subscription()
    ours.set_owner(wanted, "")
    assert ours.feed(unit_new(sender="a") + frame(4, {1: ("o", "/m"), 3: ("s", "X")})) == ([], [])
    ours.set_owner(wanted, SYSTEMD)
    assert len(ours.feed(unit_new())[0]) == 1
    ours.remove(wanted)
    assert ours.feed(unit_new()) == ([], [])


def test_other_members_of_the_properties_interface_are_ignored() -> None:
    body = [UNIT, {"PID": Variant("u", 1)}, []]
    assert reader().feed(signal("/u/a", PROPERTIES, "Else", "sa{sv}as", body)) == ([], [])
    assert reader().feed(signal("/u/a", PROPERTIES, "PropertiesChanged", "s", [UNIT])) == ([], [])


def test_objects_that_are_not_accepted_are_not_delivered() -> None:
    ours = reader(subscription(accepts=lambda path: path == "/u/b"))
    one = {"PID": Variant("u", 1)}
    batch, _ = ours.feed(changed(one, "/u/a") + changed(one, "/u/b"))
    assert [item.path for _, item in batch] == ["/u/b"]


def test_two_subscriptions_get_the_same_signals() -> None:
    one, two = subscription(), subscription()
    batch, _ = reader(one, two).feed(unit_new() + changed({"PID": Variant("u", 1)}))
    assert [item[0] for item in batch] == [one, two, one, two]


def test_bad_message_costs_itself_only() -> None:
    broken = bytearray(changed({"ActiveState": Variant("s", "x" * 40)}))
    at = broken.index(NEEDLE) + len(NEEDLE) + 1
    broken[at : at + 4] = b"\xff\xff\xff\x7f"
    not_text = unit_new("abcdef").replace(b"abcdef", b"abc\xff\xfff")
    bad_header = unit_new().replace(b"UnitNew", b"Unit\xff\xffw")
    ours = reader()
    batch, _ = ours.feed(bytes(broken) + not_text + bad_header + unit_new("good"))
    assert [item.body[0] for _, item in batch if isinstance(item, Signal)] == ["good"]
    assert ours.bad == 3


def test_headers_that_others_choose_fill_no_memory() -> None:
    ours = SignalReader(headers_kept=100)
    ours.set_owner(subscription(), SYSTEMD)
    for number in range(250):
        ours.feed(unit_new(sender=f":1.{number}") + unit_new(sender=":" + "9" * 4000))
    assert len(ours._routes) <= 100
    assert all(len(array) <= signals.HEADER_LIMIT for array in ours._routes)
