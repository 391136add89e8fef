"""The files with which distributions of Kubernetes give an administrator access to a cluster."""

from typing import Final, NamedTuple

CREDENTIAL: Final = "kubernetes.kubeconfig"
"""The credential of the service that is a kubeconfig file (systemd.exec(5))."""


class Distribution(NamedTuple):
    """A distribution: the kubeconfig file that it writes, which has all rights, and its kubectl.

    ``server`` is the address of the API on each of its servers, "" if it differs.
    """

    name: str
    kubeconfig: str
    kubectl: str
    server: str


DISTRIBUTIONS: Final = (
    Distribution("k3s", "/etc/rancher/k3s/k3s.yaml", "k3s kubectl", "https://127.0.0.1:6443"),
    Distribution("k0s", "/var/lib/k0s/pki/admin.conf", "k0s kubectl", "https://127.0.0.1:6443"),
    Distribution(
        "MicroK8s",
        "/var/snap/microk8s/current/credentials/client.config",
        "microk8s kubectl",
        "https://127.0.0.1:16443",
    ),
    Distribution(
        "kubeadm",
        "/etc/kubernetes/admin.conf",
        "kubectl --kubeconfig=/etc/kubernetes/admin.conf",
        "",
    ),
)
