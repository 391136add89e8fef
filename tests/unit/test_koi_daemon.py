"""The requests to a Koi daemon, and what its responses mean; and the file of what was sent."""

import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from koi_agent.core.errors import BadInput, ProviderLost
from koi_agent.core.instance import RecordState
from koi_agent.host.http_client import client
from koi_agent.host.koi_daemon.credential import Source
from koi_agent.host.koi_daemon.daemon import Daemon, Refused, Uncertain, segment
from koi_agent.host.koi_daemon.decisions import Act, Form, KeyState, Situation, decide
from koi_agent.host.koi_daemon.intents import Intents
from koi_agent.host.koi_daemon.kinds import DNS, KINDS, MDNS, PROXY, elements
from tests.unit.fake_koi import FakeKoi
from tests.unit.fake_koi_server import (
    BROKEN,
    ENDLESS,
    GARBAGE,
    NOT_FOUND,
    NOT_JSON,
    UNAUTHORIZED,
    KoiServer,
    served,
)
from tests.unit.fake_koi_wire import Answer, document, plain


@asynccontextmanager
async def reached(folder: Path) -> AsyncIterator[tuple[Daemon, KoiServer]]:
    async with served(FakeKoi(time.monotonic), folder) as server:
        source = Source(breadcrumb=str(server.breadcrumb))
        async with client(server.url) as opened:
            yield Daemon(opened, source, source.read()), server


HOSTILE = document({"error": "x\x1b[2J\udc80", "message": "y" * 9999}, 400)


@pytest.mark.parametrize(
    ("answer", "error", "text"),
    [
        (BROKEN, Refused, "it responds 500: internal: broken by the test"),
        (NOT_FOUND, Refused, "404"),
        (plain("Failed to parse the request body", 422), Refused, "422: Failed to parse"),
        (Answer(400), Refused, "it responds 400"),
        (document({"error": "conflict"}), Refused, "it responds 200: conflict"),
        (HOSTILE, Refused, r"x\\x1b\[2J"),
        (document([1]), None, ""),
        (NOT_JSON, Uncertain, "not JSON"),
        (GARBAGE, Uncertain, "no usable response"),
        (ENDLESS, Uncertain, "longer than"),
        (UNAUTHORIZED, ProviderLost, "it has started again, or refuses the token"),
        (document({"error": "capability_disabled"}, 503), ProviderLost, "capability_disabled"),
    ],
)
async def test_responses_to_changes(
    tmp_path: Path, answer: Any, error: type[Exception] | None, text: str
) -> None:
    async with reached(tmp_path) as (daemon, server):
        server.trouble = lambda _: answer
        if error is None:
            assert await daemon.send("PUT", "/x") == [1]
            return
        with pytest.raises(error, match=text) as raised:
            await daemon.send("PUT", "/x")
        assert str(raised.value).isprintable()
        assert len(str(raised.value)) < 400


async def test_a_token_of_an_earlier_run_is_told_from_a_wrong_one(tmp_path: Path) -> None:
    async with reached(tmp_path) as (daemon, server):
        await daemon.check()
        await server.restart()
        with pytest.raises(ProviderLost, match="it has started again"):
            await daemon.check()
        await server.kill()
        with pytest.raises(ProviderLost, match=f"nothing listens at {server.url}"):
            await daemon.check()


async def test_parts_of_a_path_are_encoded(tmp_path: Path) -> None:
    name = "a/b c?d#ä:%\\"
    assert segment(name) == "a%2Fb%20c%3Fd%23%C3%A4%3A%25%5C"
    async with reached(tmp_path) as (daemon, server):
        check = {"name": name, "kind": "tcp", "target": "127.0.0.1:1"}
        await daemon.send("POST", "/v1/health/add", check)
        await daemon.send("DELETE", f"/v1/health/remove/{segment(name)}")
        assert server.daemon.checks.held == []


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
@pytest.mark.parametrize(
    "entry",
    [
        *(None, 1, "x", [], {}, {"name": 1, "id": "a"}, {"name": "x", "id": 2, "type": 3}),
        {"name": "\udc80", "id": "\udc80", "type": "\udc80", "port": {}, "ip": float("nan")},
        {"name": "", "id": "", "type": "..", "txt": [[[[]]]]},
    ],
)
def test_entries_of_any_form_are_read_or_left_out(kind: Any, entry: object) -> None:
    document_ = {kind.array: [entry]} if kind.array else [entry]
    found = kind.read(document_)
    assert all(json.loads(one.body) for seen in found.values() for one in seen)


