"""The doctor with a real systemd, where the agent is a unit."""

import json
import subprocess
import sys
from typing import Any

from tests.namespaces import CHECKOUT, wait_until
from tests.world import World

COMMAND = (sys.executable, "-m", "koi_agent", "--user")
UNIT = f"""\
[Service]
Environment=PYTHONPATH={CHECKOUT}
ExecStart={" ".join(COMMAND)} run --runtime=systemd

[Install]
WantedBy=default.target
"""


def koi_runtime(world: World, *arguments: str) -> subprocess.CompletedProcess[str]:
    return world.run(*COMMAND, *arguments, check=False)


def examined(world: World) -> tuple[int, dict[str, dict[str, Any]]]:
    """Return the exit code of the doctor, and the last finding of each check.

    On a busy machine, some answers may not come in time.
    """

    def answered() -> subprocess.CompletedProcess[str] | None:
        done = koi_runtime(world, "doctor", "--json=short")
        return None if "no answer within" in done.stdout else done

    done = wait_until(answered, "all answers come in time", timeout=60)
    assert done is not None
    return done.returncode, {record["check"]: record for record in json.loads(done.stdout)}


def test_the_doctor_follows_the_unit_through_its_states(world: World) -> None:
    code, found = examined(world)
    assert code == 1
    assert found["service"]["text"] == "koi-runtime.service is not installed"

    world.unit("koi-runtime.service", UNIT)
    world.reload()
    code, found = examined(world)
    assert (code, found["agent"]["verdict"]) == (1, "fail")
    assert found["service"]["text"] == "koi-runtime.service is inactive and disabled"
    assert found["service"]["advice"] == "systemctl --user enable --now koi-runtime"

    world.systemctl("enable", "--now", "koi-runtime.service")
    wait_until(lambda: koi_runtime(world, "status").returncode == 0, "the agent")
    _, found = examined(world)
    assert found["service"]["text"] == "koi-runtime.service is active and enabled"
    assert found["backends"]["text"].startswith("systemd: ")
    assert {found[check]["verdict"] for check in ("service", "agent", "systemd", "backends")} == {
        "ok"
    }


def test_the_doctor_names_the_unit_and_the_file_that_is_not_read(world: World) -> None:
    world.unit("koi-runtime.service", UNIT)
    world.unit("wiki.service", "[Service]\nExecStart=sleep infinity\n[X-Koi]\nName=wiki\n")
    file = world.drop_in("wiki.service", "90-large.conf", f"[X-Koi]\n{'# x' * 30_000}\n")
    world.reload()
    world.systemctl("start", "koi-runtime.service", "wiki.service")
    wait_until(lambda: koi_runtime(world, "show", "wiki").returncode == 0, "the unit")
    _, found = examined(world)
    assert found["unit-files"]["verdict"] == "warn"
    assert found["unit-files"]["text"].startswith(f"systemd:wiki.service: {file}: ")
    assert found["unit-files"]["advice"] == "correct it, then run systemctl --user daemon-reload"
    file.write_text("[X-Koi]\nPort=80\n")
    world.reload()
    wait_until(lambda: examined(world)[1]["unit-files"]["verdict"] == "ok", "the repaired file")


def test_the_doctor_starts_nothing(world: World) -> None:
    world.unit("koi-runtime.service", UNIT)
    world.reload()
    examined(world)
    loaded = world.systemctl("list-units", "--all", "--plain", "--no-legend").stdout
    assert "koi-runtime" not in loaded
