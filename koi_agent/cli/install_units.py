"""``koi-runtime install-units``: install the units of a user's agent after pip or pipx.

The data files of a wheel are installed below its own environment, where neither systemd nor the
bus looks for them. They also start /usr/bin/koi-runtime, which is not the installed command.
"""

import os
import re
import stat
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Final

from koi_agent.bus.calls import BUS, BUS_PATH
from koi_agent.cli.arguments import Arguments, UsageError
from koi_agent.cli.client import bus
from koi_agent.cli.output import Output
from koi_agent.config import scope
from koi_agent.core.dbus_names import NAME
from koi_agent.core.errors import KoiError
from koi_agent.core.text import printable

TARGETS: Final = {
    "systemd/user/koi-runtime.service": ("XDG_CONFIG_HOME", ".config"),
    "systemd/user/koi-runtime.socket": ("XDG_CONFIG_HOME", ".config"),
    f"dbus-1/services/{NAME}.service": ("XDG_DATA_HOME", ".local/share"),
}
"""The files by their paths in the environment, with the user's folders that they go to."""
PACKAGED: Final = ("/etc/systemd/user", "/usr/local/lib/systemd/user", "/usr/lib/systemd/user")
"""Folders of units for all users, in which a package or an administrator installs them."""
MARK: Final = b"# Written by koi-runtime install-units, which replaces what is changed here.\n"
"""The first line of each file written by this command; other files are never replaced.

It stays as it is: it also marks the files that earlier versions wrote.
"""
SHIPPED: Final = b"\nExecStart=/usr/bin/koi-runtime "
UNFIT: Final = re.compile("[\"'\\\\\x00-\x1f\x7f\ud800-\udfff]")
"""Characters that systemd rejects in the path of a program, even quoted (config_parse_exec)."""
ENABLE: Final = "systemctl --user enable --now koi-runtime"
DISABLE: Final = "systemctl --user disable --now koi-runtime.socket koi-runtime"
RELOAD: Final = "systemctl --user daemon-reload"


class InstallError(KoiError):
    """The units cannot be installed or removed."""


def act(arguments: Arguments, output: Output) -> int:
    if scope(arguments.scope) == "system":
        raise UsageError(
            "install-units: the system's units come with a distribution's package or make install;"
            " use --user for those of a user's agent"
        )
    try:
        done, after = (remove(), RELOAD) if arguments.remove else (install(), ENABLE)
    except OSError as error:
        where = error.filename or "the user's folders"  # an error of a full disk has no file name
        raise InstallError(f"{where}: {error.strerror}") from error
    reload_bus()
    report(output, done, after)
    return 0


def report(output: Output, done: Mapping[Path, str], after: str) -> None:
    """Print what was done with each file, and the next command to run."""
    if output.mode != "off":
        output.json([{"file": str(file), "done": word} for file, word in done.items()])
        return
    for file, word in done.items():
        output.write(printable(f"{word} {file}"))
    if output.legend:
        output.write(f"\nNext, run: {after}" if done else "Nothing to remove.")


def reload_bus() -> None:
    """Reload the configuration of the bus, if it runs."""
    # A bus does not watch a folder that did not exist when the bus started.
    with suppress(KoiError), bus("user") as link:
        link.call((BUS, BUS_PATH, BUS), "ReloadConfig")


def install() -> Mapping[Path, str]:
    """Write files that are missing or outdated; return what was done with each file."""
    refuse_packaged()
    files = {target(name): data for name, data in contents().items()}
    installed = {file: existing(file) for file in files}
    new = {file: data for file, data in files.items() if installed[file] != data}
    write(new)
    return {file: "written" if file in new else "unchanged" for file in files}


def remove() -> Mapping[Path, str]:
    """Remove the installed files, unless the units are enabled; return what was done."""
    installed = [file for file in map(target, TARGETS) if existing(file) is not None]
    if installed and enabled():
        raise InstallError(f"koi-runtime.service is enabled; first run: {DISABLE}")
    for file in installed:
        file.unlink()
    return dict.fromkeys(installed, "removed")


def refuse_packaged() -> None:
    """Raise ``InstallError`` if units for all users are installed: a user's would override them."""
    for folder in PACKAGED:
        file = Path(folder, "koi-runtime.service")
        if file.exists():
            raise InstallError(f"{file}: already installed for all users; run: {ENABLE}")


def contents() -> Mapping[str, bytes]:
    """Return the files of this installation, changed to start this installation's command."""
    import sysconfig  # noqa: PLC0415 - other commands start faster without it

    shipped = Path(sysconfig.get_path("data"), "share/koi-runtime")
    command = Path(sysconfig.get_path("scripts"), "koi-runtime")
    for file in (*(shipped / name for name in TARGETS), command):
        if not file.is_file():
            raise InstallError(
                f"{file}: not part of this installation; install with pipx, as a checkout and an"
                " editable installation have no units"
            )
    own = b"\nExecStart=" + word(command) + b" "
    return {name: MARK + (shipped / name).read_bytes().replace(SHIPPED, own) for name in TARGETS}


def word(program: Path) -> bytes:
    """Quote the path of a program for ExecStart= (systemd.service(5))."""
    path = str(program)
    if UNFIT.search(path):
        raise InstallError(
            f"{path}: systemd does not start a program with a quote, a backslash or a control"
            " character in its path; install it elsewhere"
        )
    return b'"' + path.replace("%", "%%").encode() + b'"'


def target(name: str) -> Path:
    """Return the path to install a file to; relative paths in variables are ignored (XDG)."""
    variable, default = TARGETS[name]
    configured, home = (Path(os.environ.get(key, "")) for key in (variable, "HOME"))
    folder = configured if configured.is_absolute() else home / default
    if not folder.is_absolute():
        raise InstallError(f"{name}: neither {variable} nor HOME is an absolute path; set one")
    refuse_foreign(folder)
    return folder / name


def refuse_foreign(folder: Path) -> None:
    """Raise ``InstallError`` for a folder of another user, which sudo and su may leave in HOME."""
    found = next(one for one in (folder, *folder.parents) if one.exists())
    if found.stat().st_uid not in (os.geteuid(), 0):
        raise InstallError(f"{found}: owned by another user; run this in a session of that user")


def existing(file: Path) -> bytes | None:
    """Return the content of an installed file, or ``None``; raise ``InstallError`` for others."""
    try:
        regular = stat.S_ISREG(file.lstat().st_mode)
    except FileNotFoundError:
        return None
    data = file.read_bytes() if regular else b""
    if not data.startswith(MARK):
        raise InstallError(f"{file}: not written by install-units; move it away first")
    return data


def enabled() -> bool:
    """Return True if systemctl has enabled a unit, that is, created a link to it."""
    folder = target("systemd/user/koi-runtime.service").parent
    return any(folder.glob("*.wants/koi-runtime.*"))


def write(files: Mapping[Path, bytes]) -> None:
    """Write all files or none."""
    # The renaming at the end replaces files only after all of them have been written.
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
    """Create a file, and its folder if necessary; an existing link is not followed."""
    temporary.parent.mkdir(parents=True, exist_ok=True)
    temporary.unlink(missing_ok=True)
    with temporary.open("xb") as file:
        os.fchmod(file.fileno(), 0o644)
        file.write(data)
