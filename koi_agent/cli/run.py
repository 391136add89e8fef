"""``koi-runtime run``: be the agent."""

import logging
import os
from argparse import ArgumentParser
from collections.abc import Callable

from koi_agent import config
from koi_agent.cli.arguments import Arguments, Misuse
from koi_agent.cli.output import Output
from koi_agent.core.errors import ConfigError

BeAgent = Callable[[config.Config], int]
"""Runs an agent to its end; returns its exit code."""


def takes(parser: ArgumentParser) -> None:
    parser.add_argument(
        "--runtime",
        metavar="NAME[,NAME…]",
        help=f"the runtimes to follow: {', '.join(config.ACCEPTED)} ($KOI_RUNTIME)",
    )
    parser.add_argument(
        "--no-runtime", action="store_true", help="follow no runtime ($KOI_NO_RUNTIME)"
    )
    parser.add_argument(
        "--log-level",
        metavar="LEVEL",
        help=f"{', '.join(config.LOG_LEVELS)} ($KOI_LOG_LEVEL)",
    )


def act(be_agent: BeAgent, arguments: Arguments, _output: Output) -> int:
    try:
        wanted = config.config(
            arguments.scope,
            arguments.runtime,
            os.environ,
            no_runtime=arguments.no_runtime,
            log_level=arguments.log_level,
        )
    except ConfigError as error:
        raise Misuse(str(error)) from error
    logging.basicConfig(level=wanted.log_level, format="%(message)s")
    return be_agent(wanted)
