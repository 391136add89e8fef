"""Requests to the API server of a real cluster, as its administrator."""

import http.client
import json
import ssl
from collections.abc import Mapping
from contextlib import suppress
from typing import Any, Final

MERGE: Final = "application/merge-patch+json"
PLACES: Final = {
    "pods": "/api/v1",
    "services": "/api/v1",
    "secrets": "/api/v1",
    "serviceaccounts": "/api/v1",
    "nodes": "/api/v1",
    "namespaces": "/api/v1",
    "endpointslices": "/apis/discovery.k8s.io/v1",
    "deployments": "/apis/apps/v1",
    "statefulsets": "/apis/apps/v1",
    "clusterroles": "/apis/rbac.authorization.k8s.io/v1",
    "clusterrolebindings": "/apis/rbac.authorization.k8s.io/v1",
}


class CallFailed(Exception):
    """The server answered with an error, or not at all: then ``status`` is 0."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(f"{status}: {text}")
        self.status = status


def path(kind: str, namespace: str = "", name: str = "", part: str = "") -> str:
    """Return the path of a collection, or of one object and of a part of it."""
    within = f"/namespaces/{namespace}" if namespace else ""
    return f"{PLACES[kind]}{within}/{kind}" + "".join(f"/{one}" for one in (name, part) if one)


class Calls:
    """One connection, for one thread, which is opened again after an error."""

    def __init__(self, port: int, tls: ssl.SSLContext, token: str) -> None:
        self._connection = http.client.HTTPSConnection("127.0.0.1", port, context=tls, timeout=60)
        self._token = token

    def call(
        self, method: str, target: str, body: Any = None, kind: str = "application/json"
    ) -> Any:
        """Return the object in the response; raise ``CallFailed``."""
        headers = {"Authorization": f"Bearer {self._token}", "Content-Type": kind}
        try:
            data = None if body is None else json.dumps(body)
            self._connection.request(method, target, data, headers)
            response = self._connection.getresponse()
            status, text = response.status, response.read()
        except (OSError, http.client.HTTPException) as error:
            self.close()
            raise CallFailed(0, repr(error)) from error
        if status >= 300:
            raise CallFailed(status, text.decode(errors="replace"))
        return json.loads(text) if text.startswith(b"{") else text.decode()

    def close(self) -> None:
        self._connection.close()

    def create(self, kind: str, record: Mapping[str, Any], namespace: str = "") -> Any:
        """Create an object; return it as it is."""
        return self.call("POST", path(kind, namespace), record)

    def get(self, kind: str, namespace: str = "", name: str = "") -> Any:
        return self.call("GET", path(kind, namespace, name))

    def patch(
        self, kind: str, namespace: str, name: str, change: Mapping[str, Any], part: str = ""
    ) -> Any:
        """Change some fields of an object, or of a part of it such as its status."""
        return self.call("PATCH", path(kind, namespace, name, part), change, MERGE)

    def delete(self, kind: str, namespace: str, name: str, *, now: bool = False) -> None:
        """Delete an object; a pod stays until its node removes it, unless ``now``."""
        query = "?gracePeriodSeconds=0" if now else ""
        self.call("DELETE", path(kind, namespace, name) + query)

    def is_ready(self) -> bool:
        """Return True for a server that serves."""
        with suppress(CallFailed):
            return bool(self.call("GET", "/readyz") == "ok")
        return False
