"""Requests for the gate of Caddy, and what is allowed in tests."""

import copy
import json
from collections.abc import Mapping
from typing import Any, Final

from koi_agent.capabilities.proxy.caddy.steps import Step, steps
from koi_agent.core.plan.full_names import Domains
from koi_agent.host.caddy.configuration import Configuration
from koi_agent.services.gate.caddy.bodies import Allowed, spelled
from koi_agent.services.gate.caddy.requests import FIELDS, Request, parse_request
from koi_agent.services.gate.caddy.views import view
from koi_agent.services.gate.head import parse_head
from tests.unit.caddy_configurations import FILE, NAMES, converge, wanted
from tests.unit.fake_caddy import FakeCaddy
from tests.unit.proxy_routes import route

ALLOWED: Final = Allowed(
    ports=frozenset({443, 8443}), domains=Domains(main="internal", extra=("home.example",))
)
SERVER: Final = f"/config/apps/http/servers/{NAMES.server(443)}"
POLICY: Final = f"/id/{NAMES.policy}"
POLICIES: Final = "/config/apps/tls/automation/policies"


def head(method: str, path: str, fields: Mapping[str, str] | None = None) -> bytes:
    named = {"Host": "", **(fields or {})}
    lines = [f"{method} {path} HTTP/1.1", *(f"{name}: {text}" for name, text in named.items())]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


def sent(method: str, path: str, body: Any = None) -> bytes:
    """Return a whole request, after which the connection ends."""
    text = b"" if body is None else json.dumps(body).encode()
    length = {"Content-Length": str(len(text))} if text else {}
    return head(method, path, {"Connection": "close", **length}) + text


def parsed(method: str, path: str, fields: Mapping[str, str] | None = None) -> Request:
    return parse_request(parse_head(head(method, path, fields), FIELDS), NAMES)


def pass_gate(method: str, path: str, body: Any, root: Any) -> Any:
    """Return what Caddy with this configuration gets for a request to the gate."""
    request = parsed(method, path, {} if body is None else {"Content-Length": "9"})
    return spelled(request, body, Configuration(root=root, names=NAMES), ALLOWED)


def seen(caddy: FakeCaddy) -> Configuration:
    """Return the configuration as the agent reads it behind the gate."""
    return Configuration(root=json.loads(json.dumps(view(caddy.root, NAMES))), names=NAMES)


def apply(caddy: FakeCaddy, step: Step) -> int:
    """Make a step of the agent through the gate; return the status of Caddy."""
    body = None if step.body is None else json.loads(step.body)
    made = pass_gate(step.method, step.path, body, caddy.root)
    text = None if step.body is None else json.dumps(made).encode()
    return caddy.apply(step._replace(body=text))


def own(root: Any) -> Any:
    """Return the one server of the agent."""
    return root["apps"]["http"]["servers"][NAMES.server(443)]


def served() -> tuple[Any, Any]:
    """Return a configuration with a route, and the agent's body for a change of its server."""
    caddy = FakeCaddy(FILE)
    converge(caddy, wanted([route()]))
    found = Configuration(root=copy.deepcopy(caddy.root), names=NAMES)
    step = next(steps(found, wanted([route(to=9090, scheme="https", address="::1")])))
    assert (step.method, step.path) == ("PATCH", SERVER)
    return caddy.root, json.loads(step.body or b"")
