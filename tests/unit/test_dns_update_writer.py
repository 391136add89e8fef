"""The zone of a server gets what is wanted, and records of others are not changed."""

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from koi_agent.capabilities.dns.claims import SPARE
from koi_agent.capabilities.dns.outcomes import ANNOUNCED, Outcome
from koi_agent.capabilities.dns.records import Name, Service
from koi_agent.capabilities.dns.update.claims import node_claims
from koi_agent.capabilities.dns.update.nodes import Nodes
from koi_agent.capabilities.dns.update.primary import Primary
from koi_agent.capabilities.dns.update.writer import GONE, NOT_KEPT, Writer
from koi_agent.core.errors import ProviderLost
from koi_agent.core.instance import RecordState
from koi_agent.core.plan.full_names import Domains
from tests.unit.dns_primary import MemoryPrimary
from tests.unit.dns_zones import DOMAINS, WEB, key, named

WIKI = named("a", "wiki.internal", "192.0.2.1", "2001:db8::1", services=[WEB])
SHOP = named("b", "shop.internal", "192.0.2.1")
NODE, TITLE = "wiki.internal.", "wiki._http._tcp.internal."
LISTED = ("_services._dns-sd._udp.internal.", "PTR")


class Run:
    """One run of an agent with a mark: a later run has only what the file of claims has."""

    def __init__(self, primary: MemoryPrimary, file: Path, mark: str = "0" * 16) -> None:
        self.nodes = Nodes(DOMAINS, primary.zone, 30)
        self.claims = node_claims(file, primary.zone)
        self.writer = Writer(cast("Primary", primary), self.nodes, self.claims, mark)
        self.dirty: set[str] = set(self.claims.all())

    def put(self, id_: str, *names: Name) -> None:
        self.dirty |= self.nodes.put(key(id_), names)

    async def write(self) -> dict[str, Outcome]:
        nodes, self.dirty = sorted(self.dirty), set()
        return dict(await self.writer.write(nodes))


async def test_a_node_is_claimed_changed_and_dropped_with_its_mark(tmp_path: Path) -> None:
    primary = MemoryPrimary()
    run = Run(primary, tmp_path / "claims")
    run.put("a", WIKI)
    assert await run.write() == {NODE: ANNOUNCED, TITLE: ANNOUNCED}
    assert primary.records == {
        (NODE, "A"): {"192.0.2.1"},
        (NODE, "AAAA"): {"2001:db8::1"},
        (f"_koi.{NODE}", "TXT"): {'"koi-runtime 0000000000000000"'},
        (TITLE, "SRV"): {"0 0 8080 wiki.internal."},
        (TITLE, "TXT"): {'"path=/\\195\\164\\"\\\\" "v=1"'},
        (f"_koi.{TITLE}", "TXT"): {'"koi-runtime 0000000000000000"'},
        ("_http._tcp.internal.", "PTR"): {TITLE},
        LISTED: {"_http._tcp.internal."},
    }
    run.put("a", named("a", "wiki.internal", "192.0.2.9"))
    assert await run.write() == {NODE: ANNOUNCED, TITLE: GONE}
    assert primary.records == {
        (NODE, "A"): {"192.0.2.9"},
        (f"_koi.{NODE}", "TXT"): {'"koi-runtime 0000000000000000"'},
    }
    run.put("a")
    await run.write()
    assert primary.records == {}
    assert not list(node_claims(tmp_path / "claims", "internal").all())


async def test_all_changes_of_a_moment_are_one_update(tmp_path: Path) -> None:
    primary = MemoryPrimary()
    run = Run(primary, tmp_path / "claims")
    for number in range(20):
        run.put(f"{number}", named(f"{number}", f"n{number}.internal", "192.0.2.1"))
    outcomes = await run.write()
    assert set(outcomes.values()) == {ANNOUNCED}
    assert len(primary.updates) == 1


async def test_what_is_there_is_not_sent_again(tmp_path: Path) -> None:
    primary = MemoryPrimary()
    run = Run(primary, tmp_path / "claims")
    run.put("a", WIKI)
    await run.write()
    run.dirty = set(run.nodes.all())
    assert set((await run.write()).values()) == {ANNOUNCED}
    assert len(primary.updates) == 1
    run.writer.forget()
    run.dirty = set(run.nodes.all())
    await run.write()
    assert len(primary.updates) == 2


