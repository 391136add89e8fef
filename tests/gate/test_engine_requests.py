"""The requests that may pass, and the refusal of all others."""

import json
from urllib.parse import urlencode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from koi_agent.host import engines
from koi_agent.services.gate.engine.requests import Endpoint, Request, parse_request
from koi_agent.services.gate.head import USUAL_FIELDS, Forbidden, parse_head
from tests.costs import best

FIELDS = "Host: docker\r\nAccept: */*\r\nAccept-Encoding: gzip, deflate\r\nUser-Agent: aiohttp\r\n"
IMAGE = "0a" * 32
EVENTS = urlencode({"filters": json.dumps(engines.EVENTS)})


def parsed(head: bytes) -> Request:
    return parse_request(parse_head(head, USUAL_FIELDS))


def request(target: str, fields: str = FIELDS, line: str = "GET {} HTTP/1.1") -> bytes:
    return f"{line.format(target)}\r\n{fields}\r\n".encode()


@pytest.mark.parametrize(
    ("target", "endpoint", "built"),
    [
        ("/_ping", Endpoint.PING, "/_ping"),
        ("/version", Endpoint.VERSION, "/version"),
        ("/v1.41/containers/json", Endpoint.LIST, "/v1.41/containers/json"),
        ("/containers/json?all=1", Endpoint.LIST, "/containers/json?all=1"),
        ("/v1.51/containers/0a_b.c-d/json", Endpoint.INSPECT, "/v1.51/containers/0a_b.c-d/json"),
        (
            "/v4.0.0/libpod/containers/0a/json",
            Endpoint.INSPECT,
            "/v4.0.0/libpod/containers/0a/json",
        ),
        ("/v1.41/services/ab1", Endpoint.SERVICE, "/v1.41/services/ab1"),
        (f"/v1.41/images/{IMAGE}/json", Endpoint.IMAGE, f"/v1.41/images/{IMAGE}/json"),
        (f"/images/{IMAGE}/json", Endpoint.IMAGE, f"/images/{IMAGE}/json"),
        ("/v1.41/events", Endpoint.EVENTS, f"/v1.41/events?{EVENTS}"),
        ("/v1.41/events?since=17.5", Endpoint.EVENTS, f"/v1.41/events?since=17.5&{EVENTS}"),
        ("/v1.41/events?filters=%7B%7D", Endpoint.EVENTS, f"/v1.41/events?{EVENTS}"),
        (f"/v1.41/events?{EVENTS}", Endpoint.EVENTS, f"/v1.41/events?{EVENTS}"),
    ],
)
def test_a_request_of_the_agent_is_built_again(target: str, endpoint: Endpoint, built: str) -> None:
    made = parsed(request(target))
    assert (made.endpoint, made.target) == (endpoint, built)
    assert made.head == f"GET {built} HTTP/1.0\r\nHost: gate\r\n\r\n".encode()


@pytest.mark.parametrize(
    "target",
    [
        "/",
        "/v1.41/images/json",
        "/v1.41/images/nginx/json",
        f"/v1.41/images/sha256:{IMAGE}/json",
        f"/v1.41/images/{IMAGE[1:]}/json",
        f"/v1.41/images/{IMAGE}a/json",
        f"/v1.41/images/{IMAGE.upper()}/json",
        f"/v1.41/images/{IMAGE}/history",
        f"/v1.41/images/{IMAGE}/json?manifests=1",
        f"/v4.0.0/libpod/images/{IMAGE}/json",
        "/v1.41/containers/create",
        "/v1.41/containers/a/logs",
        "/v1.41/containers/a/archive?path=/etc/shadow",
        "/v1.41/containers/a/json?size=1",
        "/v1.41/containers/json?size=1",
        "/v1.41/containers/json?all=2",
        "/v1.41/containers/json?all=1&all=1",
        "/v1.41/containers/json?filters=%7B%7D",
        "/v1.41/containers/../json",
        "/v1.41/containers/a/../b/json",
        "/v1.41/containers//json",
        "//v1.41/containers/json",
        "/v1.41//containers/json",
        "/v1.41/containers/json/",
        "/v1.41/containers/%61/json",
        "/v1.41/containers%2Fjson",
        "/v1.41/containers/a%2Fexec/json",
        "/v1.41/containers/a\\b/json",
        "/v1.41/containers/a;b/json",
        "/v1.41/containers/a#b/json",
        "/v1.41/containers/json?",
        "/v1.41/containers/json?a",
        "/v1.41/containers/json?%00=1",
        "/v2.0/containers/json",
        "/v1.411/containers/json",
        "/v4.0.0/libpod/containers/json",
        "/v4.0.0/libpod/info",
        "/v1.41/info",
        "/v1.41/services",
        "/v1.41/services/a/logs",
        "/v1.41/services/a?insertDefaults=1",
        "/v1.41/events?since=1&until=2",
        "/v1.41/events?since=-1",
        "/v1.41/events?since=1e9",
        "http://docker/v1.41/containers/json",
        "*",
        "/v1.41/containers/" + "a" * 129 + "/json",
    ],
)
def test_no_other_target_passes(target: str) -> None:
    with pytest.raises(Forbidden):
        parsed(request(target))


