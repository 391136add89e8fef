"""An agent loads what its configuration and its instances need: modules take time and memory."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

UNNEEDED = (
    "aiodocker",
    "aiohttp",
    "dbus_next",
    "hashlib",
    "platform",
    "xml",
    "koi_agent.backends.docker",
    "koi_agent.backends.systemd",
    "koi_agent.capabilities.health.prober",
    "koi_agent.capabilities.mdns.avahi",
    "koi_agent.capabilities.mdns.resolved",
)
"""What an agent loads only when it follows a backend, or when a first record is wanted."""
AUTHORITY = """
-----BEGIN CERTIFICATE-----
MIIBgDCCASWgAwIBAgIUMgqyGJCatNeBfxZxDJa0knMvVSwwCgYIKoZIzj0EAwIw
FDESMBAGA1UEAwwJYXV0aG9yaXR5MCAXDTI2MTEyOTE1MjcxN1oYDzIxMjYxMTA1
MTUyNzE3WjAUMRIwEAYDVQQDDAlhdXRob3JpdHkwWTATBgcqhkjOPQIBBggqhkjO
PQMBBwNCAAQQSJTMg9SvGA4zOxLyiAN9OKiJd4myXZ9Jj1rGVK+yiIt0AB2dVCvj
JNRzX41vilTtPGRttN9eO2jwstT24caZo1MwUTAdBgNVHQ4EFgQUjHZV91FuJMbz
p9RvcG7rGTj6IFYwHwYDVR0jBBgwFoAUjHZV91FuJMbzp9RvcG7rGTj6IFYwDwYD
VR0TAQH/BAUwAwEB/zAKBggqhkjOPQQDAgNJADBGAiEAktnQmvtu8TYZC1ni7ali
fFtcUmJ34OsvshoZeqdATQQCIQDv3Aiadc3ai3GsvNlqKxUK4tbCfiADwTTlML4b
0bN8ww==
-----END CERTIFICATE-----
"""
"""The certificate of an authority, by ``openssl req -x509``."""


def printed(program: str, **environment: str) -> str:
    """Return what a program prints in an interpreter of its own."""
    argv = [sys.executable, "-c", program]
    env = os.environ | environment
    return subprocess.run(argv, stdout=subprocess.PIPE, text=True, check=True, env=env).stdout


def loaded(use: str = "") -> set[str]:
    """Return the modules of an agent that uses a part."""
    return set(printed(f"import sys, koi_agent.process\n{use}\nprint(*sys.modules)").split())


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


def test_aiohttp_reads_no_certificates_of_authorities(tmp_path: Path) -> None:
    authority = tmp_path / "authority.pem"
    authority.write_text(AUTHORITY)
    known = "import ssl; print(ssl.create_default_context().cert_store_stats()['x509_ca'])"
    trust = "import os, koi_agent.process; koi_agent.process.trust_no_authority(os.environ)"
    environment = {"SSL_CERT_FILE": str(authority), "SSL_CERT_DIR": str(tmp_path)}
    assert printed(known, **environment) == "1\n"
    assert printed(f"{trust}\n{known}", **environment) == "0\n"
