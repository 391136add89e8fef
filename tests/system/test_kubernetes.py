"""Credentials of a cluster in the service: the files of systemd, and a plugin in the sandbox."""

import json
from typing import Any

import pytest

from tests.namespaces import wait_until
from tests.system.engines import backend
from tests.system.service import Service

PLUGIN = "/usr/local/bin/koi-test-plugin"
KUBECONFIG = "/etc/koi-runtime/kubeconfig"
DROP_IN = f"[Service]\nLoadCredential=kubernetes.kubeconfig:{KUBECONFIG}\n"
VERSION = "client.authentication.k8s.io/v1"
CLOSED = "https://127.0.0.1:1"
EXAMPLE = "/usr/share/doc/koi-runtime/examples/kubernetes"


def with_plugin(service: Service, text: str, command: str = "koi-test-plugin") -> None:
    """Restart the service with a kubeconfig file that names a plugin with this text."""
    machine = service.machine
    machine.write(PLUGIN, f"#!/bin/sh\n{text}\n")
    machine.run("chmod", "755", PLUGIN)
    plugin = {"apiVersion": VERSION, "command": command, "interactiveMode": "Never"}
    config = {
        "current-context": "x",
        "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}],
        "clusters": [{"name": "c", "cluster": {"server": CLOSED}}],
        "users": [{"name": "u", "user": {"exec": plugin}}],
    }
    machine.write(KUBECONFIG, json.dumps(config))
    machine.run("chmod", "600", KUBECONFIG)
    service.drop_in(DROP_IN)
    service.systemctl("restart")


@pytest.fixture
def prepared(service: Service) -> Any:
    yield service
    service.machine.remove(PLUGIN)


def reason(service: Service) -> str:
    """Return why the cluster is not followed."""
    return str(backend(service, "kubernetes")["last_error"])


def doctor(service: Service) -> dict[str, Any]:
    done = service.machine.run("koi-runtime", "--system", "doctor", "--json=short", check=False)
    (found,) = [one for one in json.loads(done.stdout) if one["check"] == "kubernetes"]
    return dict(found)


def test_a_plugin_runs_as_the_user_of_the_agent_and_sees_no_home(prepared: Service) -> None:
    probe = 'echo "user $(id -un), home $(ls -A /root 2>&- | wc -l), $(cat; tty)" >&2; exit 7'
    with_plugin(prepared, probe)
    wait_until(
        lambda: "exit status 7, and the log has what it wrote" in reason(prepared),
        lambda: f"the plugin fails, not: {reason(prepared)}",
    )
    assert "wrote: user _koi-runtime, home 0, not a tty" in prepared.journal()
    assert reason(prepared).endswith("; use the token of a service account")
    found = doctor(prepared)
    assert found["verdict"] == "ok"
    assert f"the plugin {PLUGIN} runs as the agent's user" in found["text"]


def test_the_token_of_a_plugin_is_used_and_not_shown(prepared: Service) -> None:
    status = {"apiVersion": VERSION, "kind": "ExecCredential", "status": {"token": "very-secret"}}
    with_plugin(prepared, f"echo '{json.dumps(status)}'")
    wait_until(lambda: reason(prepared).startswith(f"{CLOSED}: GET "), "the token is used")
    assert "very-secret" not in prepared.journal("--all")
    read = "cat /proc/[0-9]*/cmdline /proc/[0-9]*/environ"
    commands = prepared.machine.run("sh", "-c", read, check=False)  # some processes end meanwhile
    assert "very-secret" not in commands.stdout


def test_a_plugin_that_the_service_does_not_see_has_the_token_way(prepared: Service) -> None:
    prepared.machine.write("/root/koi-test-plugin", "#!/bin/sh\n")
    prepared.machine.run("chmod", "755", "/root/koi-test-plugin")
    with_plugin(prepared, "exit 0", "/root/koi-test-plugin")
    wait_until(lambda: "no program /root/koi-test-plugin" in reason(prepared), "it is hidden")
    found = doctor(prepared)
    assert found["verdict"] == "warn"
    assert "the service can't see /root/koi-test-plugin" in found["text"]
    assert f"use the token of a service account: see {EXAMPLE}/" in found["advice"]
    prepared.machine.remove("/root/koi-test-plugin")
