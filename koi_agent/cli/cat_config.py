"""``koi-runtime cat-config``: the settings of the files, and the origin of each.

These are the settings of an agent that is started now. If an agent runs, it is asked for the
settings in force, and what differs is marked. The output is a valid configuration file.
"""

import os
from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from typing import Any

from koi_agent.cli import in_force, records
from koi_agent.cli.arguments import Arguments
from koi_agent.cli.output import Output, Style, complain
from koi_agent.config import Flags, Loaded, Origin, Setting, load
from koi_agent.core.text import printable


def act(arguments: Arguments, output: Output) -> int:
    """Print the configuration; raise ``ConfigError`` if it is invalid."""
    loaded = load(Flags(scope=arguments.agent), os.environ)
    manager = in_force.ask(arguments.agent)
    running = in_force.settings(manager) if manager else None
    if output.mode != "off":
        output.json([record(setting, running) for setting in loaded.settings])
    else:
        output.write_blocks("\n".join(block) for block in blocks(loaded, output, running))
    output.flush()
    for warning in loaded.warnings:
        complain(warning)
    if error := records.text(manager or {}, "ReloadError"):
        complain(f"the last reload was refused: {error}")
    return 0


def blocks(
    loaded: Loaded, output: Output, running: in_force.Values | None
) -> Iterator[Iterable[str]]:
    """Yield the lines of each block: the files that were read, and then each section.

    ``running`` are the settings in force, or ``None`` if they are not known.
    """
    differing = in_force.differing(in_force.of_files(loaded), running) if running else []
    head = [*loaded.files, *([_summary(differing)] if running else [])]
    if head and output.legend:
        yield [comment(line, output) for line in head]
    for section, settings in groupby(loaded.settings, key=lambda setting: setting.section):
        lines = [output.styled(f"[{section}]", Style.HEADER)]
        for setting in settings:
            key = in_force.place(setting)
            origin = str(setting.origin)
            if running and key in differing:
                origin = f"{origin}: not in force; in force: {in_force.text(key, running[key])}"
            lines += [comment(origin, output), f"{setting.key}={setting.value}"]
        yield lines


def _summary(differing: Sequence[in_force.Place]) -> str:
    """Return whether the settings are in force in the running agent, as a comment."""
    if not differing:
        return "All settings are in force."
    keys = ", ".join(f"[{section}] {key}=" for section, key in differing)
    return f"In force, except for: {keys}"


def comment(text: str, output: Output) -> str:
    return output.styled(f"# {printable(text)}", Style.GREY)


def record(setting: Setting, running: in_force.Values | None) -> dict[str, Any]:
    """Return a setting; ``in_force`` are the values that the agent has, ``None`` if not known."""
    values = (running or {}).get(in_force.place(setting))
    return {
        "section": setting.section,
        "key": setting.key,
        "value": setting.value,
        "origin": origin_record(setting.origin),
        "in_force": values and [value for value, _ in values],
    }


def origin_record(origin: Origin) -> dict[str, Any] | str:
    if origin.file:
        return {"file": origin.file, "line": origin.line}
    return {"variable": origin.variable} if origin.variable else "default"
