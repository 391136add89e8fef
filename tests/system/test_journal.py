"""The agent's records in the journal, as journalctl finds and explains them."""

from koi_agent.core.message_ids import MessageId
from tests.namespaces import wait_until
from tests.system.service import Service

SENT_BY_US = ("KOI_", "MESSAGE_ID", "CONTAINER_")
OURS = {"KOI_EVENT", "KOI_BACKEND", "KOI_INSTANCE", "KOI_NAME", "KOI_UNIT", "MESSAGE_ID"}


def test_a_run_is_two_records_with_fields_to_find_them_by(service: Service) -> None:
    with service.worker() as worker:
        about = f"KOI_INSTANCE=systemd:{worker}"
        wait_until(lambda: service.records(about), "a record of the start")
    wait_until(lambda: len(service.records(about)) == 2, "a record of the end")

    started, stopped = service.records(about)

    assert {field for field in started if field.startswith(SENT_BY_US)} == OURS
    assert (started["KOI_EVENT"], stopped["KOI_EVENT"]) == ("started", "stopped")
    assert (started["MESSAGE_ID"], stopped["MESSAGE_ID"]) == (MessageId.STARTED, MessageId.STOPPED)
    for record in (started, stopped):
        assert record["KOI_BACKEND"] == "systemd"
        assert record["KOI_NAME"] == worker.removesuffix(".service")
        assert record["KOI_UNIT"] == worker
        assert record["PRIORITY"] == "6"
        assert record["SYSLOG_IDENTIFIER"] == "koi-runtime"
        assert record["_TRANSPORT"] == "journal"
        assert record["_SYSTEMD_UNIT"] == "koi-runtime.service"


def test_journalctl_explains_the_records(service: Service) -> None:
    with service.worker() as worker:
        about = f"KOI_INSTANCE=systemd:{worker}"
        wait_until(lambda: service.records(about), "a record of the start")
    explained = service.journal("--catalog", "--no-hostname", about)
    assert f"Subject: Instance systemd:{worker} started" in explained
    assert "Defined-By: koi-runtime" in explained
    assert "@KOI" not in explained


def test_every_kind_of_record_has_its_catalog_entry(service: Service) -> None:
    for kind in MessageId:
        shown = service.machine.run("journalctl", "--dump-catalog", kind)
        assert "Defined-By: koi-runtime" in shown.stdout


def test_a_start_says_when_it_is_ready(service: Service) -> None:
    service.systemctl("restart")
    of_start = f"MESSAGE_ID={MessageId.READY}", f"_SYSTEMD_INVOCATION_ID={service.invocation}"
    wait_until(lambda: service.records(*of_start), "the start is logged")
    (ready,) = service.records(*of_start)
    assert "instances: systemd" in ready["MESSAGE"]
