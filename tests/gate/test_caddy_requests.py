"""The requests that may pass the gate of Caddy, and the refusal of all others."""

from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from koi_agent.services.gate.caddy.requests import FIELDS, LONGEST_BODY, Kind, parse_request
from koi_agent.services.gate.head import Forbidden, parse_head
from tests.gate.caddy_requests import POLICIES, POLICY, SERVER, head, parsed
from tests.unit.caddy_configurations import NAMES

BODY = {"Content-Length": "2"}
OTHER = "fedcba9876543210"


@pytest.mark.parametrize(
    ("method", "path", "kind"),
    [
        ("GET", "/config/", Kind.READ),
        ("GET", "/config/admin", Kind.WATCH),
        ("PUT", f"{POLICIES}/0", Kind.INSERT_POLICY),
        ("POST", POLICIES, Kind.ADD),
        ("PUT", POLICIES, Kind.ADD),
        ("PUT", "/config/apps/tls/automation", Kind.ADD),
        ("PUT", "/config/apps/tls", Kind.ADD),
        ("POST", "/config/apps", Kind.ADD),
        ("POST", "/config/", Kind.ADD),
        ("PUT", "/config/apps/http/servers", Kind.ADD),
        ("PUT", SERVER, Kind.ADD),
        ("PATCH", SERVER, Kind.CHANGE_SERVER),
        ("DELETE", SERVER, Kind.REMOVE_SERVER),
        ("PATCH", POLICY, Kind.CHANGE_POLICY),
        ("DELETE", POLICY, Kind.REMOVE_POLICY),
    ],
)
def test_a_request_of_the_agent_passes(method: str, path: str, kind: Kind) -> None:
    has_body = method in ("PUT", "POST", "PATCH")
    assert parsed(method, path, BODY if has_body else {}).kind is kind


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/load"),
        ("POST", "/stop"),
        ("POST", "/adapt"),
        ("GET", "/pki/ca/local"),
        ("GET", "/pki/ca/local/certificates"),
        ("GET", "/reverse_proxy/upstreams"),
        ("GET", "/metrics"),
        ("GET", "/debug/pprof/heap"),
        ("GET", "/config"),
        ("GET", "/config/apps"),
        ("GET", "/config/admin/"),
        ("GET", POLICY),
        ("PUT", "/config/"),
        ("PATCH", "/config/"),
        ("DELETE", "/config/"),
        ("DELETE", "/config/apps"),
        ("PATCH", "/config/apps"),
        ("POST", "/config/admin"),
        ("PUT", "/config/logging"),
        ("PUT", "/config/apps/pki"),
        ("PUT", "/config/apps/tls/certificates"),
        ("DELETE", POLICIES),
        ("DELETE", f"{POLICIES}/0"),
        ("PATCH", f"{POLICIES}/0"),
        ("PUT", f"{POLICIES}/1"),
        ("POST", f"{POLICIES}/..."),
        ("POST", f"{POLICIES}/0"),
        ("PUT", "/config/apps/http/servers/srv0"),
        ("DELETE", "/config/apps/http/servers/srv0"),
        ("PUT", f"{SERVER}/routes"),
        ("DELETE", f"{SERVER}/routes/0"),
        ("PATCH", f"{SERVER}0000000"),
        ("PATCH", SERVER.replace("-443", "-0443")),
        ("PATCH", SERVER.replace("-443", "-0")),
        ("PATCH", SERVER.replace(NAMES.mark, OTHER)),
        ("PATCH", f"/id/{NAMES.server(443)}"),
        ("DELETE", f"{POLICY}/subjects"),
        ("DELETE", POLICY.replace(NAMES.mark, OTHER)),
        ("PATCH", f"//id/{NAMES.policy}"),
        ("PATCH", f"/id/../id/{NAMES.policy}"),
        ("PATCH", f"/config/apps/../../id/{NAMES.policy}"),
        ("DELETE", f"{SERVER}/"),
        ("DELETE", f"{SERVER}/../srv0"),
        ("DELETE", f"{SERVER}%2f..%2fsrv0"),
        ("DELETE", f"{SERVER}?a=1"),
        ("HEAD", "/config/"),
        ("OPTIONS", "/config/"),
        ("CONNECT", "/config/"),
        ("delete", SERVER),
    ],
)
def test_no_other_request_passes(method: str, path: str) -> None:
    for fields in ({}, BODY):
        with pytest.raises(Forbidden):
            parsed(method, path, fields)


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"Content-Length": "0"},
        {"Content-Length": "-2"},
        {"Content-Length": "+2"},
        {"Content-Length": "02"},
        {"Content-Length": "2, 2"},
        {"Content-Length": "0x2"},
        {"Content-Length": str(LONGEST_BODY + 1)},
        {"Content-Length": "9" * 400},
        {"Transfer-Encoding": "chunked"},
        BODY | {"Transfer-Encoding": "chunked"},
        BODY | {"content-length": "2"},
        BODY | {"Expect": "100-continue"},
        BODY | {"Content-Encoding": "gzip"},
        BODY | {"Origin": "http://localhost"},
        BODY | {"Upgrade": "h2c", "Connection": "Upgrade"},
        BODY | {"X-HTTP-Method-Override": "DELETE"},
        BODY | {"If-Match": "*"},
        BODY | {"If-Match": '"/config/ 0123"'},
        BODY | {"Cache-Control": "must-revalidate"},
    ],
)
def test_a_body_has_exactly_one_length(fields: Mapping[str, str]) -> None:
    assert parsed("PATCH", SERVER, BODY).length == 2
    with pytest.raises(Forbidden):
        parsed("PATCH", SERVER, fields)


def test_what_has_no_body_may_not_have_one() -> None:
    assert not parsed("DELETE", SERVER, {"Content-Length": "0"}).length
    for method, path in (("DELETE", SERVER), ("GET", "/config/"), ("DELETE", POLICY)):
        with pytest.raises(Forbidden):
            parsed(method, path, BODY)


PIECES = st.sampled_from(["/config/", "/id/", "apps", "/", "..", SERVER, POLICY, NAMES.prefix, "0"])


@given(
    st.sampled_from(["GET", "PUT", "POST", "PATCH", "DELETE"]),
    st.lists(PIECES | st.text(max_size=3), max_size=6).map("".join),
)
def test_any_path_is_one_of_the_agents_or_forbidden(method: str, path: str) -> None:
    has_body = method in ("PUT", "POST", "PATCH")
    raw = head(method, path, BODY if has_body else {})
    try:
        request = parse_request(parse_head(raw, FIELDS), NAMES)
    except Forbidden:
        return
    if request.kind in (Kind.READ, Kind.WATCH):
        assert path in ("/config/", "/config/admin")
    elif request.kind is Kind.ADD:
        assert request.path == "/config/" + "/".join(request.at)
    else:
        assert NAMES.prefix in path or path == f"{POLICIES}/0"
