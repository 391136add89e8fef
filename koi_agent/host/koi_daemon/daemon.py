"""The requests to one run of a Koi daemon. A daemon that restarts has a new token.

Errors come in three forms: JSON with ``error`` and ``message``, with any status; plain text, for a
request that its HTTP library refuses; and no response.
"""

import json
import logging
import os
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import quote, urlsplit

from koi_agent.core.errors import KoiError, ProviderLost
from koi_agent.core.text import printable
from koi_agent.host.http_client import Client, Limits, RequestFailed, Response, parsed
from koi_agent.host.koi_daemon.credential import Credential, NoCredential, Source
from koi_agent.host.sock_diag import owners

log = logging.getLogger(__name__)

REQUEST: Final = Limits(seconds=10.0, body=2**20)
LISTING: Final = Limits(seconds=30.0, body=32 * 2**20)
PROBE: Final = Limits(seconds=5.0, body=2**16)
_LONGEST_REASON: Final = 200
_UNAVAILABLE: Final = 503
"""The status of a capability that is turned off, and of a daemon that is stopping."""
_NO_REGISTRATION: Final = "/v1/mdns/heartbeat/none"
"""A request that changes nothing: no registration has this identifier, with or without mDNS."""


class Refused(KoiError):
    """The daemon did not do what was requested; ``status`` is that of its response."""

    def __init__(self, reason: str, status: int) -> None:
        super().__init__(reason)
        self.status = status


class Uncertain(KoiError):
    """There is no usable response: the daemon may do what was requested, now or later."""


class Daemon:
    """One run of a daemon. All methods raise ``ProviderLost`` if it can't be used."""

    def __init__(self, client: Client, source: Source, credential: Credential) -> None:
        self._client = client
        self.source = source
        self.credential = credential

    def lost(self, reason: str) -> ProviderLost:
        """Return the error for a daemon that can't be used."""
        return ProviderLost(f"{self.source.name}: {reason}")

    def not_running(self) -> ProviderLost:
        """Return the error for a daemon that accepts no connection."""
        return self.lost(f"nothing listens at {self.credential.endpoint}")

    async def get(self, path: str) -> Any:
        """Return the JSON at a path."""
        try:
            response = await self._request("GET", path, LISTING)
            return _checked(response)
        except (Refused, Uncertain) as error:
            raise self.lost(str(error)) from error

    async def send(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> Any:
        """Send a change; return its response. Raises ``Refused`` and ``Uncertain``."""
        response = await self._request(method, path, REQUEST, body)
        if response.status == 401:
            raise self.lost(self._reason_for_401())
        try:
            return _checked(response)
        except Refused as refused:
            if refused.status == _UNAVAILABLE:
                raise self.lost(str(refused)) from refused
            raise

    async def check(self) -> None:
        """Check that the daemon answers, and that the token is valid."""
        self.check_user()
        try:
            health = await self._client.request("GET", "/healthz", PROBE)
        except RequestFailed as failed:
            raise (self.lost(str(failed)) if failed.was_sent else self.not_running()) from failed
        if health.status != 200:
            raise self.lost(f"it responds {health.status} at /healthz: not a Koi daemon")
        try:
            response = await self._request("PUT", _NO_REGISTRATION, REQUEST)
        except Uncertain as error:
            raise self.lost(str(error)) from error
        if response.status == 401:  # other statuses follow the check of the token
            raise self.lost(self._reason_for_401())

    def check_user(self) -> None:
        """Check that no other user listens at the endpoint."""
        if (other := _other_user(self.credential.endpoint)) is not None:
            where = f"the listener at {self.credential.endpoint}"
            raise self.lost(f"{where} belongs to another user, {other}")

    async def _request(
        self, method: str, path: str, limits: Limits, body: Mapping[str, Any] | None = None
    ) -> Response:
        headers = {"x-koi-token": self.credential.token}
        data = None
        if body is not None:
            headers["Content-Type"] = "application/json"
            data = json.dumps(body).encode("ascii")
        try:
            return await self._client.request(method, path, limits, headers=headers, body=data)
        except RequestFailed as failed:
            if not failed.was_sent:
                raise self.not_running() from failed
            raise Uncertain(f"no usable response: {failed}") from failed

    def _reason_for_401(self) -> str:
        """Return why a token is refused: it may belong to an earlier run."""
        if self.has_other_credential():
            return "it has started again"
        return "it has started again, or refuses the token"

    def has_other_credential(self) -> bool:
        """Return True if the credential has changed: the daemon has started again."""
        try:
            return self.source.read() != self.credential
        except NoCredential:
            return False


def _other_user(endpoint: str) -> int | None:
    """Return the user at an endpoint if it is not root, and not that of this process.

    After a daemon has ended, its breadcrumb stays, and any user of this host can use its port.
    If the kernel does not list sockets, no user is returned.
    """
    parts = urlsplit(endpoint)
    try:
        found = owners(parts.hostname or "", parts.port or 0)
    except OSError as error:
        log.debug("sock_diag: the user at %s is not known: %s", endpoint, error)
        return None
    return next(iter(found - {0, os.geteuid()}), None)


def segment(text: str) -> str:
    """Return a text as one part of a path."""
    return quote(text, safe="", errors="replace")


def _checked(response: Response) -> Any:
    """Return the JSON of a success; raise ``Refused``, or ``Uncertain`` if it can't be read."""
    is_success = 200 <= response.status < 300
    document: Any = None
    try:
        document = parsed(response.body)
    except RequestFailed as failed:
        if is_success:
            raise Uncertain(f"it responds {response.status}, and {failed}") from failed
    error = _error(document)
    if is_success and not error:
        return document
    text = error or response.body.decode("utf-8", "replace")
    shown = printable(" ".join(text.split()), _LONGEST_REASON)
    raise Refused(f"it responds {response.status}{': ' if shown else ''}{shown}", response.status)


def _error(document: object) -> str:
    """Return code and message of an error, "" for a success."""
    if not isinstance(document, dict) or not document.get("error"):
        return ""
    parts = document["error"], document.get("message")
    return ": ".join(one for one in parts if isinstance(one, str)) or "an error without a text"
