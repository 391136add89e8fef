"""The fake API server of the tests answers as the real one does."""

import asyncio
import http.client
import json
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any, Final

from tests.kubernetes import workloads
from tests.kubernetes.kubelet import running
from tests.real.followed_cluster import Shop
from tests.runtimes.fake_cluster import NODE
from tests.runtimes.fake_kubernetes import TOKEN, FakeKubernetes
from tests.unit.certificates import authority

STREAM: Final = "sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true"


@dataclass(frozen=True)
class Server:
    """A server with the pods a, b and c in one namespace, and what happens to them."""

    port: int
    tls: ssl.SSLContext
    token: str
    pods: str
    """The path of their collection."""
    fields: str
    """The selector of the pods of the node that have not ended."""
    end: Callable[[str], None]
    remove: Callable[[str], None]
    add: Callable[[str], None]

    async def get(self, query: str, token: str | None = None) -> tuple[int, list[Any]]:
        """Return status and objects of a response: the body, or each event of a watch."""
        return await asyncio.to_thread(self._get, query, self.token if token is None else token)

    def _get(self, query: str, token: str) -> tuple[int, list[Any]]:
        connection = http.client.HTTPSConnection("127.0.0.1", self.port, context=self.tls)
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        try:
            connection.request("GET", f"{self.pods}?{query}", headers=headers)
            response = connection.getresponse()
            text = response.read().decode()
        finally:
            connection.close()
        return response.status, [json.loads(line) for line in text.splitlines() if line]


@asynccontextmanager
async def real_server(shop: Shop) -> AsyncIterator[Server]:
    calls = shop.calls
    shop.kubelet.end()

    def add(name: str) -> None:
        made = calls.create("pods", workloads.pod(name, shop.node), shop.name)
        calls.patch("pods", shop.name, name, {"status": running(made, 1)}, "status")

    def end(name: str) -> None:
        calls.patch("pods", shop.name, name, {"status": {"phase": "Succeeded"}}, "status")

    yield Server(
        shop.cluster.port,
        shop.cluster.tls,
        shop.cluster.token,
        f"/api/v1/namespaces/{shop.name}/pods",
        f"spec.nodeName={shop.node},status.phase!=Succeeded,status.phase!=Failed",
        end,
        lambda name: calls.delete("pods", shop.name, name, now=True),
        add,
    )


@asynccontextmanager
async def fake_server(folder: Path) -> AsyncIterator[Server]:
    client_tls, server_tls = authority(folder, "127.0.0.1")
    async with FakeKubernetes(server_tls) as fake:
        cluster, uids = fake.cluster, dict[str, str]()

        def add(name: str) -> None:
            uids[name] = cluster.create(name)
            cluster.run(uids[name])

        yield Server(
            fake.port,
            client_tls,
            TOKEN,
            "/api/v1/namespaces/shop/pods",
            f"spec.nodeName={NODE},status.phase!=Succeeded,status.phase!=Failed",
            lambda name: cluster.end(uids[name]),
            lambda name: cluster.remove(uids[name]),
            add,
        )


async def answers(server: Server) -> dict[str, Any]:
    """Return what can be compared of the answers of a server."""
    for name in ("a", "b", "c"):
        server.add(name)
    found: dict[str, Any] = {
        "without a token": (await server.get("limit=9", token=""))[0],
        "with a bad token": (await server.get("limit=9", token="bad"))[0],
        "a stream without a version": (
            await server.get("watch=1&sendInitialEvents=true&timeoutSeconds=1")
        )[0],
    }
    _, (page,) = await server.get("limit=2")
    version, following = page["metadata"]["resourceVersion"], page["metadata"]["continue"]
    server.remove("c")
    server.add("d")
    _, (rest,) = await server.get(f"limit=2&continue={following}")
    found["pages"] = [names(page), names(rest), rest["metadata"]["resourceVersion"] == version]
    server.end("b")
    server.remove("a")
    watch = f"watch=1&resourceVersion={version}&fieldSelector={server.fields}"
    _, events = await server.get(f"{watch}&timeoutSeconds=1")
    found["events"] = [event(one) for one in events]
    versions = [int(one["object"]["metadata"]["resourceVersion"]) for one in events]
    found["versions grow"] = sorted(set(versions)) == versions and versions[0] > int(version)
    listed = f"watch=1&{STREAM}&fieldSelector={server.fields}"
    for seconds in (1, 5):
        _, events = await server.get(f"{listed}&timeoutSeconds={seconds}")
        found[f"list and watch for {seconds} s"] = [event(one) for one in events]
    newest = events[-1]["object"]["metadata"]["resourceVersion"]
    for name in ("", "e"):
        query = f"watch=1&resourceVersion={newest}&allowWatchBookmarks=true&timeoutSeconds=5"
        async with asyncio.TaskGroup() as group:
            watching = group.create_task(server.get(query))
            await asyncio.sleep(1)
            if name:
                server.add(name)
        events = [event(one) for one in watching.result()[1]]
        # The real one may send two bookmarks, one after the other.
        found[f"a watch with changes of {name}"] = [one for one, _ in groupby(events)]
    return found


def names(page: Any) -> list[str]:
    return [one["metadata"]["name"] for one in page["items"]]


def event(one: Any) -> tuple[str, str, bool]:
    """Return type and name of an event, and whether it ends a list."""
    metadata = one["object"]["metadata"]
    ends_list = "k8s.io/initial-events-end" in (metadata.get("annotations") or {})
    return one["type"], metadata.get("name", ""), ends_list


async def test_the_fake_answers_as_the_real_server(shop: Shop, tmp_path: Path) -> None:
    async with real_server(shop) as server:
        real = await answers(server)
    async with fake_server(tmp_path) as server:
        assert await answers(server) == real
