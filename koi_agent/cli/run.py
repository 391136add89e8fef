"""``koi-runtime run``: be the agent."""

import errno
import os
from collections.abc import Callable
from functools import partial

from koi_agent.cli.arguments import Arguments, Misuse
from koi_agent.cli.output import Output, complain
from koi_agent.config import FlagError, Flags, Loaded, load
from koi_agent.core.errors import ConfigError

LoadAgain = Callable[[], Loaded]
"""Reads the configuration anew, for the same flags and environment; raises ``ConfigError``."""
BeAgent = Callable[[LoadAgain, Loaded], int]
"""Runs an agent to its end; returns its exit code."""


def act(be_agent: BeAgent, arguments: Arguments, _output: Output) -> int:
    """Read the configuration and be the agent; what is wrong is told by sysexits.h's codes."""
    load_again = partial(load, flags(arguments), dict(os.environ))
    try:
        loaded = load_again()
    except FlagError as error:
        raise Misuse(str(error)) from error
    except ConfigError as error:
        _refuse(str(error))
        return os.EX_CONFIG
    return be_agent(load_again, loaded)


def _refuse(reason: str) -> None:
    """Say why there is no agent, to whoever started it."""
    from koi_agent.host.notify import Notifier  # noqa: PLC0415 - no client of the agent needs it

    complain(reason)
    notifier = Notifier(os.environ)
    notifier.failed(reason, errno=errno.EINVAL)
    notifier.close()


def flags(arguments: Arguments) -> Flags:
    return Flags(
        scope=arguments.scope,
        runtime=arguments.runtime,
        no_runtime=arguments.no_runtime,
        log_level=arguments.log_level,
    )
