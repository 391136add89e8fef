"""The requests that may pass the gate of Incus, and the refusal of all others."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from koi_agent.host.incus import (
    BALANCERS,
    EVENTS,
    FORWARDS,
    LIST,
    NETWORKS,
    instance_path,
    is_project_name,
    network_path,
)
from koi_agent.services.gate.head import USUAL_FIELDS, Forbidden, parse_head
from koi_agent.services.gate.incus.requests import Endpoint, Request, parse_request

FIELDS = "Host: engine\r\nAccept: application/json\r\n"


def parsed(target: str, line: str = "GET {} HTTP/1.1", fields: str = FIELDS) -> Request:
    head = f"{line.format(target)}\r\n{fields}\r\n".encode()
    return parse_request(parse_head(head, USUAL_FIELDS))


@pytest.mark.parametrize(
    ("target", "endpoint"),
    [
        ("/1.0", Endpoint.SERVER),
        (LIST, Endpoint.LIST),
        (EVENTS, Endpoint.EVENTS),
        (instance_path("default", "web-1"), Endpoint.INSTANCE),
        (instance_path("p+2", "web"), Endpoint.INSTANCE),
        (instance_path("läden", "web"), Endpoint.INSTANCE),
    ],
)
def test_a_request_of_the_agent_is_built_again(target: str, endpoint: Endpoint) -> None:
    made = parsed(target)
    assert (made.endpoint, made.target) == (endpoint, target)
    assert made.head == f"GET {target} HTTP/1.0\r\nHost: gate\r\n\r\n".encode()


@given(st.text(min_size=1, max_size=40).filter(is_project_name))
def test_each_project_of_the_agent_passes(project: str) -> None:
    target = instance_path(project, "web")
    assert parsed(target).target == target


@pytest.mark.parametrize(
    "target",
    [
        "/",
        "/1.0/",
        "/1.0?public",
        "/1.0/events",
        "/1.0/events?type=logging&all-projects=true",
        "/1.0/events?type=lifecycle,operation&all-projects=true",
        f"{EVENTS}&target=x",
        "/1.0/instances",
        "/1.0/instances?recursion=2",
        f"{LIST}&filter=name",
        "/1.0/instances/web",
        "/1.0/instances/web?recursion=1",
        "/1.0/instances/web?recursion=2&project=default",
        "/1.0/instances/web?project=default&recursion=1",
        "/1.0/instances/web?recursion=1&project=default&project=other",
        "/1.0/instances/web?recursion=1&project=",
        "/1.0/instances/web?recursion=1&project=a%2Fb",
        "/1.0/instances/web?recursion=1&project=a%00",
        "/1.0/instances/web?recursion=1&project=%zz",
        "/1.0/instances/web?recursion=1&project=%ff",
        "/1.0/instances/web?recursion=1&project=a+b%20",
        "/1.0/instances/web?recursion=1&project=a%0d%0ab",
        "/1.0/instances/web/state?recursion=1&project=default",
        "/1.0/instances/web/exec?recursion=1&project=default",
        "/1.0/instances/web/files?recursion=1&project=default",
        "/1.0/instances/../certificates?recursion=1&project=default",
        "/1.0/instances/a_b?recursion=1&project=default",
        "/1.0/certificates",
        "/1.0/profiles?recursion=1",
        "/1.0/storage-pools",
        "/internal/sql?schema=1",
        "/os/1.0",
    ],
)
def test_any_other_request_is_refused(target: str) -> None:
    with pytest.raises(Forbidden):
        parsed(target)


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "HEAD", "CONNECT", "get"])
def test_any_other_method_is_refused(method: str) -> None:
    with pytest.raises(Forbidden):
        parsed("/1.0", line=f"{method} {{}} HTTP/1.1")


@pytest.mark.parametrize(
    "field",
    [
        "Upgrade: websocket",
        "Sec-WebSocket-Key: a",
        "X-Incus-authenticated: true",
        "Forwarded: for=1",
        "Connection: Upgrade",
        "Transfer-Encoding: chunked",
        "Content-Length: 5",
    ],
)
def test_a_field_that_changes_a_request_is_refused(field: str) -> None:
    with pytest.raises(Forbidden):
        parsed("/1.0", fields=f"{FIELDS}{field}\r\n")


@given(st.text(max_size=60))
def test_any_text_is_refused_or_built_from_what_is_known(text: str) -> None:
    try:
        made = parsed(text)
    except (Forbidden, UnicodeEncodeError):
        return
    assert made.target.startswith("/1.0")


@pytest.mark.parametrize(
    ("target", "endpoint"),
    [
        (NETWORKS, Endpoint.NETWORKS),
        (network_path("default", "incusbr0", FORWARDS), Endpoint.FORWARDS),
        (network_path("p+2", "my-net.1", BALANCERS), Endpoint.BALANCERS),
    ],
)
def test_the_forwards_of_networks_may_be_read(target: str, endpoint: Endpoint) -> None:
    made = parsed(target)
    assert (made.endpoint, made.target) == (endpoint, target)


@pytest.mark.parametrize(
    "target",
    [
        "/1.0/networks",
        "/1.0/networks/incusbr0?recursion=1&project=default",
        "/1.0/networks/incusbr0/leases?recursion=1&project=default",
        "/1.0/networks/../forwards?recursion=1&project=default",
        "/1.0/networks/a/forwards?project=default",
        "/1.0/network-acls?recursion=1&project=default",
    ],
)
def test_nothing_else_of_networks_may_be_read(target: str) -> None:
    with pytest.raises(Forbidden):
        parsed(target)
