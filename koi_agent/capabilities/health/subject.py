"""An instance that is checked, and the results of its last checks."""

import asyncio
import time
from dataclasses import dataclass

from koi_agent.capabilities.health.checks import HealthCheck
from koi_agent.core.events import CheckStatus
from koi_agent.core.instance import Health
from koi_agent.core.key import Key


@dataclass(slots=True)
class Subject:
    """An instance that is checked, and its last results.

    ``turn`` is the number of its entry in the prober's schedule, 0 while its check is due or runs.
    """

    key: Key
    check: HealthCheck
    health: Health = Health.STARTING
    message: str = ""
    failures: int = 0
    last_checked: int = 0
    last_ok: int = 0
    turn: int = 0
    probing: asyncio.Task[None] | None = None

    def status(self) -> CheckStatus:
        """Return the present status, for the registry."""
        return CheckStatus(
            kind=self.check.kind,
            target=self.check.target,
            interval=self.check.interval,
            timeout=self.check.timeout,
            health=self.health,
            last_checked=self.last_checked,
            last_ok=self.last_ok,
            message=self.message,
        )

    def count(self, message: str, *, passed: bool) -> None:
        """Store a result."""
        self.last_checked = time.time_ns() // 1000
        self.message = message
        if passed:
            self.last_ok = self.last_checked
            self.failures = 0
            self.health = Health.HEALTHY
            return
        self.failures += 1
        if self.failures >= self.check.unhealthy_after:
            self.health = Health.UNHEALTHY
