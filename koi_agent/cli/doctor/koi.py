"""The Koi daemon that gets names, routes, services and checks."""

from collections.abc import Sequence
from pathlib import Path
from shlex import quote
from typing import Final

from koi_agent.cli.doctor.findings import CREDENTIALS, Bus, Case, Finding, ok, warning
from koi_agent.cli.doctor.units import SYSTEMD, file_state
from koi_agent.config import Config, Flags, load
from koi_agent.core.errors import ProviderLost
from koi_agent.core.text import printable
from koi_agent.host.koi_daemon.credential import HANDED_OVER, NoCredential, Source, source_of
from koi_agent.host.koi_daemon.settings import koi_settings

WORD: Final = "koi"
BREADCRUMB: Final = "run/koi.endpoint"
"""The breadcrumb of a daemon that is a service of the system, below the root directory."""
PATH_UNIT: Final = "koi-runtime-koi.path"
RUNS: Final = ("enabled", "enabled-runtime")
"""The states of a unit file that starts with the agent."""
_HAND_OVER: Final = f"systemctl enable --now {PATH_UNIT}"


async def koi(case: Case, bus: Bus) -> Sequence[Finding]:
    """Check that a daemon is reached, and that it accepts the token."""
    config = load(Flags(scope=case.scope), case.environment).config
    if not _is_used(config):
        return [ok("no Koi daemon is configured")]
    environment = dict(case.environment)
    if case.scope == "system":
        environment.setdefault("CREDENTIALS_DIRECTORY", CREDENTIALS)
    source = source_of(koi_settings(config), environment)
    return [await checked(source, await advice_for(source, bus, case.host.root))]


def _is_used(config: Config) -> bool:
    words = config.capabilities
    named = {words.mdns, words.health, *words.dns, *words.proxy}
    return bool(config.koi.endpoint) or WORD in named


async def checked(source: Source, advice: str) -> Finding:
    """Check the daemon of a source; the advice is for a token that can't be read."""
    try:
        credential = source.read()
    except NoCredential as missing:
        is_denied = isinstance(_cause(missing), PermissionError)
        if is_denied and source.breadcrumb == HANDED_OVER:  # only root and the agent may read it
            return ok(f"{source.name}: token not read; run this as root to check the daemon")
        return warning(f"{source.name}: {printable(str(missing))}", advice)
    # aiohttp takes long to load, and few hosts have a Koi daemon.
    from koi_agent.host.http_client import client  # noqa: PLC0415
    from koi_agent.host.koi_daemon.daemon import Daemon  # noqa: PLC0415

    async with client(credential.endpoint) as opened:
        daemon = Daemon(opened, source, credential)
        try:
            await daemon.check()
        except ProviderLost as lost:
            is_token = "token" in str(lost)
            return warning(str(lost), advice if is_token else _status(source))
    return ok(f"the Koi daemon at {credential.endpoint} answers, and accepts the token")


def _cause(error: BaseException) -> BaseException:
    """Return the first error in a chain."""
    return _cause(error.__cause__) if error.__cause__ else error


async def advice_for(source: Source, bus: Bus, root: Path) -> str:
    """Return the command that makes a token readable on the host below ``root``."""
    if source.token_file:
        return f"koi token write {quote(source.token_file)}"
    if source.breadcrumb != HANDED_OVER:
        return "koi --daemon"
    if SYSTEMD in bus.names and await file_state(bus, PATH_UNIT) not in RUNS:
        return _HAND_OVER
    return _HAND_OVER if (root / BREADCRUMB).exists() else "systemctl start koi"


def _status(source: Source) -> str:
    """Return the command that shows why a daemon does not answer."""
    return "systemctl status koi" if source.breadcrumb == HANDED_OVER else "koi status"