@pytest.mark.parametrize("document_", [None, {}, [], 1, {"entries": {}}, {"entries": None}])
def test_a_list_of_another_form_is_refused(document_: object) -> None:
    with pytest.raises(BadInput):
        DNS.read(document_)


def test_spellings_of_a_key_are_one() -> None:
    keys = {MDNS.key({"name": "Web", "type": one}) for one in ("http", "_http._tcp", "HTTP.tcp.")}
    assert keys == {"web._http._tcp"}
    found = DNS.read({"entries": [{"name": "Web.Internal.", "ip": "10.0.0.1", "ttl": None}]})
    assert list(found) == ["web.internal"]


async def test_a_proxy_that_starts_is_waited_for(tmp_path: Path) -> None:
    async with reached(tmp_path) as (daemon, server):
        shown = [
            {"name": "a", "state": "starting"},
            {"name": "b", "state": "running"},
            {"name": "c", "state": "error", "error": "x\ny"},
            {"name": "d"},
            {"name": 5},
        ]
        server.trouble = lambda _: document({"proxies": shown})
        states = await PROXY.states(daemon)
        assert {name: one.state for name, one in states.items()} == {
            "a": RecordState.WANTED,
            "c": RecordState.FAILED,
            "d": RecordState.FAILED,
        }
        assert all(one.reason.isprintable() for one in states.values())
        assert list(elements({"proxies": shown}, "proxies"))


def test_intents_outlive_a_kill_at_any_byte(tmp_path: Path) -> None:
    path = tmp_path / "new" / "intents"
    intents = Intents(path)
    assert intents.store() == ""
    for number in range(5):
        intents.record(f"ä{number}", frozenset({"x", f"\udc80{number}"}))
        assert intents.store() == ""
    intents.record("ä0", frozenset())
    assert intents.store() == ""
    whole = path.read_bytes()
    for cut in range(len(whole) + 1):
        path.write_bytes(whole[:cut])
        found = Intents(path)
        for key in found.all():
            assert found.of(key) == {"x", f"\udc80{key[1:]}"}
    assert sorted(Intents(path).all()) == [f"ä{number}" for number in range(1, 5)]


def test_intents_stay_short_and_end_empty(tmp_path: Path) -> None:
    path = tmp_path / "intents"
    intents = Intents(path)
    for number in range(3000):
        intents.record("x", frozenset({str(number)}))
        assert intents.store() == ""
    assert len(path.read_text().splitlines()) < 1100
    intents.record("x", frozenset())
    assert intents.store() == ""
    assert path.read_bytes() == b""


def test_intents_that_can_not_be_stored_have_a_reason(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    intents = Intents(tmp_path / "file" / "intents")
    intents.record("x", frozenset({"y"}))
    assert "file/intents" in intents.store()


def test_no_act_concerns_entries_of_others() -> None:
    for form in Form:
        for wanted in (None, "a", "b"):
            one = Situation(wanted, frozenset({"a"}), ("c",))
            assert decide(one, form).act is None
            assert decide(one, form).state is KeyState.FOREIGN
            mixed = decide(Situation(wanted, frozenset({"a"}), ("c", "a")), form)
            assert mixed.act in ((Act.REMOVE, None) if form is Form.SHARED else (None,))


def test_a_content_stays_recorded_until_requests_have_settled() -> None:
    both = frozenset({"a", "b"})
    one = Situation("b", both, ("b",), is_settled=False)
    assert decide(one, Form.REPLACED).recorded == both
    assert decide(one._replace(is_settled=True), Form.REPLACED).recorded == {"b"}
    gone = Situation(None, both, (), is_settled=False)
    assert decide(gone, Form.REPLACED).recorded == both
    assert decide(gone._replace(is_settled=True), Form.REPLACED).recorded == frozenset()
