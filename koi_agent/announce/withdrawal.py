"""How a feed leaves a provider: nothing stays that no session replaces."""

from koi_agent.core.contracts import Lasting


async def leave(provider: object, following: object = None) -> None:
    """Withdraw what a provider keeps without a session, unless ``following`` replaces it."""
    if not isinstance(provider, Lasting):
        return
    if not (isinstance(following, Lasting) and following.place == provider.place):
        await provider.withdraw()
