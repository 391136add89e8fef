"""Plugins of kubeconfig files: what they get, and what they respond."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from koi_agent.backends.kubernetes.access import Access
from koi_agent.backends.kubernetes.authenticator import MAX_OUTPUT, Authenticator
from koi_agent.backends.kubernetes.kubeconfig import read_kubeconfig
from koi_agent.backends.kubernetes.plugin import parse_credential
from koi_agent.core.errors import BackendLost, BadInput

V1, V1BETA1 = "client.authentication.k8s.io/v1", "client.authentication.k8s.io/v1beta1"
SECRET = "very-secret-token"
FUTURE = "2099-01-01T00:00:00Z"


def response(version: str = V1, **status: Any) -> dict[str, Any]:
    return {"apiVersion": version, "kind": "ExecCredential", "status": {"token": SECRET, **status}}


def program(folder: Path, text: str) -> Path:
    """Write a program that counts its runs."""
    path = folder / "get-token"
    path.write_text(f"#!/bin/sh\necho run >>{folder}/runs\n{text}\n")
    path.chmod(0o755)
    return path


def printing(folder: Path, value: object) -> str:
    (folder / "response").write_text(json.dumps(value))
    return f"cat {folder}/response"


def runs(folder: Path) -> int:
    path = folder / "runs"
    return len(path.read_text().split()) if path.exists() else 0


def written(folder: Path, **changes: Any) -> Path:
    cluster = {"server": "https://192.0.2.1:6443", **changes.pop("cluster", {})}
    user = changes.pop("user", {})
    plugin = {"apiVersion": V1, "interactiveMode": "Never", "command": "./get-token", **changes}
    config = {
        "current-context": "x",
        "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}],
        "clusters": [{"name": "c", "cluster": cluster}],
        "users": [{"name": "u", "user": {"exec": plugin, **user}}],
    }
    path = folder / "config"
    path.write_text(json.dumps(config))
    return path


def access_of(folder: Path, **changes: Any) -> Access:
    return read_kubeconfig(str(written(folder, **changes)), "")


async def failure(access: Access, seconds: float = 60) -> str:
    with pytest.raises(BackendLost) as raised:
        await Authenticator(seconds).authenticated(access)
    text = str(raised.value)
    assert text.startswith(f"{access.origin}: the plugin 'get-token': ")
    assert text.endswith("; use the token of a service account")
    assert SECRET not in text
    return text


async def test_a_plugin_gets_its_arguments_and_variables_without_a_shell(tmp_path: Path) -> None:
    copies = f'printf "%s\\n" "$@" >{tmp_path}/args; env >{tmp_path}/env; cat >{tmp_path}/stdin\n'
    program(tmp_path, copies + printing(tmp_path, response()))
    env = [{"name": "PROFILE", "value": "a b"}, {"name": "PATH", "value": os.defpath}]
    access = access_of(tmp_path, args=["--cluster", "$(id)", "*"], env=env)
    known = await Authenticator(60).authenticated(access)
    assert known.headers() == {"Authorization": f"Bearer {SECRET}"}
    assert SECRET not in repr(known)
    assert (tmp_path / "args").read_text() == "--cluster\n$(id)\n*\n"
    assert (tmp_path / "stdin").read_text() == ""
    variables = dict(
        line.split("=", 1) for line in (tmp_path / "env").read_text().splitlines() if "=" in line
    )
    assert (variables["PROFILE"], variables["PATH"]) == ("a b", os.defpath)
    assert json.loads(variables["KUBERNETES_EXEC_INFO"]) == {
        "apiVersion": V1,
        "kind": "ExecCredential",
        "spec": {"interactive": False},
    }


def test_a_plugin_gets_to_know_the_cluster_if_it_asks(tmp_path: Path) -> None:
    extensions = [{"name": "client.authentication.k8s.io/exec", "extension": {"audience": "a"}}]
    cluster = {"insecure-skip-tls-verify": True, "extensions": extensions}
    access = access_of(tmp_path, cluster=cluster, provideClusterInfo=True, apiVersion=V1BETA1)
    assert access.plugin
    information = json.loads(access.plugin.information)
    assert information["apiVersion"] == V1BETA1
    assert information["spec"]["cluster"] == {
        "server": "https://192.0.2.1:6443",
        "insecure-skip-tls-verify": True,
        "config": {"audience": "a"},
    }


@pytest.mark.parametrize("expires", [{}, {"expirationTimestamp": FUTURE}])
async def test_a_plugin_runs_once_until_it_is_refused(
    tmp_path: Path, expires: dict[str, str]
) -> None:
    program(tmp_path, printing(tmp_path, response(**expires)))
    access, authenticator = access_of(tmp_path), Authenticator(60)
    known = await authenticator.authenticated(access)
    for _ in range(3):
        assert await authenticator.authenticated(access) == known
        assert await authenticator.headers(known) == {"Authorization": f"Bearer {SECRET}"}
    assert runs(tmp_path) == 1
    authenticator.reject()
    printing(tmp_path, response(token="other"))
    assert await authenticator.headers(known) == {"Authorization": "Bearer other"}
    assert runs(tmp_path) == 2
    changed = access_of(tmp_path, args=["--other"])
    await authenticator.authenticated(changed)
    assert runs(tmp_path) == 3, "another plugin"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("echo a; exit 0", "its output is not JSON"),
        (
            "echo 'token=secret' >&2; exit 3",
            "exit status 3, and the log has what it wrote;",
        ),
        ("exit 1", "exit status 1; it has no terminal, and runs in the sandbox of the service"),
        ("kill -9 $$", "signal 9; it has no terminal"),
        ("while :; do echo aaaaaaaaaaaaaaaaaaaaaa; done", f"longer than {MAX_OUTPUT} bytes"),
    ],
)
async def test_a_plugin_that_fails_has_a_reason(tmp_path: Path, text: str, reason: str) -> None:
    program(tmp_path, text)
    assert reason in await failure(access_of(tmp_path))


async def test_what_a_plugin_writes_to_standard_error_is_logged_once_and_not_published(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    program(tmp_path, "echo 'not logged in\x1b[31m' >&2; exit 3")
    authenticator = Authenticator(5.0)
    for _ in range(2):
        with pytest.raises(BackendLost) as lost:
            await authenticator.authenticated(access_of(tmp_path))
        assert "logged in" not in str(lost.value)
    (record,) = caplog.records
    assert record.getMessage() == r"the plugin 'get-token' wrote: not logged in\x1b[31m"


async def test_a_plugin_has_a_bounded_time(tmp_path: Path) -> None:
    program(tmp_path, "sleep 600")
    assert "no result within 0.3 s" in await failure(access_of(tmp_path), 0.3)


async def test_a_plugin_that_is_missing_has_a_hint(tmp_path: Path) -> None:
    hint = "see https://example.org"
    assert "no program" in await failure(access_of(tmp_path))
    access = access_of(tmp_path, command="get-token", installHint=hint)
    text = await failure(access)
    assert f"in PATH={os.environ['PATH']}; install it: {hint}; use the token" in text


async def test_credentials_that_have_expired_already_are_refused(tmp_path: Path) -> None:
    expired = response(expirationTimestamp="2020-01-01T00:00:00Z")
    program(tmp_path, printing(tmp_path, expired))
    assert "its credentials have expired already" in await failure(access_of(tmp_path))


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda one: one.update(kind="Pod"), "not an ExecCredential"),
        (lambda one: one.update(apiVersion=V1BETA1), "another version"),
        (lambda one: one.update(status={}), "neither a token nor a client certificate"),
        (lambda one: one.update(status=[SECRET]), "has neither a token nor"),
        (lambda one: one["status"].update(token="a\nb"), "status.token: not a token"),
        (lambda one: one["status"].update(clientKeyData="x"), "status.clientKeyData: not PEM"),
        (lambda one: one["status"].update(clientKeyData="\ud800"), "clientKeyData: not PEM"),
        (
            lambda one: one["status"].update(clientKeyData="-----BEGIN A-----\n-----END A-----"),
            "clientCertificateData and clientKeyData go together",
        ),
        (
            lambda one: one["status"].update(expirationTimestamp="soon"),
            "status.expirationTimestamp: not a time",
        ),
    ],
)
def test_a_response_that_is_not_valid_is_refused_without_its_content(
    change: Callable[[Any], None], reason: str
) -> None:
    value = response()
    change(value)
    with pytest.raises(BadInput, match=reason) as raised:
        parse_credential(json.dumps(value).encode(), V1)
    assert SECRET not in str(raised.value)


@pytest.mark.parametrize("output", [b"", b"[]", b"\xff", b"[" * 100_000, b"null"])
def test_output_of_another_form_is_refused(output: bytes) -> None:
    with pytest.raises(BadInput, match="its output is not"):
        parse_credential(output, V1)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"command": ""}, "exec: command: not a program"),
        ({"command": "a\nb"}, "exec: command: not a program"),
        ({"apiVersion": "client.authentication.k8s.io/v1alpha1"}, "exec: apiVersion: "),
        ({"interactiveMode": "Maybe"}, "exec: interactiveMode: 'Maybe' is not one of Never"),
        (
            {"interactiveMode": "Always"},
            "the plugin 'get-token' needs a terminal, which the agent does not have; use the token",
        ),
        ({"args": "--all"}, "exec: args: not a list"),
        ({"args": ["a\0b"]}, "exec: args: not a text"),
        ({"args": [1]}, "exec: args: not a text"),
        ({"args": ["a"] * 65}, "exec: args: not a list of at most 64 texts"),
        ({"env": [{"name": "A=B", "value": ""}]}, "exec: env: not a variable"),
        ({"env": [{"name": "A", "value": "\ud800"}]}, "exec: env: not a variable"),
        ({"user": {"token": "a"}}, "exec and token exclude each other"),
        ({"cluster": {"server": "http://x"}}, "credentials need a server with https"),
    ],
)
def test_a_plugin_that_can_not_work_is_refused(
    tmp_path: Path, changes: dict[str, Any], reason: str
) -> None:
    with pytest.raises(BackendLost) as raised:
        access_of(tmp_path, **changes)
    assert reason in str(raised.value)


@pytest.mark.parametrize("mode", [0o620, 0o602, 0o666])
def test_a_file_that_others_may_change_runs_no_plugin(tmp_path: Path, mode: int) -> None:
    path = written(tmp_path)
    path.chmod(mode)
    with pytest.raises(BackendLost, match="other users may change the file; run chown root"):
        read_kubeconfig(str(path), "")


def test_a_file_of_another_user_runs_no_plugin(tmp_path: Path) -> None:
    if os.geteuid():
        pytest.skip("only root can give a file away")
    path = written(tmp_path)
    os.chown(path, 1234, 1234)
    with pytest.raises(BackendLost, match="other users may change the file"):
        read_kubeconfig(str(path), "")
