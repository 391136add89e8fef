"""A fake cluster whose credentials a plugin gives: when they expire, and when they are refused."""

import json
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from koi_agent.core.events import BackendState
from tests.runtimes.fake_kubernetes import TOKEN, FakeKubernetes
from tests.runtimes.followed import eventually
from tests.runtimes.followed_kubernetes import (
    FollowedKubernetes,
    following,
    is_synced,
    started,
    write_kubeconfig,
)
from tests.unit.certificates import authority

VERSION = "client.authentication.k8s.io/v1"


class Plugin:
    """A program that writes a response which a test can replace, and counts its runs."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        path = folder / "get-token"
        path.write_text(f"#!/bin/sh\necho run >>{folder}/runs\nexec cat {folder}/response\n")
        path.chmod(0o755)

    @property
    def runs(self) -> int:
        path = self._folder / "runs"
        return len(path.read_text().split()) if path.exists() else 0

    def respond(self, *, seconds: float = 0, **status: Any) -> None:
        """Respond with credentials, which are valid for some seconds."""
        if seconds:
            expires = datetime.fromtimestamp(time.time() + seconds, UTC)
            status["expirationTimestamp"] = expires.strftime("%Y-%m-%dT%H:%M:%SZ")
        value = {"apiVersion": VERSION, "kind": "ExecCredential", "status": status}
        new = self._folder / "response.new"
        new.write_text(json.dumps(value))
        new.replace(self._folder / "response")


def followed(fake: FakeKubernetes, folder: Path) -> FollowedKubernetes:
    path = write_kubeconfig(folder, fake.port)
    config = json.loads(path.read_text())
    plugin = {"apiVersion": VERSION, "command": "./get-token", "interactiveMode": "Never"}
    config["users"][0]["user"] = {"exec": plugin}
    path.write_text(json.dumps(config))
    return FollowedKubernetes(fake, path)


async def test_a_plugin_runs_once_for_all_requests_and_again_at_the_end(tmp_path: Path) -> None:
    plugin = Plugin(tmp_path)
    plugin.respond(token=TOKEN, seconds=3)
    _, tls = authority(tmp_path, "127.0.0.1")
    async with FakeKubernetes(tls) as fake:
        server = followed(fake, tmp_path)
        async with following(server):
            started(server.cluster)
            await server.agreed()
            fake.tokens.add("second")
            plugin.respond(token="second", seconds=3600)
            await eventually(lambda: plugin.runs > 1, lambda: str(server.status), 60)
            fake.tokens.remove(TOKEN)
            started(server.cluster)
            await server.agreed()
            assert plugin.runs == 2
            assert server.status.reconnects == 0


async def test_a_plugin_runs_again_when_its_token_is_refused(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    plugin = Plugin(tmp_path)
    plugin.respond(token="token-of-before")
    _, tls = authority(tmp_path, "127.0.0.1")
    async with FakeKubernetes(tls) as fake:
        server = followed(fake, tmp_path)
        async with following(server, settled=False):
            await eventually(lambda: plugin.runs > 1, lambda: str(server.status), 60)
            await eventually(lambda: "not accepted" in server.status.last_error, "no reason")
            plugin.respond(token=TOKEN)
            await is_synced(server)
            before = plugin.runs
            started(server.cluster)
            await server.agreed()
            assert plugin.runs == before
            assert_hidden(["token-of-before", TOKEN], server, caplog)


async def test_a_plugin_that_fails_is_the_reason_of_the_backend(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    plugin = Plugin(tmp_path)
    _, tls = authority(tmp_path, "127.0.0.1")
    async with FakeKubernetes(tls) as fake:
        server = followed(fake, tmp_path)
        async with following(server, settled=False):
            text = "the plugin 'get-token': exit status 1, and the log has what it wrote"
            await eventually(lambda: text in server.status.last_error, lambda: str(server.status))
            assert server.status.last_error.endswith("; use the token of a service account")
            plugin.respond(token=TOKEN)
            await is_synced(server)
            assert_hidden([TOKEN], server, caplog)


def assert_hidden(
    secrets: Sequence[str], server: FollowedKubernetes, caplog: pytest.LogCaptureFixture
) -> None:
    """Check that no secret is in a log or in the status."""
    text = f"{caplog.text}{server.status}{server.events}"
    assert not [one for one in secrets if one in text]


async def test_a_client_certificate_is_replaced_with_a_new_connection(tmp_path: Path) -> None:
    plugin = Plugin(tmp_path)
    _, tls = authority(tmp_path, "127.0.0.1")
    pair = {
        "clientCertificateData": (tmp_path / "certificate.pem").read_text(),
        "clientKeyData": (tmp_path / "key.pem").read_text(),
    }
    plugin.respond(token=TOKEN, **pair, seconds=3)
    other = tmp_path / "other"
    other.mkdir()
    authority(other, "127.0.0.2")
    async with FakeKubernetes(tls) as fake:
        server = followed(fake, tmp_path)
        async with following(server):
            assert server.status.state is BackendState.SYNCED
            pair = {
                "clientCertificateData": (other / "certificate.pem").read_text(),
                "clientKeyData": (other / "key.pem").read_text(),
            }
            plugin.respond(token=TOKEN, **pair, seconds=3600)
            await eventually(lambda: server.status.reconnects == 1, lambda: str(server.status), 60)
            await is_synced(server)
            assert plugin.runs == 2
            started(server.cluster)
            await server.agreed()
