"""The webhook as an outlet: when it is on, and what a session needs before it opens."""

import asyncio
import ssl
from pathlib import Path

import pytest

from koi_agent.capabilities.dns import dns
from koi_agent.capabilities.dns.providers import Webhook
from koi_agent.capabilities.dns.webhook.settings import WebhookSettings
from koi_agent.config import Flags, load
from koi_agent.core.errors import ProviderLost
from tests.ports import free_port
from tests.unit.certificates import authority
from tests.unit.dns_zones import key, named
from tests.unit.webhook_provider import Provider, served


def provider(url: str) -> Webhook:
    return Webhook(WebhookSettings(scope="user", url=url, ttl=30, release_on_stop=True))


@pytest.fixture(autouse=True)
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STATE_DIRECTORY", str(tmp_path / "state"))


@pytest.mark.parametrize(
    ("text", "outlets"),
    [
        ("[DNS]\nWebhook=http://127.0.0.1:8888\n", {"dns webhook"}),
        ("[Capabilities]\nDNS=webhook\n", {"dns webhook"}),
        ("[Capabilities]\nDNS=off\n[DNS]\nWebhook=http://127.0.0.1:8888\n", set()),
        ("", set()),
    ],
)
def test_a_webhook_is_used_if_it_is_set(tmp_path: Path, text: str, outlets: set[str]) -> None:
    file = tmp_path / "koi-runtime" / "koi-runtime.conf"
    file.parent.mkdir()
    file.write_text(text)
    config = load(Flags(scope="user"), {"XDG_CONFIG_HOME": str(tmp_path)}).config
    assert set(dns().providers(config, lambda _: None)) == outlets


def test_what_is_missing_is_named() -> None:
    assert provider("").absence == "[DNS] Webhook= is not set"
    assert provider("http://127.0.0.1:1").absence == "the webhook was not reached yet"


async def test_a_session_is_open_from_the_start_if_names_may_be_left() -> None:
    webhook, written = Provider(), asyncio.Event()
    webhook.meanwhile = [lambda: None, written.set]  # after the mark and the address
    async with served(webhook) as url:
        known = [provider(url).is_always_open]
        async with provider(url).session(lambda *_: None) as session:
            await session.put(key("web"), [named("web", "web.internal", "192.0.2.1")])
            await written.wait()
            assert ("web.internal", "A") in webhook.held
        known += [provider(url).is_always_open]
    assert known == [False, True]
    assert not webhook.held


async def lost(url: str) -> str:
    with pytest.raises(ProviderLost) as caught:
        async with provider(url).session(lambda *_: None):
            pass
    return str(caught.value)


async def test_a_webhook_that_does_not_run_is_lost() -> None:
    url = f"http://127.0.0.1:{free_port()}"
    assert (await lost(url)).startswith(f"[DNS] Webhook={url}: Connect")


async def test_a_certificate_that_is_not_trusted_is_a_lost_webhook(tmp_path: Path) -> None:
    _, context = authority(tmp_path, "127.0.0.1")
    assert isinstance(context, ssl.SSLContext)
    server = await asyncio.start_server(
        lambda _, writer: writer.close(), "127.0.0.1", 0, ssl=context
    )
    async with server:
        port = server.sockets[0].getsockname()[1]
        assert "its certificate is not valid" in await lost(f"https://127.0.0.1:{port}")
