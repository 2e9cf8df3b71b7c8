"""Define the command `scorecard`, which scores a model by the ML Test Score."""

from collections.abc import Sequence

import typer
from rich.markup import escape
from rich.table import Table

from surefoot import wiring
from surefoot.adapters.config.policy_folder import read_model_policy
from surefoot.cli.printing.console import console, print_json, print_table
from surefoot.cli.read_only import JsonOption, ModelArgument
from surefoot.core.errors import NotFound
from surefoot.core.journal.events import as_json
from surefoot.core.journal.ledger import fold_entries
from surefoot.core.scorecard.ml_test_score import ScoredTest, Section, make_scorecard
from surefoot.core.scorecard.scorecard_facts import collect_scorecard_facts
from surefoot.settings import read_settings


def scorecard(model: ModelArgument, json_: JsonOption = False) -> None:
    """Score what policy and journal prove of a model, by the 28 tests of the ML Test Score, each with its evidence."""
    config = read_settings()
    _, policy = read_model_policy(config.configs, model)
    with wiring.open_journal(config) as journal:
        entries = journal.read(model)
    if not entries:
        raise NotFound(f"the journal holds nothing of {model}: promote a version first")
    facts = collect_scorecard_facts(policy, fold_entries(model, entries), entries, wiring.make_clock(config).now())
    made = make_scorecard(facts)
    sections = {section.value: made.section_points(section) for section in Section}
    if json_:
        tests = [as_json(test) for test in made.tests]
        print_json({"model": model, "score": made.score, "sections": sections, "tests": tests})
        return
    _print(made.tests)
    said = ", ".join(f"{name} {points:g}" for name, points in sections.items())
    console.print(
        f"{escape(model)}: {made.score:g} of 7, the smallest of {said} (one point a test that runs by itself, half"
        " for one by hand)"
    )


def _print(tests: Sequence[ScoredTest]) -> None:
    table = Table("test", "points", "what it asks for", "what the points rest on", box=None, padding=(0, 1))
    for test in tests:
        table.add_row(f"{test.section} {test.number}", f"{test.points:g}", test.asks, escape(test.evidence))
    print_table(table)


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(scorecard)
