"""Define the command `webhook`, which prints or registers MLflow's webhook."""

from typing import Annotated
from urllib.parse import urlsplit

import typer

from surefoot.adapters.mlflow.server.registry_webhook import register_webhook
from surefoot.cli.access.permission import require_allowed_actor
from surefoot.cli.printing.console import console, print_json
from surefoot.cli.read_only import JsonOption
from surefoot.core.access.roles import EVERY_MODEL, Action
from surefoot.core.access.webhook_messages import WEBHOOK_EVENTS, WEBHOOK_PATH, derive_webhook_secret
from surefoot.core.errors import Rejected
from surefoot.settings import read_settings


def webhook(
    url: Annotated[
        str, typer.Option("--url", help="Where MLflow reaches the status page, such as https://surefoot.example.com.")
    ] = "",
    create: Annotated[bool, typer.Option("--create", help="Register it in MLflow; without it, only print it.")] = False,
    json_: JsonOption = False,
) -> None:
    """Print or register the webhook by which MLflow tells of moved aliases; without one they are seen at a tick."""
    config = read_settings()
    require_allowed_actor(config, Action.MANAGE_WEBHOOKS, EVERY_MODEL)
    base = url or config.page
    if url and not ((parts := urlsplit(url)).scheme in {"http", "https"} and parts.hostname):
        raise Rejected(f"--url is '{url}': give http:// or https:// and a host, such as https://surefoot.example.com")
    if not base:
        raise Rejected("this stack was started before it had a status page: 'surefoot down' and 'surefoot up' add it")
    receiver = f"{base.rstrip('/').removesuffix(WEBHOOK_PATH)}{WEBHOOK_PATH}"
    secret = derive_webhook_secret(config.token)
    made = register_webhook(config.mlflow, receiver, secret) if create else None
    events = [f"{entity}.{action}" for entity, action in WEBHOOK_EVENTS]
    if json_:
        print_json({"url": receiver, "events": events, "secret": secret, "id": made})
        return
    if made is not None:
        console.print(f"MLflow {config.mlflow} tells {receiver} of moved aliases (webhook {made})", markup=False)
        return
    for title, value in (("url", receiver), ("events", ", ".join(events)), ("secret", secret)):
        console.print(f"{title:7} {value}", markup=False, soft_wrap=True)


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(webhook)
