"""Authorization of calls: root, the agent's own user, and users that polkit authorizes."""

import os

from koi_agent.bus.client import CallError
from koi_agent.bus.errors import BusLost
from koi_agent.bus.interfaces import Call, ErrorReply
from koi_agent.bus.marshalling import Typed

POLKIT = (
    "org.freedesktop.PolicyKit1",
    "/org/freedesktop/PolicyKit1/Authority",
    "org.freedesktop.PolicyKit1.Authority",
)
ALLOW_USER_INTERACTION = 1
"""Flag of CheckAuthorization."""
INTERACTIVE_TIMEOUT = 120.0
"""Seconds that a user has to type a password."""

DENIED = "org.freedesktop.DBus.Error.AccessDenied"
NEEDS_INTERACTION = "org.freedesktop.DBus.Error.InteractiveAuthorizationRequired"


async def check(call: Call, action: str) -> None:
    """Raise ``ErrorReply`` unless the caller is authorized for a polkit action.

    Without polkit only root and the agent's own user are.
    """
    try:
        uid = await call.connection.unix_user(call.sender)
    except (CallError, BusLost, TimeoutError) as error:
        text = f"{action}: not authorized: the bus does not report the uid of {call.sender}"
        raise ErrorReply(DENIED, text) from error
    if uid not in (0, os.getuid()):
        await _ask_polkit(call, action)


async def _ask_polkit(call: Call, action: str) -> None:
    subject = ["system-bus-name", {"name": Typed("s", call.sender)}]
    flags = ALLOW_USER_INTERACTION if call.interactive else 0
    try:
        ((allowed, challenge, _),) = await call.connection.call(
            POLKIT,
            "CheckAuthorization",
            "(sa{sv})sa{ss}us",
            (subject, action, {}, flags, ""),
            within=INTERACTIVE_TIMEOUT if call.interactive else 25.0,
        )
    except (CallError, BusLost, TimeoutError) as error:
        text = f"{action}: not authorized: polkit does not answer, so only root may call this"
        raise ErrorReply(DENIED, text) from error
    if not allowed:
        name = NEEDS_INTERACTION if challenge and not call.interactive else DENIED
        raise ErrorReply(name, f"{action}: not authorized")