async def test_a_name_of_others_is_refused_and_costs_no_other_name(tmp_path: Path) -> None:
    primary = MemoryPrimary()
    primary.add(NODE, "CNAME", "elsewhere.example.")
    primary.add("shop.internal.", "A", "192.0.2.1")
    primary.add("_koi.shop.internal.", "TXT", '"koi-runtime 1111111111111111"')
    before = {name: set(texts) for name, texts in primary.records.items()}
    run = Run(primary, tmp_path / "claims")
    run.put("a", named("a", "wiki.internal", "192.0.2.1"))
    run.put("b", SHOP)
    run.put("c", named("c", "news.internal", "192.0.2.1"))
    outcomes = await run.write()
    assert outcomes["news.internal."] == ANNOUNCED
    assert outcomes[NODE].state == outcomes["shop.internal."].state == RecordState.REFUSED
    assert "not from this agent" in outcomes[NODE].reason
    assert "another agent" in outcomes["shop.internal."].reason
    run.put("a")
    run.put("b")
    run.put("c")
    await run.write()
    assert primary.records == before


async def test_a_record_that_the_server_does_not_keep_is_a_failure(tmp_path: Path) -> None:
    primary = MemoryPrimary()
    primary.drops = {"AAAA"}
    run = Run(primary, tmp_path / "claims")
    run.put("a", WIKI)
    outcomes = await run.write()
    assert outcomes[NODE].state is RecordState.FAILED
    assert outcomes[TITLE] == ANNOUNCED


async def test_a_name_that_the_key_may_not_update_costs_no_other_name(tmp_path: Path) -> None:
    primary = MemoryPrimary()
    primary.refused = {NODE}
    run = Run(primary, tmp_path / "claims")
    run.put("a", WIKI)
    run.put("b", SHOP)
    outcomes = await run.write()
    assert outcomes[NODE].state is RecordState.FAILED
    assert "the key" in outcomes[NODE].reason
    assert outcomes["shop.internal."] == ANNOUNCED


async def test_a_record_that_has_no_room_on_the_server_costs_no_other_name(tmp_path: Path) -> None:
    primary = MemoryPrimary()
    primary.full = {("_http._tcp.internal.", "PTR")}
    run = Run(primary, tmp_path / "claims")
    run.put("a", WIKI)
    outcomes = await run.write()
    assert outcomes[NODE] == ANNOUNCED
    assert outcomes[TITLE] == Outcome(
        RecordState.FAILED,
        "the server responds SERVFAIL; it may limit the records at a name, see its log",
    )


async def test_a_name_that_can_not_be_read_costs_no_other_name(tmp_path: Path) -> None:
    primary = MemoryPrimary()
    primary.unreadable = {TITLE}
    run = Run(primary, tmp_path / "claims")
    run.put("a", WIKI)
    outcomes = await run.write()
    assert outcomes[NODE] == ANNOUNCED
    assert outcomes[TITLE].state is RecordState.FAILED


async def test_a_set_of_pointers_that_can_not_be_read_costs_nothing(tmp_path: Path) -> None:
    primary = MemoryPrimary()
    primary.unreadable = {"_http._tcp.internal."}
    run = Run(primary, tmp_path / "claims")
    run.put("a", WIKI)
    assert set((await run.write()).values()) == {ANNOUNCED}


async def test_a_lost_pointer_is_set_again(tmp_path: Path) -> None:
    primary = MemoryPrimary()
    run = Run(primary, tmp_path / "claims")
    run.put("a", WIKI)
    await run.write()
    before = {name: set(texts) for name, texts in primary.records.items()}
    for lost in (("_http._tcp.internal.", "PTR"), LISTED):
        del primary.records[lost]
        run.dirty = set(run.nodes.all())
        await run.write()
        assert primary.records == before


