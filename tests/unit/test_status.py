"""The line that ``systemctl status`` shows."""

import pytest

from koi_agent.core.events import Absent, Change, Lost
from koi_agent.core.registry import Registry
from koi_agent.host.notify import Notifier
from koi_agent.publishers.status import StatusPublisher
from tests.unit.things import listing, unit

LISTED = listing("systemd", unit("a.service"))


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ([], "0 instances; docker: connecting; systemd: connecting"),
        ([LISTED], "1 instance: systemd 1; docker: connecting"),
        ([LISTED, Absent(backend="docker", reason="no socket")], "1 instance: systemd 1"),
        (
            [LISTED, Lost(backend="docker", reason="refused")],
            "1 instance: systemd 1; docker: failed",
        ),
        (
            [LISTED, Lost(backend="systemd", reason="gone"), Absent(backend="docker", reason="no")],
            "1 instance: systemd 1 (stale)",
        ),
    ],
)
def test_line_has_counts_and_problems(changes: list[Change], text: str) -> None:
    registry = Registry({"docker": "docker", "systemd": "systemd"})
    for change in changes:
        registry.apply(change, 1)
    assert StatusPublisher(registry, Notifier({})).text() == text
