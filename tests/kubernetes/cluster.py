"""The processes of a real cluster, each of which ends and starts again on request."""

import json
import secrets
import shutil
import signal
import subprocess
import urllib.request
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any, Final, Self

from koi_agent.backends.kubernetes.credentials import Credentials
from tests.kubernetes import PROGRAM
from tests.kubernetes.calls import CallFailed, Calls
from tests.namespaces import name, wait_until
from tests.ports import free_port
from tests.unit.certificates import authority

PATIENCE: Final = 180.0
"""Seconds for a part to start on a busy machine."""
ISSUER: Final = "https://kubernetes.default.svc"
CONTROLLERS: Final = (
    *("deployment-controller", "replicaset-controller", "statefulset-controller"),
    *("endpointslice-controller", "serviceaccount-token-controller"),
)


class Part:
    """One process, whose output is kept in a file."""

    def __init__(self, name: str, log: Path) -> None:
        self.log = log
        self._name = name
        self._process: subprocess.Popen[bytes] | None = None

    def start(self, options: Sequence[str]) -> None:
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [PROGRAM, self._name, *options], stdout=log, stderr=log, cwd=self.log.parent
            )
        # Until then it has the name of this process, by which tests look for what is left.
        pid, wanted = self._process.pid, Path(PROGRAM).name[:15]
        wait_until(lambda: name(pid) == wanted or not self.pid, f"{wanted} is executed")

    @property
    def pid(self) -> int:
        """The PID; 0 if it does not run."""
        return self._process.pid if self._process and self._process.poll() is None else 0

    def send(self, number: signal.Signals) -> None:
        if self._process:
            self._process.send_signal(number)

    def wait(self) -> None:
        """Wait until the process has ended."""
        if self._process:
            self._process.wait(PATIENCE)

    def end(self, number: signal.Signals = signal.SIGKILL) -> None:
        """Send a signal, and wait for the end."""
        self.send(number)
        self.wait()
        self._process = None


class Cluster:
    """One cluster on loopback, used as a context manager; all its data is in ``folder``."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port, self._etcd_port, self._peer_port = free_port(), free_port(), free_port()
        self.token = secrets.token_hex(16)
        self.secrets = {self.token}
        self.tls, _ = authority(folder, "127.0.0.1")
        key = folder / "accounts.key"
        subprocess.run(["openssl", "genrsa", "-out", key, "2048"], check=True, capture_output=True)
        (folder / "tokens.csv").write_text(f'{self.token},admin,admin,"system:masters"\n')
        self.etcd = Part("etcd", folder / "etcd.log")
        self.server = Part("kube-apiserver", folder / "server.log")
        self.controllers = Part("kube-controller-manager", folder / "controllers.log")
        self.calls = self.connected()

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            stack.callback(self.calls.close)
            for part in (self.etcd, self.server, self.controllers):
                stack.callback(part.end)
            self.start_etcd()
            self.start_server()
            self.controllers.start(self._controller_options())
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def connected(self) -> Calls:
        """Return another connection of the administrator."""
        return Calls(self.port, self.tls, self.token)

    def start_etcd(self) -> None:
        client, peer = (f"http://127.0.0.1:{port}" for port in (self._etcd_port, self._peer_port))
        self.etcd.start(
            [
                *("--data-dir", "data", "--unsafe-no-fsync", "--log-level=warn"),
                *("--listen-client-urls", client, "--advertise-client-urls", client),
                *("--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer),
                *("--initial-cluster", f"default={peer}"),
            ]
        )
        wait_until(lambda: self._etcd("maintenance/status"), "etcd starts", timeout=PATIENCE)

    def start_server(self, *options: str) -> None:
        """Start the API server, and wait until it serves."""
        self.server.start([*self._server_options(), *options])
        wait_until(
            lambda: self.calls.is_ready() or not self.server.pid, "the server", timeout=PATIENCE
        )
        assert self.server.pid, self.server.log.read_text()[-2000:]

    def replace(self) -> None:
        """Replace this cluster by another one, with the same address and certificate."""
        for part in (self.controllers, self.server, self.etcd):
            part.end()
        shutil.rmtree(self.folder / "data")
        self.start_etcd()
        self.start_server()
        self.controllers.start(self._controller_options())

    def compact(self) -> None:
        """Drop the history from etcd, which the server still has in its memory."""
        revision = self._etcd("kv/range", {"key": "AA=="})["header"]["revision"]
        self._etcd("kv/compaction", {"revision": revision, "physical": True})

    def _etcd(self, method: str, body: Any = None) -> Any:
        """Call etcd; return None while it does not respond."""
        request = urllib.request.Request(
            f"http://127.0.0.1:{self._etcd_port}/v3/{method}", json.dumps(body or {}).encode()
        )
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with suppress(OSError), opener.open(request, timeout=30) as response:
            return json.load(response)
        return None

    def _server_options(self) -> list[str]:
        return [
            f"--etcd-servers=http://127.0.0.1:{self._etcd_port}",
            *("--bind-address=127.0.0.1", "--advertise-address=127.0.0.1"),
            f"--secure-port={self.port}",
            *("--tls-cert-file=certificate.pem", "--tls-private-key-file=key.pem"),
            *("--token-auth-file=tokens.csv", "--authorization-mode=RBAC"),
            f"--service-account-issuer={ISSUER}",
            "--service-account-key-file=accounts.key",
            "--service-account-signing-key-file=accounts.key",
            "--service-cluster-ip-range=10.96.0.0/16",
            "--disable-admission-plugins=ServiceAccount",
            *("--endpoint-reconciler-type=none", "--v=1"),
        ]

    def _controller_options(self) -> list[str]:
        kubeconfig = self.kubeconfig("controllers", {"token": self.token})
        return [
            f"--kubeconfig={kubeconfig}",
            *("--secure-port=0", "--leader-elect=false"),
            f"--controllers={','.join(CONTROLLERS)}",
            "--service-account-private-key-file=accounts.key",
            "--root-ca-file=certificate.pem",
        ]

    def admitted(self) -> Credentials:
        """Return the credentials of the administrator."""
        return Credentials(kubeconfig=str(self.kubeconfig("admin", {"token": self.token})))

    def kubeconfig(self, name: str, user: dict[str, str]) -> Path:
        """Write a kubeconfig file with the credentials of a user."""
        access = {
            "server": f"https://127.0.0.1:{self.port}",
            "certificate-authority": str(self.folder / "certificate.pem"),
        }
        config = {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "here",
            "contexts": [{"name": "here", "context": {"cluster": "c", "user": "u"}}],
            "clusters": [{"name": "c", "cluster": access}],
            "users": [{"name": "u", "user": user}],
        }
        path = self.folder / f"kubeconfig-{name}"
        path.write_text(json.dumps(config))
        return path

    def objects(self) -> dict[str, dict[str, Any]]:
        """Return the pods, Services and slices by UID, as the API has them."""
        found = {}
        for kind in ("pods", "services", "endpointslices"):
            try:
                items = self.calls.get(kind)["items"]
            except CallFailed as failed:
                raise AssertionError(f"{kind}: {failed}") from failed
            found[kind] = {one["metadata"]["uid"]: one for one in items}
        return found
