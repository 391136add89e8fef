"""The command: prints a line for each finding, and fails if one of them is a failure."""

import asyncio
import os
from collections.abc import Sequence

from koi_agent.cli.arguments import Arguments
from koi_agent.cli.doctor.examination import Result, examine
from koi_agent.cli.doctor.findings import Case, Verdict, this_host
from koi_agent.cli.output import Output, Style
from koi_agent.core.text import printable

MARKS = {
    Verdict.OK: ("ok  ", Style.GOOD),
    Verdict.WARNING: ("warn", Style.WARNING),
    Verdict.FAILURE: ("FAIL", Style.BAD),
}


def act(arguments: Arguments, output: Output) -> int:
    case = Case(scope=arguments.agent, environment=os.environ, host=this_host())
    results = asyncio.run(examine(case))
    if output.mode != "off":
        output.json([record(result) for result in results])
    else:
        for result in results:
            output.write(line(result, output))
        if output.legend:
            output.write(f"\n{summary(results)}")
    return 1 if count(results, Verdict.FAILURE) else 0


def line(result: Result, output: Output) -> str:
    name, finding = result
    advice = f" ({finding.advice})" if finding.advice else ""
    mark = output.styled(*MARKS[finding.verdict])
    return f"{mark} {name:<13} {printable(finding.text + advice)}"


def record(result: Result) -> dict[str, str | None]:
    name, finding = result
    return {
        "check": name,
        "verdict": str(finding.verdict),
        "text": finding.text,
        "advice": finding.advice or None,
    }


def summary(results: Sequence[Result]) -> str:
    """Return the numbers of failures and warnings as text."""
    failures, warnings = (count(results, v) for v in (Verdict.FAILURE, Verdict.WARNING))
    if not failures and not warnings:
        return "No problems found."
    return ", ".join(
        f"{number} {noun}{'' if number == 1 else 's'}"
        for number, noun in ((failures, "failure"), (warnings, "warning"))
        if number
    )


def count(results: Sequence[Result], verdict: Verdict) -> int:
    return sum(finding.verdict is verdict for _, finding in results)
