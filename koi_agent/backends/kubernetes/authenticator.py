"""Runs the plugin of a kubeconfig file, and keeps its credentials until they expire."""

import asyncio
import logging
import os
import shutil
from collections.abc import Mapping
from dataclasses import replace
from typing import Final

from koi_agent.backends.kubernetes.access import Access
from koi_agent.backends.kubernetes.plugin import (
    INFORMATION,
    TOKEN_WAY,
    Credential,
    Plugin,
    parse_credential,
)
from koi_agent.core.errors import BackendLost, BadInput
from koi_agent.core.text import printable
from koi_agent.host.programs import ProgramFailed, Result, inherited, run

log = logging.getLogger(__name__)

MAX_OUTPUT: Final = 256 * 1024
_MAX_REASON: Final = 300
_SANDBOX: Final = "it has no terminal, and runs in the sandbox of the service"


class Authenticator:
    """Gives the credentials of a plugin to each connection, over all of which it is kept.

    A plugin has ``seconds`` to end. It runs again after its credentials have expired, or when the
    server refuses them.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._plugin: Plugin | None = None
        self._credential: Credential | None = None
        self._running = asyncio.Lock()
        self._written = ""

    async def authenticated(self, access: Access) -> Access:
        """Return an access with the credentials of its plugin, if any; raise ``BackendLost``."""
        if access.plugin is None:
            return access
        credential = await self._current(access.plugin, access.origin)
        return replace(
            access,
            token=credential.token,
            certificate=credential.certificate,
            certificate_key=credential.certificate_key,
        )

    async def headers(self, access: Access) -> Mapping[str, str]:
        """Return the headers of a request with an authenticated access; raise ``BackendLost``."""
        if access.plugin is None:
            return access.headers()
        newer = await self.authenticated(access)
        if newer.certificate != access.certificate:
            # The connections that are open have the one before.
            raise BackendLost(f"{access.origin}: the client certificate is replaced")
        return newer.headers()

    def reject(self) -> None:
        """Forget the credentials: the server does not accept them."""
        self._credential = None

    async def _current(self, plugin: Plugin, origin: str) -> Credential:
        """Return credentials that have not expired; several requests share one run."""
        async with self._running:
            if self._plugin != plugin:
                self._plugin, self._credential = plugin, None
            if self._credential is None or not self._credential.is_valid:
                self._credential = None
                try:
                    self._credential = await self._run(plugin)
                except (BadInput, ProgramFailed) as error:
                    text = f"{origin}: the plugin {plugin.name}: {error}; {TOKEN_WAY}"
                    raise BackendLost(text) from error
            return self._credential

    async def _run(self, plugin: Plugin) -> Credential:
        """Run a plugin; raise ``BadInput`` or ``ProgramFailed``."""
        environment = {
            **inherited(os.environ),
            **dict(plugin.variables),
            INFORMATION: plugin.information,
        }
        program = find_program(plugin, environment.get("PATH", os.defpath))
        result = await run(
            (program, *plugin.arguments), environment, seconds=self._seconds, most=MAX_OUTPUT
        )
        if result.status:
            raise BadInput(f"{self._failure(plugin, result)}; {_SANDBOX}")
        credential = parse_credential(result.output, plugin.version)
        if not credential.is_valid:
            raise BadInput("its credentials have expired already")
        return credential

    def _failure(self, plugin: Plugin, result: Result) -> str:
        """Return how a program has failed. What it wrote may be secret: only the log has it."""
        by = f"signal {-result.status}" if result.status < 0 else f"exit status {result.status}"
        written = " ".join(result.errors.decode("utf-8", "replace").split())[-_MAX_REASON:]
        if not written:
            return by
        if written != self._written:
            self._written = written
            log.warning("the plugin %s wrote: %s", plugin.name, printable(written, _MAX_REASON))
        return f"{by}, and the log has what it wrote"


def find_program(plugin: Plugin, path: str) -> str:
    """Return the path of a plugin's program; raise ``BadInput`` with the way to install it."""
    if found := shutil.which(plugin.command, path=path):
        return found
    place = "" if "/" in plugin.command else f" in PATH={path}"
    hint = f": {plugin.hint}" if plugin.hint else ""
    raise BadInput(f"no program {printable(plugin.command, 100)}{place}; install it{hint}")
