"""``koi-runtime reload``: reload the configuration of the agent; silent on success."""

from koi_agent.cli.arguments import Arguments
from koi_agent.cli.client import agent
from koi_agent.cli.output import Output


def act(arguments: Arguments, _output: Output) -> int:
    """Reload; raise ``Refused`` with file, line and reason if the configuration is invalid."""
    with agent(arguments.agent) as client:
        client.reload()
    return 0
