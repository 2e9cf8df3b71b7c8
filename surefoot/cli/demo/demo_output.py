"""Print the demo's serving engine, the timeline of its versions, and whether its claims hold."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.table import Table

from surefoot.cli.printing.console import colour_outcome_words, console
from surefoot.core.serving_engines.engine_abilities import EngineAbilities, EngineName, missing_abilities

if TYPE_CHECKING:
    from surefoot.demo.demo_report import RolloutSummary


def print_engine(name: EngineName, served: str, left_out: Sequence[str]) -> None:
    """Say what answers callers in place of the gateway, and what this engine cannot do."""
    console.print(f"[bold]engine '{name}'[/bold]: {served}")
    console.print("    the prediction log is written from what callers got, as 'surefoot record --log' does")
    for sentence in missing_abilities(name):
        console.print(f"    {sentence.partition(': ')[2]}", markup=False)
    for part in left_out:
        console.print(f"    not in its policy: {part}", markup=False)


def print_timeline(found: "list[RolloutSummary]", able: EngineAbilities) -> None:
    """What became of each version, in a few lines each: tables break long reasons into pieces."""
    console.print("\n[bold]What happened[/bold]")
    for item in found:
        version = f"version {item.scene.number}, " if item.scene.number else ""
        console.print(
            f"  ({item.scene.story}) {version}{item.scene.title}: {colour_outcome_words(item.terminal_stage)}"
        )
        console.print(f"      {colour_outcome_words(' '.join(item.reason.split()))}")
        if item.stages:
            console.print(f"      [dim]{' > '.join(item.stages)}[/dim]")
        times = []
        if item.candidate_errors:
            then = "the champion answered them" if able.answers_for_failing_candidate else "their callers got the error"
            times.append(f"it failed {item.candidate_errors} requests, and {then}")
        if item.detect is not None:
            times.append(f"detected {item.detect / 3600:.1f} h of the replay after the first failure")
        if item.restore_ms is not None:
            times.append(f"traffic was back in {item.restore_ms:.0f} ms")
        if item.late_answers is not None and not able.answers_for_failing_candidate:
            times.append(f"it was asked {item.late_answers} more times afterwards")
        if times:
            console.print(f"      {'; '.join(times)}")


def print_claims(rows: list[dict[str, object]]) -> None:
    """Print what was claimed, what was found, and whether each claim holds."""
    table = Table("claim", "found", "demanded", "", title="What was claimed", width=100)
    for row in rows:
        value = f"{row['value']:.4g}" if isinstance(row["value"], float) else str(row["value"])
        mark = "[green]ok[/green]" if row["ok"] else "[red]MISSED[/red]"
        table.add_row(str(row["name"]), f"{value} {row['unit']}".strip(), str(row["demand"]), mark)
    console.print(table)
