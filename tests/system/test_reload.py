"""``systemctl reload``: applied while the agent serves on, or refused with the reason."""

import signal

from tests.namespaces import wait_until
from tests.system.service import Service

ONLY_THE_BUS = "[Systemd]\nUnits=dbus.service\n"


def test_a_reload_applies_what_changed_and_keeps_the_process(service: Service) -> None:
    first = service.pid
    assert service.listed() > {"dbus.service"}
    service.configure(ONLY_THE_BUS)

    service.systemctl("reload")

    assert service.listed() == {"dbus.service"}
    assert service.status.startswith("1 instance: systemd 1")
    assert service.pid == first
    assert service.show("ActiveState") == "active"
    stopped = {record["KOI_INSTANCE"] for record in service.records("KOI_EVENT=stopped")}
    assert "systemd:koi-runtime.service" in stopped
    assert "systemd:dbus.service" not in stopped


def test_a_hangup_reloads_as_well(service: Service) -> None:
    service.configure(ONLY_THE_BUS)
    service.machine.kill(service.pid, signal.SIGHUP)
    service.await_listed("dbus.service")
    wait_until(lambda: service.show("ActiveState") == "active", "reloaded")


def test_a_bad_configuration_is_refused_and_the_old_one_kept(service: Service) -> None:
    service.configure(ONLY_THE_BUS)
    service.systemctl("reload")
    path = service.configure("[Systemd]\nUnits=*.service\nTrackExited=perhaps\n")

    refused = service.systemctl("reload", check=False)

    assert refused.returncode != 0
    assert service.show("ActiveState") == "active"
    assert service.listed() == {"dbus.service"}
    assert service.status.startswith("1 instance: systemd 1")
    (record,) = service.records("MESSAGE_ID=d09d7d7bb5ff4f92aea7e12124ae7364")
    assert f"{path}:3" in record["MESSAGE"]
    assert "TrackExited" in record["MESSAGE"]
    assert "perhaps" in record["MESSAGE"]
    assert record["PRIORITY"] == "3"

    said = service.call("Reload")
    assert said.returncode != 0
    assert f"{path}:3" in said.stderr


def test_the_next_good_configuration_is_applied(service: Service) -> None:
    service.configure("[Systemd]\nTrackExited=perhaps\n")
    assert service.systemctl("reload", check=False).returncode != 0
    service.configure(ONLY_THE_BUS)
    service.systemctl("reload")
    assert service.listed() == {"dbus.service"}


def test_an_unknown_key_is_warned_of_and_nothing_more(service: Service) -> None:
    path = service.configure("[Systemd]\nUnitz=dbus.service\n")
    service.systemctl("reload")
    (line,) = service.journal("--priority=warning", "--output=cat").splitlines()
    assert f"{path}:2" in line
    assert "Unitz" in line