async def test_a_name_whose_mark_can_not_be_read_is_not_left(tmp_path: Path) -> None:
    primary = MemoryPrimary()
    primary.drops = {"TXT"}
    run = Run(primary, tmp_path / "claims")
    run.put("b", SHOP)
    assert (await run.write())["shop.internal."] == NOT_KEPT


async def test_records_that_fill_more_than_one_message_are_sent_in_several(tmp_path: Path) -> None:
    primary = MemoryPrimary()
    run = Run(primary, tmp_path / "claims")
    txt = tuple((f"k{number}", "x" * 240) for number in range(5))
    for number in range(60):
        service = Service(type="_http._tcp", port=number + 1, txt=txt)
        run.put(
            f"{number}", named(f"{number}", f"n{number}.internal", "192.0.2.1", services=[service])
        )
    assert set((await run.write()).values()) == {ANNOUNCED}
    for number in range(60):
        service = Service(type="_http._tcp", port=number + 1, txt=(*txt, (f"n{number}", "")))
        run.put(f"{number}", named(f"{number}", "wiki.internal", "192.0.2.1", services=[service]))
    outcomes = await run.write()
    assert outcomes[TITLE].state is RecordState.REFUSED
    assert outcomes[NODE] == ANNOUNCED


@pytest.mark.parametrize("count", [1, 3 * SPARE])
async def test_a_torn_line_costs_no_other_claim(tmp_path: Path, count: int) -> None:
    file = tmp_path / "claims"
    claims = node_claims(file, "internal")
    for number in range(count):
        claims.claim(f"a{number}.internal.", ())
    claims.store()
    with file.open("a") as torn:
        torn.write("+ b.inter")
    later = node_claims(file, "internal")
    later.store()
    later.claim("c.internal.", ())
    later.store()
    found = set(node_claims(file, "internal").all())
    assert found == {*(f"a{number}.internal." for number in range(count)), "c.internal."}


async def test_claims_that_could_not_be_stored_are_stored_later(tmp_path: Path) -> None:
    file = tmp_path / "claims"
    claims = node_claims(file, "internal")
    claims.store()
    file.unlink()
    file.mkdir()  # not even root can write there
    claims.claim("a.internal.", ())
    claims.store()
    file.rmdir()
    claims.store()
    assert list(node_claims(file, "internal").all()) == ["a.internal."]


async def test_the_file_of_claims_stays_short(tmp_path: Path) -> None:
    file = tmp_path / "claims"
    claims = node_claims(file, "internal")
    for _ in range(2 * SPARE):
        claims.claim("a.internal.", ())
        claims.drop("a.internal.")
        claims.store()
    assert len(file.read_text().splitlines()) <= SPARE + 2


async def test_replicas_share_a_name(tmp_path: Path) -> None:
    primary = MemoryPrimary()
    run = Run(primary, tmp_path / "claims")
    run.put("a", named("a", "wiki.internal", "192.0.2.1"))
    run.put("b", named("b", "wiki.internal", "192.0.2.2"))
    await run.write()
    assert primary.records[NODE, "A"] == {"192.0.2.1", "192.0.2.2"}
    run.put("a")
    await run.write()
    assert primary.records[NODE, "A"] == {"192.0.2.2"}


async def test_a_type_is_listed_while_another_host_has_a_service_of_it(tmp_path: Path) -> None:
    primary = MemoryPrimary()
    primary.add("_http._tcp.internal.", "PTR", "other._http._tcp.internal.")
    primary.add(*LISTED, "_http._tcp.internal.")
    before = {name: set(texts) for name, texts in primary.records.items()}
    run = Run(primary, tmp_path / "claims")
    run.put("a", WIKI)
    await run.write()
    run.put("a")
    await run.write()
    assert primary.records == before


def test_names_outside_the_zone_have_no_node() -> None:
    nodes = Nodes(Domains(main="internal", extra=("home.example",)), "internal", 30)
    assert not nodes.put(key("a"), [named("a", "wiki.home.example", "192.0.2.1")])
    assert not nodes.put(key("b"), [named("b", "wiki.internal")])
    (part,) = nodes.parts(key("a"))
    assert not part.nodes


