"""Define the command `notify`, which lists sent and queued messages."""

import time
from typing import Annotated

import typer
from rich.markup import escape
from rich.table import Table

from surefoot.adapters.config.notify_file import NOTIFY_FILE, read_notify_config
from surefoot.adapters.notify.outbox import DeliveryState, Outbox, QueuedMessage
from surefoot.cli.printing.console import console, format_utc_time, print_json, print_table
from surefoot.cli.read_only import JsonOption
from surefoot.core.errors import NotFound, Unavailable
from surefoot.core.journal.events import as_json
from surefoot.core.policy.recovery.notify_config import NotifyConfig
from surefoot.incidents.notifications import deliver_batch, open_outbox, send_test_notification
from surefoot.settings import Settings, read_settings

_SHOWN = 20
"""Delivered messages that are listed beside all that wait [count]."""


def notify(
    test: Annotated[str, typer.Option(help="Send a test message to this receiver, now.")] = "",
    retry: Annotated[str, typer.Option(help="Try again what this receiver did not take, now.")] = "",
    dismiss: Annotated[str, typer.Option(help="Give up, for good, what this receiver did not take.")] = "",
    json_: JsonOption = False,
) -> int:
    """List the latest messages to people and all that wait; exits with 1 when one was not delivered."""
    config = read_settings()
    routes = read_notify_config(config.configs)
    if routes is None:
        raise NotFound(f"there is no {config.configs / NOTIFY_FILE}: no message leaves, see docs/policy.md")
    if test:
        _test(config, routes, test)
        return 0
    with open_outbox(config) as outbox:
        if retry:
            return _retry(config, routes, outbox, retry)
        if dismiss:
            console.print(f"{outbox.dismiss(dismiss, time.time())} messages to {escape(dismiss)} are given up")
            return 0
        left = outbox.undelivered()
        latest = {one.id: one for one in (*outbox.latest(_SHOWN), *left)}
    shown = sorted(latest.values(), key=lambda one: (one.queued, one.seq))
    if json_:
        print_json({"receivers": list(routes.receivers), "messages": [as_json(one) for one in shown]})
    elif not shown:
        console.print(f"no message was queued yet; receivers: {escape(', '.join(routes.receivers))}")
    else:
        _print(shown)
    return 1 if left else 0


def _test(config: Settings, routes: NotifyConfig, receiver: str) -> None:
    """Send a test message.

    Raises:
        Unavailable: It was not delivered.
    """
    with console.status(f"sending a test message to {receiver}"):
        problem = send_test_notification(config, routes, receiver)
    if problem:
        raise Unavailable(f"receiver {receiver} did not take the test message: {problem}")
    console.print(f"[green]ok[/green] receiver {escape(receiver)} has taken a test message")


def _retry(config: Settings, routes: NotifyConfig, outbox: Outbox, receiver: str) -> int:
    """Try everything again that a receiver did not take; 4 when some of it was not delivered again."""
    now = time.time()
    asked = outbox.reopen(receiver, now, now + routes.expires)
    results: dict[str, str] = {}
    with console.status(f"sending {asked} messages to {receiver}"):
        while batch := deliver_batch(config, routes, outbox, receiver):
            results |= batch
    failed = [problem for problem in results.values() if problem]
    console.print(f"{len(results) - len(failed)} of {asked} messages to {escape(receiver)} were delivered")
    for problem in sorted(set(failed)):
        console.print(f"not delivered: {problem}", markup=False)
    return Unavailable.exit_code if failed else 0


def _print(messages: list[QueuedMessage]) -> None:
    table = Table(
        "queued (UTC)",
        "model",
        "severity",
        "what",
        "receiver",
        "state",
        "attempts",
        "why not",
        box=None,
        padding=(0, 2),
    )
    for one in messages:
        style = {DeliveryState.DELIVERED: "green", DeliveryState.WAITING: "yellow"}.get(one.state, "red")
        since = f"since {format_utc_time(one.failing_since)}: " if one.failing_since and one.problem else ""
        table.add_row(
            format_utc_time(one.queued),
            escape(one.model),
            one.severity,
            escape(one.title.removeprefix(f"{one.model}: ")),
            escape(f"{one.receiver} ({one.whom})" if one.whom else one.receiver),
            f"[{style}]{one.state}[/{style}]",
            str(one.attempts),
            escape(since + one.problem),
        )
    print_table(table, 200)


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(notify)
