"""Finds the credentials of the cluster: the setting, the service's credential, or a pod's account.

See systemd.exec(5) for ``LoadCredential=``. A pod has its service account in files.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Final

from koi_agent.core.errors import BackendAbsent
from koi_agent.core.frozen import frozen
from koi_agent.host.kubernetes import CREDENTIAL

SERVICE_ACCOUNT: Final = "/var/run/secrets/kubernetes.io/serviceaccount"
_NOTHING: Final = (
    "no kubeconfig: set Kubeconfig= of [Kubernetes], or"
    f" LoadCredential={CREDENTIAL}:PATH in a drop-in of the service"
)


@frozen(kw_only=True)
class Credentials:
    """The place of the access to a cluster.

    ``kubeconfig`` is the path of a file. Without one, ``server`` is the address that the service
    account in the folder ``account`` is for; both are "" outside a pod.
    """

    kubeconfig: str = ""
    server: str = ""
    account: str = ""

    @property
    def paths(self) -> tuple[str, ...]:
        """Return the files whose appearance may give access."""
        account = (f"{self.account}/token", f"{self.account}/ca.crt") if self.account else ()
        return (self.kubeconfig,) if self.kubeconfig else account

    def check(self) -> None:
        """Raise ``BackendAbsent`` if nothing gives access to a cluster."""
        if not self.paths:
            raise BackendAbsent(_NOTHING)


def find_credentials(
    kubeconfig: str, environment: Mapping[str, str], account: str = SERVICE_ACCOUNT
) -> Credentials:
    """Return where the access is found: ``kubeconfig`` is the setting."""
    if kubeconfig:
        return Credentials(kubeconfig=kubeconfig)
    folder = environment.get("CREDENTIALS_DIRECTORY", "")
    if folder and (credential := Path(folder, CREDENTIAL)).exists():
        return Credentials(kubeconfig=str(credential))
    host = environment.get("KUBERNETES_SERVICE_HOST", "")
    port = environment.get("KUBERNETES_SERVICE_PORT", "443")
    if not host:
        return Credentials()
    address = f"[{host}]" if ":" in host else host
    return Credentials(server=f"https://{address}:{port}", account=account)
