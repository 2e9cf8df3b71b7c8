"""Define the command `page`, which prints a sign-in link to the status page."""

import time
import webbrowser
from typing import Annotated

import typer

from surefoot.cli.printing.console import console
from surefoot.cli.shared.actor import current_actor
from surefoot.core.errors import Rejected
from surefoot.settings import read_settings
from surefoot.status_page.sign_in import LINK_LIFE_S, make_link_key


def page(
    open_: Annotated[bool, typer.Option("--open", help="Open it in this machine's browser.")] = False,
) -> None:
    """Print a link to the status page that signs you in, so that its buttons act in your name."""
    config = read_settings()
    if not config.page:
        raise Rejected("this stack was started before it had a status page: 'surefoot down' and 'surefoot up' add it")
    name = current_actor().removeprefix("cli:")
    link = f"{config.page}/sign-in?key={make_link_key(config.token, name, time.time())}"
    typer.echo(link)
    console.print(f"it signs in {name}, and can be used for {LINK_LIFE_S / 60:.0f} minutes", markup=False)
    if open_:
        webbrowser.open(link)


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(page)
