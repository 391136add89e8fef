"""Checks of an agent that owns its name."""

import os
import pwd
from collections.abc import Sequence

from koi_agent import __version__
from koi_agent.cli import formatting, in_force, records, times
from koi_agent.cli.async_client import AsyncClient
from koi_agent.cli.doctor import machines
from koi_agent.cli.doctor.findings import Bus, Case, Finding, failure, ok, warning
from koi_agent.config import Flags, load
from koi_agent.core.dbus_names import BACKEND, MANAGER, NAME, ROOT

MOST_PROBLEMS = 10
"""Findings about unit files; further ones are only counted."""


async def identity(case: Case, bus: Bus) -> Sequence[Finding]:
    """Check the user that the agent runs as."""
    uid = await bus.link.unix_user(bus.owner)
    text = f"{NAME} is owned by {_user(uid)}"
    if case.scope == "system" and uid == 0:
        return [warning(text, "start koi-runtime.service, which has a user of its own")]
    if case.scope == "user" and uid != os.getuid():
        return [failure(f"{text}, not by the calling user")]
    return [ok(text)]


def _user(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"uid {uid}"


async def state(case: Case, bus: Bus) -> Sequence[Finding]:
    """Check the state of the agent, and that it has the version of this command."""
    manager = await AsyncClient(bus.link).properties(ROOT, MANAGER)
    word, version = records.text(manager, "State"), records.text(manager, "Version")
    count = records.number(manager, "InstanceCount")
    text = f"{word}, {_instances(count)}"
    found = [ok(text) if word == "running" else warning(text)]
    if version != __version__:
        text = f"the agent has version {version}, this command has version {__version__}"
        found.append(warning(text, f"{case.systemctl} restart koi-runtime"))
    return found


async def reload(case: Case, bus: Bus) -> Sequence[Finding]:
    """Check that the last reload succeeded, and that the settings of the files are in force."""
    manager = await AsyncClient(bus.link).properties(ROOT, MANAGER)
    advice = f"{case.systemctl} reload koi-runtime"
    if error := records.text(manager, "ReloadError"):
        text = f"the last reload was refused, the previous settings are in force: {error}"
        return [failure(text, f"correct it, then run {advice}")]
    running = in_force.settings(manager)
    if running is None:
        return []
    files = in_force.of_files(load(Flags(scope=case.scope), case.environment))
    differing = in_force.differing(files, running)
    if not differing:
        return [ok("the settings of the files are in force")]
    return [
        warning(
            f"[{key[0]}] {in_force.text(key, files[key])} is not in force;"
            f" in force: {in_force.text(key, running[key])}",
            advice,
        )
        for key in differing
    ]


async def unit_files(case: Case, bus: Bus) -> Sequence[Finding]:
    """Check that the agent could read the files of all units that it follows."""
    instances = await AsyncClient(bus.link).instances()
    texts = [
        f"{records.text(values, 'Backend')}:{records.text(values, 'Id')}: {problem}"
        for values in instances
        if records.text(values, "Backend") != machines.BACKEND
        for problem in records.items(values, "Problems")
    ]
    found = [warning(text, f"correct it, then run {case.reload_units}") for text in texts]
    if len(found) > MOST_PROBLEMS:
        more = f"{len(found) - MOST_PROBLEMS} more: koi-runtime list --columns=name,problems -q"
        return [*found[:MOST_PROBLEMS], warning(more)]
    return found or [ok("the agent can read the files of all units")]


def _instances(count: int) -> str:
    return f"{count} instance{'' if count == 1 else 's'}"


async def backends(case: Case, bus: Bus) -> Sequence[Finding]:
    """Check the state of each backend."""
    client = AsyncClient(bus.link)
    paths = await client.backend_paths()
    if not paths:
        advice = "check [Runtime] Backends= in the output of koi-runtime cat-config"
        return [warning("no backend is followed", advice)]
    found: list[Finding] = []
    for path in paths:
        found += of_backend(records.backend(await client.properties(path, BACKEND)), case)
    return found


def of_backend(backend: formatting.Record, case: Case) -> Sequence[Finding]:
    """Return the findings of one backend; an absent runtime is not a problem."""
    name, error = backend["name"], backend["last_error"]
    because = f": {error}" if error else ""
    last = times.ago(backend["last_sync"])
    listed = f"last listed {last}" if last else "never listed"
    match backend["state"]:
        case "synced":
            found = [ok(f"{name}: {_instances(backend['instances'])}, {listed}")]
        case "absent":
            found = [ok(f"{name}: absent{because}")]
        case "stale" | "failed" as state:
            found = [failure(f"{name}: {state}, {listed}{because}", case.journal)]
        case state:
            found = [warning(f"{name}: {state}, {listed}{because}")]
    if drift := backend["drift"]:
        text = f"{name}: drift is {drift}, which is a bug: changes without an event"
        found.append(warning(text, f"report it with the output of {case.journal}"))
    return found
