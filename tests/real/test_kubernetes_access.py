"""A real API server that accepts credentials and rights, and refuses them later."""

import asyncio
import base64
from typing import Any

import pytest

from koi_agent.backends.kubernetes.credentials import Credentials
from koi_agent.backends.kubernetes.scope import Scope
from koi_agent.core.events import BackendState
from koi_agent.core.key import Key
from tests.kubernetes import accounts, workloads
from tests.kubernetes.accounts import Account
from tests.kubernetes.calls import CallFailed, Calls
from tests.kubernetes.cluster import Cluster
from tests.namespaces import wait_until
from tests.real.followed_cluster import Shop, followed_cluster, opened_shop
from tests.runtimes.followed import PATIENCE, eventually
from tests.runtimes.followed_kubernetes import is_synced
from tests.runtimes.published_pods import NAME, PublishedPods


def started(shop: Shop, name: str = "web") -> str:
    """Create a pod and a Service for it; return the UID of the pod."""
    shop.calls.create("pods", workloads.pod(name, shop.node), shop.name)
    record = workloads.service(name, name, {"koi.sylin.org/name": "Shop"}, type="NodePort")
    shop.calls.create("services", record, shop.name)
    return shop.pods()[name]


async def is_published(server: PublishedPods, uid: str) -> None:
    await eventually(
        lambda: Key(NAME, uid) in server.registry.visible, lambda: str(server.status), PATIENCE
    )
    await server.agreed()


async def is_refused(server: PublishedPods, reason: str) -> None:
    await eventually(
        lambda: server.state is not BackendState.SYNCED and reason in server.status.last_error,
        lambda: str(server.status),
        PATIENCE,
    )


def without(resource: str, verb: str) -> list[dict[str, Any]]:
    """Return the rights of the example without a verb for one resource."""
    found = []
    for rule in accounts.rules():
        for one in rule["resources"]:
            verbs = [each for each in rule["verbs"] if (one, each) != (resource, verb)]
            found.append({**rule, "resources": [one], "verbs": verbs})
    return [one for one in found if one["verbs"]]


async def test_the_example_has_all_rights_that_are_needed(own_cluster: Cluster) -> None:
    accounts.apply(own_cluster, accounts.example())
    data = wait_until(
        lambda: own_cluster.calls.get("secrets", "kube-system", "koi-runtime").get("data"),
        "the controller writes the token",
    )
    token = base64.b64decode(data["token"]).decode()
    own_cluster.secrets.add(token)
    credentials = Credentials(kubeconfig=str(own_cluster.kubeconfig("agent", {"token": token})))
    with opened_shop(own_cluster, "shop") as shop:
        scope = Scope(backend=NAME, host=shop.node)
        async with followed_cluster(own_cluster, scope, credentials) as server:
            await is_published(server, started(shop))
            await server.settle()
            assert server.status.drift == 0
            assert server.status.last_error == ""
            assert "ignored" not in server.log.text
            assert "without Services" not in server.log.text


@pytest.mark.parametrize(
    ("resource", "verb"),
    [("pods", "watch"), ("services", "watch"), ("endpointslices", "watch")],
)
async def test_a_missing_right_is_named(shop: Shop, resource: str, verb: str) -> None:
    account = Account(shop.cluster, f"{shop.name}-{resource}", without(resource, verb))
    account.write_token(account.requested())
    uid = started(shop)
    async with followed_cluster(shop.cluster, shop.scope(), account.credentials()) as server:
        reason = f'cannot {verb} resource "{resource}"'
        if resource == "pods":
            await is_refused(server, reason)
        else:
            await is_published_without_services(server, uid)
            assert reason in server.log.text
        account.permit(accounts.rules())
        await is_synced(server)
        await server.settle()
        await is_published(server, uid)
        assert server.status.drift == 0


async def is_published_without_services(server: PublishedPods, uid: str) -> None:
    await eventually(
        lambda: Key(NAME, uid) in server.registry.visible, lambda: str(server.status), PATIENCE
    )
    assert server.known(uid).metadata.name is None