def test_a_zone_above_the_domain_gets_its_names() -> None:
    nodes = Nodes(Domains(main="home.example"), "example", 30)
    found = nodes.put(key("a"), [named("a", "wiki.home.example", "192.0.2.1", services=[WEB])])
    assert found == {"wiki.home.example.", "wiki._http._tcp.home.example."}


def test_claims_survive_lines_that_are_not_whole(tmp_path: Path) -> None:
    file = tmp_path / "claims"
    file.write_bytes(
        b"+ a.internal. x.internal. y.internal.\n+ b.internal.\n- b.internal.\n\nnonsense\n"
        b"+ d..internal.\n+ e\xff.internal.\n+ f.example.\n+ g.internal. x.\n+\n+ c.inter"
    )
    claims = node_claims(file, "internal")
    assert list(claims.all()) == ["a.internal."]
    assert claims.details("a.internal.") == {"x.internal.", "y.internal."}


names = st.sampled_from(["wiki", "shop", "news", "printer"])
hosts = st.builds(
    lambda name, address, services: (f"{name}.internal", f"192.0.2.{address}", services),
    names,
    st.integers(1, 3),
    st.sampled_from([(), (WEB,), (Service(type="_ssh._tcp", port=22, subtypes=("_x",)),)]),
)
steps = st.lists(
    st.tuples(st.sampled_from("xy"), st.sampled_from("abc"), st.none() | hosts, st.integers(-1, 6)),
    max_size=12,
)


@given(steps)
def test_killed_agents_converge_and_never_touch_what_is_not_theirs(
    tmp_path_factory: object,
    script: Sequence[tuple[str, str, tuple[str, str, tuple[Service, ...]] | None, int]],
) -> None:
    """Two agents share a zone; each is killed at any moment, also between two messages."""
    asyncio.run(_converge(tmp_path_factory.mktemp("claims"), script))  # type: ignore[attr-defined]


async def _converge(
    folder: Path,
    script: Sequence[tuple[str, str, tuple[str, str, tuple[Service, ...]] | None, int]],
) -> None:
    primary = MemoryPrimary()
    primary.add("printer.internal.", "A", "192.0.2.77")
    marks = {"x": "0" * 16, "y": "1" * 16}
    runs = {who: Run(primary, folder / who, mark) for who, mark in marks.items()}
    wanted: dict[str, dict[str, Name]] = {"x": {}, "y": {}}
    for who, id_, host, dies in script:
        wanted[who].pop(id_, None)
        if host:
            wanted[who][id_] = named(id_, host[0], host[1], services=host[2])
        runs[who].put(id_, *filter(None, [wanted[who].get(id_)]))
        primary.fails_after = dies
        try:
            await runs[who].write()
        except ProviderLost:  # the agent starts again, and knows only what its file has
            runs[who] = Run(primary, folder / who, marks[who])
            for one, name in wanted[who].items():
                runs[who].put(one, name)
        primary.fails_after = -1
    outcomes: dict[str, dict[str, Outcome]] = {}
    for who in (*"xy", *"xy"):
        runs[who].dirty = {*runs[who].nodes.all(), *runs[who].claims.all()}
        outcomes[who] = await runs[who].write()
    assert primary.records["printer.internal.", "A"] == {"192.0.2.77"}
    owned = {
        name.removeprefix("_koi."): texts
        for (name, _), texts in primary.records.items()
        if name.startswith("_koi.")
    }
    for who, run in runs.items():
        mine = {node for node, texts in owned.items() if texts == {f'"koi-runtime {marks[who]}"'}}
        assert mine <= set(run.nodes.all())  # no orphan
        for node in run.nodes.all():
            assert (node in mine) == (outcomes[who][node] == ANNOUNCED)
            assert node in owned or node == "printer.internal."
    pointed = {
        text for (_, kind), texts in primary.records.items() if kind == "PTR" for text in texts
    }
    services = {node for node in owned if "._tcp." in node}
    kinds = {name for name, kind in primary.records if kind == "PTR" and "._sub." not in name}
    assert primary.records.get(LISTED, set()) == kinds - {LISTED[0]}
    assert {text for text in pointed if "._http._tcp." in text or "._ssh._tcp." in text} == services
