"""Who may do what changes something: root, the agent's own user, and whom polkit allows."""

import os

from koi_agent.bus.client import CallError
from koi_agent.bus.interfaces import Call, ErrorReply
from koi_agent.bus.messages import Variant
from koi_agent.bus.writer import BusLost

POLKIT = (
    "org.freedesktop.PolicyKit1",
    "/org/freedesktop/PolicyKit1/Authority",
    "org.freedesktop.PolicyKit1.Authority",
)
ASK_USER = 1
"""CheckAuthorization flag AllowUserInteraction."""
INTERACTIVE_TIMEOUT = 120.0
"""Seconds somebody has to type a password."""

DENIED = "org.freedesktop.DBus.Error.AccessDenied"
ASK_AGAIN = "org.freedesktop.DBus.Error.InteractiveAuthorizationRequired"


async def check(call: Call, action: str) -> None:
    """Pass, or raise ``ErrorReply``: where there is no polkit, nobody else is allowed."""
    try:
        uid = await call.link.user_of(call.sender)
    except (CallError, BusLost, TimeoutError) as error:
        raise ErrorReply(DENIED, "the bus does not say who you are") from error
    if uid not in (0, os.getuid()):
        await _ask_polkit(call, action)


async def _ask_polkit(call: Call, action: str) -> None:
    subject = ["system-bus-name", {"name": Variant("s", call.sender)}]
    flags = ASK_USER if call.interactive else 0
    try:
        ((allowed, challenge, _),) = await call.link.call(
            POLKIT,
            "CheckAuthorization",
            "(sa{sv})sa{ss}us",
            (subject, action, {}, flags, ""),
            within=INTERACTIVE_TIMEOUT if call.interactive else 25.0,
        )
    except (CallError, BusLost, TimeoutError) as error:
        raise ErrorReply(DENIED, f"{action}: only root may, as polkit can't be asked") from error
    if not allowed:
        name = ASK_AGAIN if challenge and not call.interactive else DENIED
        raise ErrorReply(name, f"{action}: not authorized")
