"""Field selectors and error responses of a fake cluster."""

import json

from tests.runtimes.fake_cluster import Matches, Record


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


def status(code: int, message: str) -> bytes:
    """Return the body of an error response."""
    return json.dumps(
        {"kind": "Status", "apiVersion": "v1", "code": code, "message": message, "metadata": {}}
    ).encode()
