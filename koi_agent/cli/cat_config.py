"""``koi-runtime cat-config``: the settings in force, and the origin of each.

The agent is not contacted: these are the settings of an agent that is started now. The output is
a valid configuration file with the same settings.
"""

import os
from collections.abc import Iterable, Iterator
from itertools import groupby
from typing import Any

from koi_agent.cli.arguments import Arguments
from koi_agent.cli.output import Output, Style, complain
from koi_agent.config import Flags, Loaded, Origin, Setting, load
from koi_agent.core.text import printable


def act(arguments: Arguments, output: Output) -> int:
    """Print the configuration; raise ``ConfigError`` if it is invalid."""
    loaded = load(Flags(scope=arguments.agent), os.environ)
    if output.mode != "off":
        output.json([record(setting) for setting in loaded.settings])
    else:
        output.write_blocks("\n".join(block) for block in blocks(loaded, output))
    output.flush()
    for warning in loaded.warnings:
        complain(warning)
    return 0


def blocks(loaded: Loaded, output: Output) -> Iterator[Iterable[str]]:
    """Yield the lines of each block: the files that were read, and then each section."""
    if loaded.files and output.legend:
        yield [comment(file, output) for file in loaded.files]
    for section, settings in groupby(loaded.settings, key=lambda setting: setting.section):
        lines = [output.styled(f"[{section}]", Style.HEADER)]
        for setting in settings:
            lines += [comment(str(setting.origin), output), f"{setting.key}={setting.value}"]
        yield lines


def comment(text: str, output: Output) -> str:
    return output.styled(f"# {printable(text)}", Style.GREY)


def record(setting: Setting) -> dict[str, Any]:
    return {
        "section": setting.section,
        "key": setting.key,
        "value": setting.value,
        "origin": origin_record(setting.origin),
    }


def origin_record(origin: Origin) -> dict[str, Any] | str:
    if origin.file:
        return {"file": origin.file, "line": origin.line}
    return {"variable": origin.variable} if origin.variable else "default"