async def test_without_the_right_to_read_pods_they_are_stale(shop: Shop) -> None:
    account = Account(shop.cluster, shop.name, accounts.rules())
    account.write_token(account.requested())
    uid = started(shop)
    async with followed_cluster(shop.cluster, shop.scope(), account.credentials()) as server:
        await is_published(server, uid)
        account.permit(without("pods", "watch"))
        await is_refused(server, 'cannot watch resource "pods"')
        assert server.known(uid).stale
        account.permit(accounts.rules())
        await is_synced(server)
        await server.settle()
        assert not server.known(uid).stale


async def test_without_the_right_to_read_services_pods_are_followed(shop: Shop) -> None:
    account = Account(shop.cluster, shop.name, accounts.rules())
    account.write_token(account.requested())
    uid = started(shop)
    async with followed_cluster(shop.cluster, shop.scope(), account.credentials()) as server:
        await is_published(server, uid)
        account.permit(without("services", "watch"))
        await eventually(
            lambda: server.known(uid).metadata.name is None, lambda: str(server.status), PATIENCE
        )
        assert "pods are followed without Services" in server.log.text
        account.permit(accounts.rules())
        await server.settle()


async def test_the_rights_to_read_the_node_and_the_identity_may_be_taken_away(shop: Shop) -> None:
    account = Account(shop.cluster, shop.name, accounts.rules())
    account.write_token(account.requested())
    async with followed_cluster(shop.cluster, shop.scope(), account.credentials()) as server:
        await is_published(server, started(shop))
        account.permit(one for one in accounts.rules() if one["verbs"] != ["get"])
        await server.settle()
        assert server.status.reconnects == 0


async def test_a_token_that_expires_is_replaced(shop: Shop) -> None:
    account = Account(shop.cluster, shop.name, accounts.rules())
    account.write_token(account.signed(15))
    uid = started(shop)
    async with followed_cluster(shop.cluster, shop.scope(), account.credentials()) as server:
        await is_published(server, uid)
        await is_refused(server, "are not accepted")
        assert server.known(uid).stale
        account.write_token(account.signed(3600))
        await is_synced(server)
        await is_published(server, started(shop, "later"))
        assert not server.known(uid).stale
        await server.settle()
        assert server.status.drift == 0


async def test_a_token_that_is_replaced_in_time_is_no_loss(shop: Shop) -> None:
    account = Account(shop.cluster, shop.name, accounts.rules())
    first = account.signed(20)
    account.write_token(first)
    async with followed_cluster(shop.cluster, shop.scope(), account.credentials()) as server:
        await is_published(server, started(shop))
        account.write_token(account.requested())
        await asyncio.to_thread(wait_until, lambda: is_expired(shop, first), "it expires")
        await is_published(server, started(shop, "later"))
        await server.settle()
        assert server.status.reconnects == 0


def is_expired(shop: Shop, token: str) -> bool:
    """Return True if the server no longer accepts a token."""
    calls = Calls(shop.cluster.port, shop.cluster.tls, token)
    try:
        calls.call("GET", "/api/v1/namespaces/kube-system")
    except CallFailed as failed:
        return failed.status == 401
    finally:
        calls.close()
    return False


async def test_an_account_that_is_deleted_and_made_again_is_used(shop: Shop) -> None:
    account = Account(shop.cluster, shop.name, accounts.rules())
    account.write_token(account.requested())
    uid = started(shop)
    async with followed_cluster(shop.cluster, shop.scope(), account.credentials()) as server:
        await is_published(server, uid)
        shop.calls.delete("serviceaccounts", "default", account.name)
        await is_refused(server, "are not accepted")
        shop.calls.create("serviceaccounts", {"metadata": {"name": account.name}}, "default")
        account.write_token(account.requested())
        await is_synced(server)
        await is_published(server, started(shop, "later"))
        await server.settle()
        assert server.status.drift == 0
