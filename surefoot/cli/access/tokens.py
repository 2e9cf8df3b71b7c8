"""Define the `token` commands, which create, list and revoke access tokens."""

import datetime as dt
import re
import time
from typing import Annotated

import typer
from rich.table import Table

from surefoot.adapters.access.access_log import record_access
from surefoot.adapters.access.token_file import TokenFile
from surefoot.cli.access.permission import require_allowed_actor
from surefoot.cli.printing.console import console, format_utc_time, print_json
from surefoot.cli.read_only import JsonOption
from surefoot.core.access.access_tokens import AccessToken
from surefoot.core.access.roles import EVERY_MODEL, Action, Role
from surefoot.core.errors import Rejected
from surefoot.core.naming.model_names import is_model_name
from surefoot.core.policy.scalars import parse_duration
from surefoot.settings import read_settings

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_LONGEST_LIFE_S = 366 * 86_400.0
"""Longest life of a token [s]: one that is forgotten ends by itself."""

app = typer.Typer(help="Manage access tokens, with which programs act over HTTP.", no_args_is_help=True)


@app.command()
def create(
    name: Annotated[str, typer.Argument(help="Names it in the journal, as token:NAME.")],
    role: Annotated[Role, typer.Option("--role", help="What it may do; reporter may only report labels.")],
    expires: Annotated[str, typer.Option("--expires", help="After how long it ends, such as 30d; at most 366d.")] = (
        "30d"
    ),
    model: Annotated[list[str] | None, typer.Option("--model", help="Holds for this model only; repeatable.")] = None,
    json_: JsonOption = False,
) -> None:
    """Make an access token and print it, once: only its digest is kept."""
    config = read_settings()
    if not _NAME.fullmatch(name):
        raise Rejected(f"'{name[:64]}' is no name of a token: letters, digits, '.', '_' and '-', at most 64")
    if wrong := [one for one in model or () if not is_model_name(one)]:
        raise Rejected(f"'{wrong[0][:64]}' is no name of a registered model")
    actor, now = require_allowed_actor(config, Action.MANAGE_TOKENS, EVERY_MODEL), time.time()
    models = tuple(dict.fromkeys(model or (EVERY_MODEL,)))
    secret, made = TokenFile(config.home).create(name, role, models, now, now + _life(expires), actor)
    record_access(config.home, now, actor, "create token", ", ".join(models), f"{name}, {role}")
    if json_:
        print_json({**_token_json(made, now), "token": secret})
        return
    typer.echo(secret)
    until = format_utc_time(made.expires)
    console.print(
        f"token {name}: {role} of {_models(made)} until {until} UTC; it is shown this once, 'surefoot token revoke"
        f" {name}' ends it",
        markup=False,
        soft_wrap=True,
    )


@app.command(name="list")
def list_(json_: JsonOption = False) -> None:
    """List access tokens: what each may do, until when, and who made it."""
    config = read_settings()
    now = time.time()
    known = list(TokenFile(config.home).tokens().values())
    if json_:
        print_json({"tokens": [_token_json(one, now) for one in known]})
        return
    table = Table("name", "role", "models", "state", "expires (UTC)", "made by", box=None, padding=(0, 2))
    for one in known:
        table.add_row(one.name, one.role, _models(one), one.state(now), format_utc_time(one.expires), one.created_by)
    console.print(table if known else "there are no access tokens: 'surefoot token create' makes one")


@app.command()
def revoke(name: Annotated[str, typer.Argument(help="Its name.")]) -> None:
    """End an access token at once."""
    config = read_settings()
    actor, now = require_allowed_actor(config, Action.MANAGE_TOKENS, EVERY_MODEL), time.time()
    TokenFile(config.home).revoke(name, now, actor)
    record_access(config.home, now, actor, "revoke token", EVERY_MODEL, name)
    console.print(f"token {name} does not count any more", markup=False)


def _life(text: str) -> float:
    """How long a token lives [s].

    Raises:
        Rejected: It is no duration, or too long.
    """
    try:
        found = parse_duration(text)
    except ValueError as error:
        raise Rejected(f"--expires {text[:40]}: give a duration such as 12h or 30d") from error
    if not 0.0 < found <= _LONGEST_LIFE_S:
        raise Rejected(f"--expires {text}: above 0s, and at most {_LONGEST_LIFE_S / 86_400.0:.0f}d")
    return found


def _models(token: AccessToken) -> str:
    return "every model" if EVERY_MODEL in token.models else ", ".join(token.models)


def _token_json(token: AccessToken, now: float) -> dict[str, object]:
    return {
        "name": token.name,
        "role": token.role.value,
        "models": list(token.models),
        "state": token.state(now),
        "created": _iso(token.created),
        "created_by": token.created_by,
        "expires": _iso(token.expires),
        "revoked": _iso(token.revoked) if token.revoked else None,
        "revoked_by": token.revoked_by or None,
    }


def _iso(at: float) -> str:
    return dt.datetime.fromtimestamp(at, dt.UTC).isoformat(timespec="seconds")


def register(commands: typer.Typer) -> None:
    """Add the group of commands."""
    commands.add_typer(app, name="token")
