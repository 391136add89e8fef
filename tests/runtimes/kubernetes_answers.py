"""Field selectors, bookmarks and error responses of a fake cluster."""

import asyncio
import json
import math
from collections.abc import Mapping
from typing import Final

from tests.runtimes.fake_cluster import Matches, Record

BOOKMARK_BEFORE: Final = 2
"""Seconds before the end of a watch at which the server sends the version."""


def selector(fields: str, namespace: str) -> Matches:
    """Return the test of a field selector and a namespace."""
    conditions = []
    for text in filter(None, fields.split(",")):
        name, sign, value = text.partition("!=" if "!=" in text else "=")
        section, _, key = name.partition(".")
        assert (section, key) in {("spec", "nodeName"), ("status", "phase")}, fields
        conditions.append((section, key, sign == "!=", value))

    def matches(record: Record) -> bool:
        if namespace and record["metadata"]["namespace"] != namespace:
            return False
        return all(
            (record[section].get(key, "") == value) is not negated
            for section, key, negated, value in conditions
        )

    return matches


def bookmark_time(query: Mapping[str, str]) -> float:
    """Return when a watch that begins now has a bookmark, by the loop's clock.

    A shorter watch has no bookmark. A real server also sends one each minute.
    """
    seconds = int(query["timeoutSeconds"]) - BOOKMARK_BEFORE
    is_wanted = query.get("allowWatchBookmarks") == "true" and seconds > 0
    return asyncio.get_running_loop().time() + seconds if is_wanted else math.inf


def bookmark(version: int, annotations: Mapping[str, str]) -> Record:
    """Return the object of a bookmark."""
    metadata = {"resourceVersion": str(version), "annotations": annotations}
    return {"kind": "Pod", "metadata": metadata, "spec": {"containers": None}}


def status(code: int, message: str) -> bytes:
    """Return the body of an error response."""
    return json.dumps(
        {
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": {},
            "status": "Failure",
            "message": message,
            "code": code,
        }
    ).encode()
