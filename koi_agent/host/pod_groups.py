"""Finds the control group of a pod, which the kubelet makes for it.

The path follows from the pod's UID and its class of service, and from the kubelet's driver: slices
of systemd, or plain directories. The containers of the pod are in groups below it.
"""

import os
from typing import Final

from koi_agent.host.cgroups import ROOT, unified

_CLASSES: Final = {"Guaranteed": "", "Burstable": "burstable", "BestEffort": "besteffort"}


def pod_group(uid: str, service_class: str) -> str:
    """Return the control group of a pod of this host, "" if it is not found.

    ``service_class`` is the pod's ``qosClass``.
    """
    root = unified(ROOT)
    if root is None or service_class not in _CLASSES:
        return ""
    for group in pod_groups(uid, _CLASSES[service_class]):
        if os.path.isdir(f"{root}{group}"):  # noqa: PTH112 - quicker, and there are thousands
            return group
    return ""


def pod_groups(uid: str, name: str) -> tuple[str, str]:
    """Return the groups that a pod may have; ``name`` is its class as groups name it, or ""."""
    parent = f"kubepods-{name}" if name else "kubepods"
    above = f"/kubepods.slice/{parent}.slice" if name else "/kubepods.slice"
    plain = f"/kubepods/{name}" if name else "/kubepods"
    return f"{above}/{parent}-pod{uid.replace('-', '_')}.slice", f"{plain}/pod{uid}"
