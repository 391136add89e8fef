"""An agent loads what its configuration and its instances need: modules take time and memory."""

import subprocess
import sys

import pytest

UNNEEDED = (
    "aiodocker",
    "aiohttp",
    "dbus_next",
    "dns",
    "hashlib",
    "platform",
    "xml",
    "yaml",
    "koi_agent.backends.docker",
    "koi_agent.backends.kubernetes",
    "koi_agent.backends.systemd",
    "koi_agent.capabilities.dns.hook.session",
    "koi_agent.capabilities.dns.hosts",
    "koi_agent.capabilities.dns.responder.session",
    "koi_agent.capabilities.dns.static.session",
    "koi_agent.capabilities.dns.update.session",
    "koi_agent.capabilities.dns.webhook.session",
    "koi_agent.capabilities.health.prober",
    "koi_agent.capabilities.mdns.avahi",
    "koi_agent.capabilities.mdns.resolved",
    "koi_agent.capabilities.proxy.caddy",
    "koi_agent.capabilities.proxy.traefik_file",
    "koi_agent.services.handover",
    "koi_agent.services.hook",
    "koi_agent.host.koi_daemon.session",
)
"""What an agent loads only when it follows a backend, or when a first record is wanted."""
PROGRAM = """
import sys
import koi_agent.process
{use}
print(*sys.modules)
"""


def loaded(use: str = "") -> set[str]:
    """Return the modules of an agent that uses a part."""
    argv = [sys.executable, "-c", PROGRAM.format(use=use)]
    done = subprocess.run(argv, capture_output=True, text=True, check=True)
    return set(done.stdout.split())


def test_agent_starts_without_the_parts_that_it_may_never_need() -> None:
    modules = loaded()
    assert "koi_agent.agent" in modules
    assert not [one for one in modules if one.startswith(UNNEEDED)]


@pytest.mark.parametrize(
    ("provider", "module"),
    [("Avahi", "mdns.avahi.session"), ("Resolved", "mdns.resolved")],
)
def test_session_is_loaded_when_it_is_opened(provider: str, module: str) -> None:
    use = f"from koi_agent.capabilities.mdns import providers; providers.{provider}('').session(0)"
    assert f"koi_agent.capabilities.{module}" in loaded(use)


def test_engine_is_followed_without_the_libraries_that_only_some_inspections_need() -> None:
    modules = loaded("from koi_agent.backends.docker import Docker, api, session")
    assert "koi_agent.backends.docker.tracker" in modules
    assert not modules & {"aiodocker", "aiohttp"}


def test_host_without_a_cluster_loads_nothing_that_speaks_with_one() -> None:
    use = (
        "from koi_agent.backends.kubernetes import Kubernetes, credentials\n"
        "from koi_agent.config import KubernetesConfig\n"
        "from koi_agent.host.listeners import ListenerTable\n"
        "found = credentials.find_credentials('', {})\n"
        "settings = KubernetesConfig(kubeconfig='', context='', namespaces=(), node='')\n"
        "import asyncio\n"
        "async def attempt():\n"
        "    backend = Kubernetes('kubernetes', settings, found, 'host', ListenerTable())\n"
        "    async with backend.session(print): pass\n"
        "try: asyncio.run(attempt())\n"
        "except Exception as error: assert type(error).__name__ == 'BackendAbsent', error\n"
        "else: raise AssertionError('a session without credentials')\n"
    )
    modules = loaded(use)
    assert "koi_agent.backends.kubernetes.credentials" in modules
    assert not modules & {"aiohttp", "yaml", "koi_agent.backends.kubernetes.session"}
