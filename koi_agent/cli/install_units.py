"""``koi-runtime install-units``: the units of a user's agent that pip or pipx has installed.

What a wheel carries besides code stays below its own environment, where neither systemd nor the
bus looks for it, and names a command that is elsewhere.
"""

import asyncio
import os
import re
import stat
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Final

from koi_agent.bus.client import BUS, BUS_PATH
from koi_agent.cli.arguments import Arguments, Misuse
from koi_agent.cli.client import bus
from koi_agent.cli.output import Output
from koi_agent.config import scope
from koi_agent.core.dbus_names import NAME
from koi_agent.core.errors import KoiError
from koi_agent.core.text import printable

PLACES: Final = {
    "systemd/user/koi-runtime.service": ("XDG_CONFIG_HOME", ".config"),
    "systemd/user/koi-runtime.socket": ("XDG_CONFIG_HOME", ".config"),
    f"dbus-1/services/{NAME}.service": ("XDG_DATA_HOME", ".local/share"),
}
"""The files, as they lie in the environment, and below which of the user's folders they go."""
PACKAGED: Final = ("/etc/systemd/user", "/usr/local/lib/systemd/user", "/usr/lib/systemd/user")
"""Where a distribution, ``make install`` or an administrator has units for all users."""
MARK: Final = b"# Written by koi-runtime install-units, which replaces what is changed here.\n"
"""The first line of all files that are ours to replace and to remove."""
SHIPPED: Final = b"\nExecStart=/usr/bin/koi-runtime "
UNFIT: Final = re.compile("[\"'\\\\\x00-\x1f\x7f\ud800-\udfff]")
"""What systemd allows in no program's path, however it is quoted (config_parse_exec)."""
ENABLE: Final = "systemctl --user enable --now koi-runtime"
DISABLE: Final = "systemctl --user disable --now koi-runtime.socket koi-runtime"
FORGET: Final = "systemctl --user daemon-reload"


class Hindered(KoiError):
    """The units can't be installed, or removed, as things are."""


def act(arguments: Arguments, output: Output) -> int:
    if scope(arguments.scope) == "system":
        raise Misuse(
            "the system's units come with a distribution's package, or by make install;"
            " install-units --user writes those of a user's agent"
        )
    try:
        done, after = (remove(), FORGET) if arguments.remove else (install(), ENABLE)
    except OSError as error:
        where = error.filename or "the user's folders"  # a disk that is full names no file
        raise Hindered(f"{where}: {error.strerror}") from error
    asyncio.run(tell_bus())
    tell(output, done, after)
    return 0


def tell(output: Output, done: Mapping[Path, str], after: str) -> None:
    """Say what was done with which file, and what to type then."""
    if output.mode != "off":
        output.json([{"file": str(file), "done": word} for file, word in done.items()])
        return
    for file, word in done.items():
        output.write(printable(f"{word} {file}"))
    if output.legend:
        output.write(f"\nNow type: {after}" if done else "There is nothing to remove.")


async def tell_bus() -> None:
    """Have a bus that runs look anew: it does not see a folder that was not there at its start."""
    with suppress(KoiError):
        async with bus("user") as link:
            await link.call((BUS, BUS_PATH, BUS), "ReloadConfig")


def install() -> Mapping[Path, str]:
    """Write what is not there yet, or is of an older version; returns what became of each file."""
    refuse_packaged()
    wanted = {place(name): data for name, data in contents().items()}
    there = {file: existing(file) for file in wanted}
    new = {file: data for file, data in wanted.items() if there[file] != data}
    write(new)
    return {file: "written" if file in new else "unchanged" for file in wanted}


def remove() -> Mapping[Path, str]:
    """Remove what is there, once systemd has no link to it; returns what became of each file."""
    there = [file for file in map(place, PLACES) if existing(file) is not None]
    if there and enabled():
        raise Hindered(f"koi-runtime is enabled, so first type: {DISABLE}")
    for file in there:
        file.unlink()
    return dict.fromkeys(there, "removed")


def refuse_packaged() -> None:
    """Leave it at what there is for all users: a user's own units would stand before those."""
    for folder in PACKAGED:
        file = Path(folder, "koi-runtime.service")
        if file.exists():
            raise Hindered(f"{file} is there already, for all users; just type: {ENABLE}")


def contents() -> Mapping[str, bytes]:
    """Read what this installation brought along, and have it name this installation's command."""
    import sysconfig  # noqa: PLC0415 - other commands start sooner without it

    shipped = Path(sysconfig.get_path("data"), "share/koi-runtime")
    command = Path(sysconfig.get_path("scripts"), "koi-runtime")
    for file in (*(shipped / name for name in PLACES), command):
        if not file.is_file():
            raise Hindered(
                f"this installation has no {file}: a checkout has none, nor has an editable"
                " installation; pipx install makes one that is whole"
            )
    own = b"\nExecStart=" + word(command) + b" "
    return {name: MARK + (shipped / name).read_bytes().replace(SHIPPED, own) for name in PLACES}


def word(program: Path) -> bytes:
    """Spell a program's path as the first word of ExecStart= (systemd.service(5))."""
    path = str(program)
    if UNFIT.search(path):
        raise Hindered(
            f"systemd starts no program with a quote, a backslash or a control character in its"
            f" path: {path}; install it elsewhere"
        )
    return b'"' + path.replace("%", "%%").encode() + b'"'


def place(name: str) -> Path:
    """Find where a file goes; a variable that is no absolute path is none (XDG)."""
    variable, otherwise = PLACES[name]
    named, home = (Path(os.environ.get(key, "")) for key in (variable, "HOME"))
    folder = named if named.is_absolute() else home / otherwise
    if not folder.is_absolute():
        raise Hindered(f"neither {variable} nor HOME names a folder, so {name} has no place")
    refuse_anothers(folder)
    return folder / name


def refuse_anothers(folder: Path) -> None:
    """Keep out of another user's folders, into which sudo and su may lead by their variables."""
    there = next(one for one in (folder, *folder.parents) if one.exists())
    if there.stat().st_uid not in (os.geteuid(), 0):
        raise Hindered(f"{there} is another user's: be that user, with a session of their own")


def existing(file: Path) -> bytes | None:
    """Read a file of ours, if it is there; links are never ours. Raises ``Hindered``."""
    try:
        regular = stat.S_ISREG(file.lstat().st_mode)
    except FileNotFoundError:
        return None
    data = file.read_bytes() if regular else b""
    if not data.startswith(MARK):
        raise Hindered(f"{file} is not this command's, so nothing was done: move it away first")
    return data


def enabled() -> bool:
    """See whether systemctl has made links to the units."""
    folder = place("systemd/user/koi-runtime.service").parent
    return any(folder.glob("*.wants/koi-runtime.*"))


def write(files: Mapping[Path, bytes]) -> None:
    """Write all files, or none: what can go wrong has gone wrong before the first is in place."""
    new = {file: file.with_name(f".{file.name}.new") for file in files}
    try:
        for file, temporary in new.items():
            fill(temporary, files[file])
        for file, temporary in new.items():
            temporary.replace(file)
    finally:
        for temporary in new.values():
            with suppress(OSError):
                temporary.unlink()


def fill(temporary: Path, data: bytes) -> None:
    """Make a file in a folder that may have to be made; whatever was there is not followed."""
    temporary.parent.mkdir(parents=True, exist_ok=True)
    temporary.unlink(missing_ok=True)
    with temporary.open("xb") as file:
        os.fchmod(file.fileno(), 0o644)
        file.write(data)
