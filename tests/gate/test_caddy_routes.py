"""The servers and routes that pass the gate of Caddy are those that the agent makes."""

import copy
import json
from collections.abc import Callable, Sequence
from typing import Any, Final

import pytest

from koi_agent.services.gate.head import Forbidden
from tests.gate.caddy_requests import SERVER, pass_gate, served
from tests.unit.caddy_configurations import NAMES

Change = Callable[[Any], object]


def handler(body: Any) -> Any:
    return body["routes"][0]["handle"][0]


def set_host(host: object) -> Change:
    """Return a change to another host name, with the identifier that belongs to it."""

    def change(body: Any) -> None:
        body["routes"][0] |= {"@id": f"{NAMES.prefix}443-{host}", "match": [{"host": [host]}]}

    return change


def dial(*dials: object) -> Change:
    return lambda body: handler(body).update(upstreams=[{"dial": one} for one in dials])


ATTACKS: Final[dict[str, Change]] = {
    "another handler": lambda b: handler(b).update(handler="file_server", root="/"),
    "a handler that runs programs": lambda b: b["routes"][0].update(
        handle=[{"handler": "exec", "command": "id"}]
    ),
    "a second handler": lambda b: b["routes"][0]["handle"].append({"handler": "file_server"}),
    "a handler in a handler": lambda b: b["routes"][0].update(
        handle=[{"handler": "subroute", "routes": [{"handle": b["routes"][0]["handle"]}]}]
    ),
    "no handler": lambda b: b["routes"][0].update(handle=[]),
    "a handler of another type": lambda b: b["routes"][0].update(handle="ab"),
    "responses that run handlers": lambda b: handler(b).update(
        handle_response=[{"routes": [{"handle": [{"handler": "file_server"}]}]}]
    ),
    "header fields": lambda b: handler(b).update(headers={"request": {"set": {"A": ["{env.A}"]}}}),
    "dynamic upstreams": lambda b: handler(b).update(dynamic_upstreams={"source": "a"}),
    "another transport": lambda b: handler(b).update(
        transport={"protocol": "fastcgi", "root": "/", "env": {"A": "{file./etc/passwd}"}}
    ),
    "a certificate from a file": lambda b: handler(b)["transport"]["tls"].update(
        client_certificate_file="/etc/shadow"
    ),
    "a proxy of the transport": lambda b: handler(b)["transport"].update(forward_proxy_url="a"),
    "more of an upstream": lambda b: handler(b)["upstreams"][0].update(max_requests=1),
    "no upstream": dial(),
    "upstreams twice": dial("127.0.0.1:80", "127.0.0.1:80"),
    "too many upstreams": dial(*(f"10.0.{n // 250}.{n % 250}:80" for n in range(1001))),
    "another path": lambda b: b["routes"][0]["match"][0].update(path=["/*"]),
    "another matcher": lambda b: b["routes"][0]["match"].append({"path": ["/*"]}),
    "no matcher": lambda b: b["routes"][0].pop("match"),
    "two names": lambda b: b["routes"][0]["match"][0]["host"].append("b.internal"),
    "a route that goes on": lambda b: b["routes"][0].pop("terminal"),
    "a group": lambda b: b["routes"][0].update(group="a"),
    "a route of others": lambda b: b["routes"][0].update({"@id": "x"}),
    "a route without a mark": lambda b: b["routes"][0].pop("@id"),
    "a route of another name": lambda b: b["routes"][0].update({"@id": f"{NAMES.prefix}443-a"}),
    "a route of the policy": lambda b: b["routes"][0].update({"@id": NAMES.policy}),
    "a route of another port": lambda b: b["routes"][0].update(
        {"@id": f"{NAMES.prefix}8443-wiki.internal"}
    ),
    "a route twice": lambda b: b["routes"].append(b["routes"][0]),
    "a route of another type": lambda b: b["routes"].append("x"),
    "routes of another type": lambda b: b.update(routes={"0": b["routes"][0]}),
    "another port": lambda b: b.update(listen=[":8443"]),
    "another address": lambda b: b.update(listen=["unix//run/x.sock"]),
    "a further port": lambda b: b.update(listen=[":443", ":22"]),
    "a placeholder for a port": lambda b: b.update(listen=[":{env.PORT}"]),
    "another server": lambda b: b.update({"@id": "srv0"}),
    "errors": lambda b: b.update(errors={"routes": []}),
    "named routes": lambda b: b.update(named_routes={"a": {}}),
    "listener wrappers": lambda b: b.update(listener_wrappers=[{"wrapper": "tls"}]),
    "logs": lambda b: b.update(logs={"default_logger_name": "a"}),
    "redirects": lambda b: b.update(automatic_https={"disable_redirects": False}),
    "no certificates": lambda b: b["automatic_https"].update(disable=True),
    "keys in a file": lambda b: b["tls_connection_policies"][0].update(
        insecure_secrets_log="/etc/passwd"
    ),
    "no TLS": lambda b: b.update(tls_connection_policies=[]),
}
HOSTS: Final[Sequence[object]] = (
    *("", "*", "*.internal", "internal", "home.example", "bank.example", "wiki", "localhost"),
    *("127.0.0.1", "wiki.internal.", "Wiki.internal", "wiki.internal:443", "{env.A}.internal"),
    *("a b.internal", "-a.internal", "wiki..internal", f"{'a' * 64}.internal", "é.internal"),
    *("\ud800.internal", "a\x00.internal", "xinternal", None, 1, True, ["a.internal"], {}),
)
DIALS: Final[Sequence[object]] = (
    *(
        "",
        ":80",
        "8080",
        "localhost:80",
        "wiki.internal:80",
        "unix//run/docker.sock",
        "tcp/127.0.0.1:1",
    ),
    *("{env.SECRET}:80", "{file./etc/passwd}", "{http.request.host}:80", "127.0.0.1:{env.PORT}"),
    *("127.0.0.1", "127.0.0.1:0", "127.0.0.1:080", "127.0.0.1:65536", "127.0.0.1:80-90"),
    *("127.1:80", "0x7f000001:80", "2130706433:80", "127.0.0.01:80", "0.0.0.0:80", "[::]:80"),
    *("[::ffff:127.0.0.1]:80", "[::ffff:7f00:1]:80", "[0:0::1]:80", "[::1%lo]:80", "::1:80"),
    *("[FE80::1]:80", "[fe80::1]:80", "169.254.169.254:80", "224.0.0.1:80", "[ff02::1]:80"),
    *("255.255.255.255:80", "127.0.0.1:80\n", "127.0.0.1:8\u0660", "127.0.0.1:80/x"),
    *(None, 80, True, ["127.0.0.1:80"], {"a": 1}),
)


