"""Print a back-test's gate evaluations, convert them to JSON, and print the back-test of an incident case."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rich.table import Table

from surefoot.adapters.config.incident_cases import read_case
from surefoot.backtest import GateEvaluation
from surefoot.cli.printing.console import colour_outcome_words, console, format_utc_time, print_json, print_table
from surefoot.core.errors import Rejected
from surefoot.core.incidents.review.incident_case import CaseKind
from surefoot.core.incidents.review.policy_change_ranking import describe_backtest_outcome
from surefoot.core.journal.events import as_json
from surefoot.incidents.incident_cases import CaseBacktester, summarise_backtest

if TYPE_CHECKING:
    from surefoot.core.domain import Outcome


def print_evaluations(looks: Sequence[GateEvaluation], *, every: bool) -> None:
    """Print the gate evaluations as a table.

    Args:
        looks: Looks, in order.
        every: Whether a look that says the same as the one before is printed too.
    """
    table = Table("time (UTC)", "stage", "gate", "verdict", "n", "reason", box=None, padding=(0, 1))
    before: dict[tuple[object, ...], Outcome] = {}
    hidden = 0
    for look in looks:
        key = (look.stage, look.weight, look.verdict.gate)
        if not every and before.get(key) is look.verdict.outcome:
            hidden += 1
            continue
        before[key] = look.verdict.outcome
        stage = f"{look.stage} {look.weight:g} %" if 0.0 < look.weight < 100.0 else str(look.stage)  # noqa: PLR2004 - percent
        verdict = look.verdict
        table.add_row(
            format_utc_time(look.at),
            stage,
            verdict.gate,
            colour_outcome_words(verdict.outcome.value),
            f"{verdict.n:,}",
            verdict.reason,
        )
    print_table(table)
    if hidden:
        console.print(f"{hidden:,} looks said the same as the one before; --every-look prints them")


def evaluations_json(looks: Sequence[GateEvaluation]) -> list[dict[str, object]]:
    """Convert gate evaluations to JSON values."""
    return [
        {"at": look.at, "stage": look.stage.value, "weight": look.weight, **as_json(look.verdict)} for look in looks
    ]


def print_incident_case_backtest(
    folder: Path, model: str, policy: Path, draws: int, *, every: bool, as_json_: bool
) -> int:
    """Back-test a policy on a case, or count its false alarms there, and print what comes of it.

    Args:
        folder: Folder of the case.
        model: Registered model.
        policy: The policy file.
        draws: Rollouts of the good version against itself [count]; 0 to play the case.
        every: Whether each look is printed.
        as_json_: Whether JSON is printed.

    Raises:
        Rejected: The case is of another model, cannot be read, or is no rollout that could be repeated.
    """
    stored = read_case(folder)
    case = stored.case
    if case.model != model:
        raise Rejected(f"{folder} is a case of {case.model}, not of {model}")
    if draws and case.kind is CaseKind.WATCH:
        raise Rejected("--against-itself repeats a rollout; the false alarms of a watch are in its own back-test")
    with CaseBacktester(stored) as player:
        if draws:
            alarms = player.backtest_against_itself(policy, draws)
            if as_json_:
                print_json({"case": str(folder), "policy": str(policy), "rollouts": draws, "false_alarms": alarms})
            else:
                console.print(
                    f"version {case.good} against itself: {alarms} of {draws} rollouts are stopped", markup=False
                )
            return 0
        found = player.play(policy)
    played = summarise_backtest(None, case, found)
    if as_json_:
        told = {key: value for key, value in as_json(played).items() if key != "change"}
        print_json({"case": str(folder), "policy": str(policy), **told, "looks": evaluations_json(found.looks)})
        return 0
    print_evaluations(found.looks, every=every)
    console.print(describe_backtest_outcome(case, played), markup=False, soft_wrap=True)
    if case.kind is CaseKind.WATCH:
        days = played.trials * 365.25
        console.print(f"{found.false_alarms} false alarms in the {days:.0f} days of looks before the onset")
    return 0
