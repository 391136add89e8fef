"""``koi-runtime run``: run the agent in the foreground."""

import errno
import os
from collections.abc import Callable
from functools import partial

from koi_agent.cli.arguments import Arguments, UsageError
from koi_agent.cli.output import Output, complain
from koi_agent.config import FlagError, Flags, Loaded, load
from koi_agent.core.errors import ConfigError

Load = Callable[[], Loaded]
"""Loads the configuration with the same options and environment; raises ``ConfigError``."""
RunAgent = Callable[[Load, Loaded], int]
"""Runs an agent until it ends; returns its exit code."""


def act(run_agent: RunAgent, arguments: Arguments, _output: Output) -> int:
    """Load the configuration and run the agent; return an exit code of sysexits.h."""
    load_config = partial(load, flags(arguments), dict(os.environ))
    try:
        loaded = load_config()
    except FlagError as error:
        raise UsageError(str(error)) from error
    except ConfigError as error:
        _report_failure(str(error))
        return os.EX_CONFIG
    return run_agent(load_config, loaded)


def _report_failure(reason: str) -> None:
    """Report to standard error and to systemd why the agent does not start."""
    from koi_agent.host.notify import Notifier  # noqa: PLC0415 - other commands do not need it

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
