"""The files with which distributions of Kubernetes give an administrator access to a cluster."""

from typing import Final, NamedTuple

CREDENTIAL: Final = "kubernetes.kubeconfig"
"""The credential of the service that is a kubeconfig file (systemd.exec(5))."""


class Distribution(NamedTuple):
    """A distribution: the kubeconfig file that it writes, which has all rights, and its kubectl."""

    name: str
    kubeconfig: str
    kubectl: str = "kubectl"


DISTRIBUTIONS: Final = (
    Distribution("k3s", "/etc/rancher/k3s/k3s.yaml", "k3s kubectl"),
    Distribution("k0s", "/var/lib/k0s/pki/admin.conf", "k0s kubectl"),
    Distribution(
        "MicroK8s", "/var/snap/microk8s/current/credentials/client.config", "microk8s kubectl"
    ),
    Distribution("kubeadm", "/etc/kubernetes/admin.conf"),
)