@pytest.mark.parametrize(
    "line",
    [
        "POST {} HTTP/1.1",
        "HEAD {} HTTP/1.1",
        "get {} HTTP/1.1",
        "GET {} HTTP/1.0",
        "GET {} HTTP/2.0",
        "GET  {} HTTP/1.1",
        "GET {}\tHTTP/1.1",
        " GET {} HTTP/1.1",
        "GET {} HTTP/1.1 ",
        "GET {}",
        "GET {} HTTP/1.1\nX: y",
        "GET {} HTTP/1.1\rX: y",
        "PRI * HTTP/2.0",
        "",
    ],
)
def test_no_other_request_line_passes(line: str) -> None:
    with pytest.raises(Forbidden):
        parsed(request("/v1.41/containers/json", line=line))


@pytest.mark.parametrize(
    "fields",
    [
        "",
        "Accept: */*\r\n",
        "Host: a\r\nHost: b\r\n",
        "Host: a\r\nhost: a\r\n",
        "Host: a\r\nContent-Length: 0\r\n",
        "Host: a\r\nContent-Length: 10\r\n",
        "Host: a\r\nTransfer-Encoding: chunked\r\n",
        "Host: a\r\nTransfer-Encoding : chunked\r\n",
        "Host: a\r\nUpgrade: tcp\r\nConnection: Upgrade\r\n",
        "Host: a\r\nConnection: upgrade, close\r\n",
        "Host: a\r\nExpect: 100-continue\r\n",
        "Host: a\r\nX-Registry-Auth: a\r\n",
        "Host: a\r\n Accept: folded\r\n",
        "Host: a\r\nAccept: a\r\n\tfolded\r\n",
        "Host: a\nAccept: b\r\n",
        "Host: a\x00\r\n",
        "Host: a\x1b\r\n",
        "Host:a\r\nAccept\r\n",
        ": a\r\nHost: a\r\n",
    ],
)
def test_no_other_header_field_passes(fields: str) -> None:
    with pytest.raises(Forbidden):
        parsed(request("/v1.41/containers/json", fields))


def test_a_connection_ends_if_the_client_says_so() -> None:
    head = request("/version", "Host: a\r\nConnection: Close\r\n")
    assert not parse_head(head, USUAL_FIELDS).keep_alive
    assert parse_head(request("/version"), USUAL_FIELDS).keep_alive


ALLOWED = st.sampled_from(
    [b"GET /v1.41/containers/json HTTP/1.1\r\n", b"Host: a\r\n", b"\r\n", b"\n", b"?all=1", b"/.."]
)


@given(st.lists(ALLOWED | st.binary(max_size=6), max_size=8).map(b"".join))
def test_any_bytes_are_an_allowed_request_or_forbidden(head: bytes) -> None:
    try:
        made = parsed(head)
    except Forbidden:
        return
    assert made.target.startswith("/")
    assert not {" ", "\r", "\n", "%2f", "%2e"} & set(made.target)
    assert ".." not in made.target


@pytest.mark.parametrize("value", [" ", "a "])
def test_cost_of_refusing_a_field_grows_with_its_length_only(value: str) -> None:
    def refuse(length: int) -> None:
        head = request("/version", "host:" + value * (length // len(value)) + "\x01\r\n")
        for _ in range(20):
            with pytest.raises(Forbidden):
                parsed(head)

    long, short = best(lambda: refuse(15_800)), best(lambda: refuse(1_580))
    assert long < 30 * short  # a quadratic search would take 100 times as long
