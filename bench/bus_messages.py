"""Measures the processor time of reading messages, without a bus.

Messages as systemd and the agent send them. Run: ``python -m bench.bus_messages``.
"""

import time
from collections.abc import Callable
from typing import Any, Final

from koi_agent.bus.marshalling import Typed, marshal
from koi_agent.bus.messages import Header, MessageType, decode, encode, extent
from koi_agent.bus.reader import unmarshal
from koi_agent.bus.signals import PropertyFilter, SignalReader, Subscription
from koi_agent.bus.variants import Variant

ROUNDS: Final = 7
PROPERTIES: Final = "org.freedesktop.DBus.Properties"
UNIT: Final = "org.freedesktop.systemd1.Unit"
SERVICE: Final = "org.freedesktop.systemd1.Service"
INSTANCE: Final = "org.sylin.koi.Runtime1.Instance"
FILTERS: Final = (
    PropertyFilter(
        UNIT,
        {
            "ActiveState": "s",
            "FreezerState": "s",
            "SubState": "s",
            "StateChangeTimestamp": "t",
            "InvocationID": "ay",
        },
    ),
    PropertyFilter(SERVICE, {"MainPID": "u", "ControlGroup": "s"}),
)
MOMENTS: Final = (
    "StateChange",
    "InactiveExit",
    "ActiveEnter",
    "ActiveExit",
    "InactiveEnter",
    "Condition",
    "Assert",
)
COMMAND: Final = [["/usr/sbin/nginx", ["/usr/sbin/nginx", "-g"], False, 1, 2, 0, 0, 42, 0, 0]]


def unit_properties() -> dict[str, Typed]:
    """Return the properties that systemd sends of any unit that changes."""
    timestamps = {
        f"{moment}Timestamp{clock}": Typed("t", 1_700_000_000_000_000)
        for moment in MOMENTS
        for clock in ("", "Monotonic")
    }
    return {
        "Job": Typed("(uo)", (0, "/")),
        "ActiveState": Typed("s", "active"),
        "FreezerState": Typed("s", "running"),
        "SubState": Typed("s", "running"),
        **timestamps,
        "ConditionResult": Typed("b", value=True),
        "AssertResult": Typed("b", value=True),
        "InvocationID": Typed("ay", bytes(range(16))),
        "Markers": Typed("as", []),
        "ActivationDetails": Typed("a(ss)", []),
    }


def service_properties() -> dict[str, Typed]:
    """Return the properties that systemd sends of a service that changes."""
    numbers = ("MainPID", "ControlPID", "UID", "GID", "NRestarts", "ExecMainPID")
    steps = ("Condition", "StartPre", "Start", "StartPost", "Reload", "Stop")
    return {
        **{name: Typed("u", 42) for name in numbers},
        "StatusText": Typed("s", "Serving requests"),
        **{f"{name}Result": Typed("s", "success") for name in ("", "Reload", "Clean")},
        **{f"Exec{step}": Typed("a(sasbttttuii)", COMMAND) for step in steps},
        "ControlGroup": Typed("s", "/system.slice/web.service"),
        "MemoryCurrent": Typed("t", 2**64 - 1),
    }


def properties_changed(path: str, interface: str, values: dict[str, Typed]) -> bytes:
    """Return a PropertiesChanged as bytes."""
    header = Header(
        kind=MessageType.SIGNAL,
        serial=1,
        path=path,
        interface=PROPERTIES,
        member="PropertiesChanged",
        sender=":1.1",
        signature="sa{sv}as",
    )
    return encode(header, marshal("sa{sv}as", (interface, values, [])))


def burst() -> bytes:
    """Return 200 signals of 20 units that start together."""
    paths = [f"/org/freedesktop/systemd1/unit/web_40{number}_2eservice" for number in range(20)]
    return b"".join(
        properties_changed(path, SERVICE, service_properties())
        + properties_changed(path, UNIT, unit_properties())
        for path in paths
        for _ in range(5)
    )


def units() -> bytes:
    """Return the body of a reply of ListUnits with 400 units."""
    rows = [
        [
            f"unit{number}.service",
            f"Description of unit {number}",
            *("loaded", "active", "running", ""),
            f"/org/freedesktop/systemd1/unit/unit{number}_2eservice",
            *(0, "", "/"),
        ]
        for number in range(400)
    ]
    return marshal("a(ssssssouso)", [rows])


def objects() -> bytes:
    """Return the body of a reply of GetManagedObjects with 300 instances."""
    port = {"host_port": Variant("q", 80), "host_ip": Variant("s", "0.0.0.0")}
    state = {"capability": Variant("s", "mdns"), "status": Variant("s", "announced")}
    shown = {
        **{name: Typed("s", "a value of usual length") for name in ("Name", "State", "Image")},
        "Ports": Typed("aa{sv}", [port, port]),
        "Announcements": Typed("aa{sv}", [state]),
        "Addresses": Typed("as", ["192.0.2.1"]),
        "InvocationID": Typed("ay", bytes(16)),
        "MainPID": Typed("u", 1),
        "CreatedAt": Typed("t", 5),
    }
    root = "/org/sylin/koi/Runtime1/instance"
    found = {f"{root}/docker_3a{number}": {INSTANCE: shown} for number in range(300)}
    return marshal("a{oa{sa{sv}}}", [found])


def report(name: str, times: int, work: Callable[[], Any]) -> None:
    """Print the shortest processor time of a call in several rounds."""
    spent = []
    for _ in range(ROUNDS):
        before = time.process_time()
        for _ in range(times):
            work()
        spent.append((time.process_time() - before) / times)
    print(f"{name:42} {min(spent) * 1e6:10.1f} µs")  # noqa: T201 - the program's output


def main() -> None:
    reader = SignalReader()
    wanted = Subscription(sender="t", rules=(), deliver=lambda _items: None, filters=FILTERS)
    reader.set_owner(wanted, ":1.1")
    signals, listed, managed = burst(), units(), objects()
    one = properties_changed("/u", UNIT, unit_properties())
    every = marshal("a{sv}", [unit_properties() | service_properties()])
    answer = Header(
        kind=MessageType.RETURN,
        serial=5,
        reply_serial=9,
        destination=":1.5",
        sender=":1.1",
        signature="s",
    )
    reply = encode(answer, marshal("s", ("x",)))
    report("200 PropertiesChanged of 20 units", 10, lambda: reader.feed(signals))
    report("one PropertiesChanged", 1000, lambda: reader.feed(one))
    body = one[extent(one, 0)[1] :]
    report("its body, entry by entry", 1000, lambda: FILTERS[0].read(body))
    report("reply of GetAll", 100, lambda: unmarshal("a{sv}", every))
    report("reply of ListUnits, 400 units", 5, lambda: unmarshal("a(ssssssouso)", listed))
    report("reply of GetManagedObjects, 300", 3, lambda: unmarshal("a{oa{sa{sv}}}", managed))
    report("header of a reply", 2000, lambda: decode(reply, 0))


if __name__ == "__main__":
    main()
