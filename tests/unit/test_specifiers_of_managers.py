"""Specifiers that depend on the manager: its user and its directories (systemd.unit(5))."""

import os
import pwd

import pytest

from koi_agent.core.unit_file.specifiers import expand
from koi_agent.host.identity import specifiers


def expanded(value: str, scope: str, **environment: str) -> str:
    text, unknown = expand(value, "web.service", specifiers(scope, environment))
    assert unknown == ()
    return text


def test_the_system_manager_has_the_directories_of_the_system() -> None:
    text = expanded("%t %S %C %L %E %D %T %V", "system", XDG_RUNTIME_DIR="/x", TMPDIR="/x")
    assert text == "/run /var/lib /var/cache /var/log /etc /usr/share /tmp /var/tmp"


def test_the_system_manager_is_root() -> None:
    root = pwd.getpwuid(0)
    assert expanded("%u %U %g %G %h %s", "system") == f"root 0 root 0 {root.pw_dir} {root.pw_shell}"


def test_a_manager_of_a_user_has_the_directories_of_its_environment() -> None:
    given = {
        "XDG_RUNTIME_DIR": "/run/user/7",
        "XDG_STATE_HOME": "/s",
        "XDG_CACHE_HOME": "/c",
        "XDG_CONFIG_HOME": "/e",
        "XDG_DATA_HOME": "/d",
        "TMPDIR": "/tmp/7",
    }
    text = expanded("%t %S %C %L %E %D %T %V", "user", **given)
    assert text == "/run/user/7 /s /c /s/log /e /d /tmp/7 /tmp/7"


def test_directories_of_a_user_are_below_home_by_default() -> None:
    text = expanded("%h %S %C %L %E %D", "user", HOME="/h")
    assert text == "/h /h/.local/state /h/.cache /h/.local/state/log /h/.config /h/.local/share"


def test_a_manager_of_a_user_is_this_user() -> None:
    assert expanded("%U %u", "user") == f"{os.getuid()} {pwd.getpwuid(os.getuid()).pw_name}"


def test_a_runtime_directory_that_is_not_known_is_not_expanded() -> None:
    assert expand("%t/x", "web.service", specifiers("user", {})) == ("%t/x", ("%t",))


@pytest.mark.parametrize("letter", "tSCLEDTVuUgGhs")
def test_no_specifier_of_a_manager_needs_an_environment_in_the_system(letter: str) -> None:
    assert expanded(f"%{letter}", "system")
