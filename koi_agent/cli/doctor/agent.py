"""Checks of the agent itself, once it is known to have its name."""

import os
import pwd
from collections.abc import Sequence

from koi_agent import __version__
from koi_agent.cli import formatting, records
from koi_agent.cli.client import Client
from koi_agent.cli.doctor.findings import Bus, Case, Finding, doubtful, fine, wrong
from koi_agent.core.dbus_names import BACKEND, MANAGER, NAME, ROOT


async def identity(case: Case, bus: Bus) -> Sequence[Finding]:
    """See whose process the agent is."""
    uid = await bus.link.unix_user(bus.owner)
    said = f"{NAME} is served by {_user(uid)}"
    if case.scope == "system" and uid == 0:
        return [doubtful(said, "let koi-runtime.service run it, as a user of its own")]
    if case.scope == "user" and uid != os.getuid():
        return [wrong(f"{said}, not by you")]
    return [fine(said)]


def _user(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"uid {uid}"


async def state(case: Case, bus: Bus) -> Sequence[Finding]:
    """See how the agent is, and that it is of this command's version."""
    shown = await Client(bus.link).properties(ROOT, MANAGER)
    word, version = records.text(shown, "State"), records.text(shown, "Version")
    count = records.number(shown, "InstanceCount")
    said = f"{word}, {_instances(count)}"
    found = [fine(said) if word == "running" else doubtful(said)]
    if version != __version__:
        text = f"the agent is of version {version}, this command of {__version__}"
        found.append(doubtful(text, f"{case.systemctl} restart koi-runtime"))
    return found


def _instances(count: int) -> str:
    return f"{count} instance{'' if count == 1 else 's'}"


async def backends(case: Case, bus: Bus) -> Sequence[Finding]:
    """See how the agent gets along with each runtime."""
    service = Client(bus.link)
    paths = await service.backend_paths()
    if not paths:
        return [doubtful("none is followed", "koi-runtime cat-config says why: [Runtime] Backends")]
    found: list[Finding] = []
    for path in paths:
        found += of_backend(records.backend(await service.properties(path, BACKEND)), case)
    return found


def of_backend(backend: formatting.Record, case: Case) -> Sequence[Finding]:
    """Judge a backend; one whose runtime is not on this host is as it should be."""
    name, error = backend["name"], backend["last_error"]
    because = f": {error}" if error else ""
    last = formatting.ago(backend["last_sync"])
    listed = f"last listed {last}" if last else "never listed"
    match backend["state"]:
        case "synced":
            found = [fine(f"{name}: {_instances(backend['instances'])}, {listed}")]
        case "absent":
            found = [fine(f"{name}: absent{because}")]
        case "stale" | "failed" as state:
            found = [wrong(f"{name}: {state}, {listed}{because}", case.journal)]
        case state:
            found = [doubtful(f"{name}: {state}, {listed}{because}")]
    if drift := backend["drift"]:
        text = f"{name}: {drift} changes were seen that no event told of, which is a bug"
        found.append(doubtful(text, f"report it with {case.journal}"))
    return found
