"""Define the command `card`, which prints a model card section or a changelog of promotions."""

from typing import Annotated

import typer

from surefoot import wiring
from surefoot.cli.printing.console import console, print_json
from surefoot.cli.read_only import JsonOption, ModelArgument
from surefoot.core.errors import NotFound
from surefoot.core.served_versions.promotion_card import card_markdown, changelog_line, promotion_cards
from surefoot.settings import read_settings


def card(
    model: ModelArgument,
    version: Annotated[str, typer.Option(help="Version; the one that was promoted last without.")] = "",
    changelog: Annotated[bool, typer.Option("--changelog", help="A line for each promotion, latest first.")] = False,
    json_: JsonOption = False,
) -> None:
    """Print the section of a model card about a promotion, as Markdown to paste, or the changelog of all."""
    with wiring.open_journal(read_settings()) as journal:
        found = promotion_cards(journal.read(model))
    if version:
        found = tuple(one for one in found if one.opened.candidate.number == version)
    if not found:
        what = f"version {version} of {model}" if version else model
        raise NotFound(f"the journal holds no promotion of {what}: 'surefoot versions {model}' lists what has served")
    if json_:
        told = [
            {
                "version": one.opened.candidate.number,
                "replaced": one.opened.champion.number,
                "promoted_at": one.promoted_at,
                "taken_back": one.taken_back,
                "card": card_markdown(one, model),
                "changelog": changelog_line(one),
            }
            for one in found
        ]
        print_json({"model": model, "promotions": told})
    elif changelog:
        for one in reversed(found):
            console.print(changelog_line(one), markup=False, soft_wrap=True, highlight=False)
    else:
        console.print(card_markdown(found[-1], model), markup=False, soft_wrap=True, highlight=False)


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(card)