def refused(change: Change) -> None:
    root, body = served()
    before = copy.deepcopy(root)
    change(body)
    with pytest.raises(Forbidden):
        pass_gate("PATCH", SERVER, body, root)
    assert root == before


def test_the_body_of_the_agent_passes_and_is_spelled_again() -> None:
    root, body = served()
    made = pass_gate("PATCH", SERVER, body, root)
    assert made == body
    assert made is not body
    assert handler(made)["upstreams"] == [{"dial": "[::1]:9090"}]


@pytest.mark.parametrize("attack", ATTACKS)
def test_no_other_server_passes(attack: str) -> None:
    refused(ATTACKS[attack])


@pytest.mark.parametrize("host", HOSTS, ids=ascii)
def test_no_other_name_passes(host: object) -> None:
    refused(set_host(host))


@pytest.mark.parametrize("text", DIALS, ids=ascii)
def test_no_other_upstream_passes(text: object) -> None:
    refused(dial(text))
    refused(dial("127.0.0.1:80", text))


@pytest.mark.parametrize("text", ["10.0.0.2:80", "[fd00::2]:65535", "172.17.0.2:1"])
def test_an_address_of_an_instance_passes(text: str) -> None:
    root, body = served()
    dial(text)(body)
    assert handler(pass_gate("PATCH", SERVER, body, root))["upstreams"] == [{"dial": text}]


def test_a_port_is_allowed_by_the_administrator_and_free_at_caddy() -> None:
    root, body = served()
    path = SERVER.replace("443", "22")
    text = json.dumps(body).replace("443", "22")
    with pytest.raises(Forbidden, match="port 22 is not among"):
        pass_gate("PUT", path, json.loads(text), root)
    root["apps"]["http"]["servers"]["srv1"] = {"listen": ["0.0.0.0:443"]}
    with pytest.raises(Forbidden, match="server srv1 of Caddy's own configuration has port 443"):
        pass_gate("PATCH", SERVER, body, root)
    root["apps"]["http"]["servers"].pop("srv1")
    root["apps"]["http"]["http_port"] = 443
    with pytest.raises(Forbidden, match="http_port"):
        pass_gate("PATCH", SERVER, body, root)
