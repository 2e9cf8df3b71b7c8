"""abort, rollback: what an operator does at 3 a.m.; neither needs MLflow or Prefect to move traffic."""

import time
from functools import partial
from typing import Annotated

import typer

from surefoot import bootstrap
from surefoot.cli import show
from surefoot.cli.read import Json, Model
from surefoot.cli.show import console
from surefoot.core.chain import Entry
from surefoot.core.errors import OutcomeUnknown, SurefootError, Unavailable
from surefoot.core.events import EffectDone, EffectIntended, SetSplit, decode
from surefoot.core.model import Stage
from surefoot.core.state import Ledger
from surefoot.rollout import Ports, drive, end, open_rollback

Reason = Annotated[str, typer.Option("--reason", "-m", help="Why, for the record.")]
PATIENCE = 10.0
"""How long a command waits for the registry after traffic has moved [seconds]."""


def abort(model: Model, reason: Reason = "operator's decision", json_: Json = False) -> None:
    """Stop the open rollout: all traffic to the champion, now."""
    ports = bootstrap.ports(bootstrap.settings(), show.actor(), show.REGISTRY_DEADLINE_S)
    head = len(ports.journal.read(model))
    began = time.monotonic()
    bootstrap.insist(lambda: end(ports, model, Stage.ABORTED, reason))
    _finish(ports, model, head, began, json_=json_)


def rollback(
    model: Model,
    to: Annotated[str | None, typer.Option(help="Proven-good version; the last one without a name.")] = None,
    reason: Reason = "operator's decision",
    json_: Json = False,
) -> None:
    """Take the candidate or the promoted champion back: traffic first, the registry after."""
    ports = bootstrap.ports(bootstrap.settings(), show.actor(), show.REGISTRY_DEADLINE_S)
    head = len(ports.journal.read(model))
    began = time.monotonic()
    bootstrap.insist(lambda: open_rollback(ports, model, reason, to))
    _finish(ports, model, head, began, json_=json_)


def kill(
    reason: Reason = "operator's decision",
    lift: Annotated[bool, typer.Option("--lift", help="Let candidates have traffic again.")] = False,
) -> None:
    """Set every candidate of every model to 0 percent, now and until --lift: one call to the gateway comes first."""
    config = bootstrap.settings()
    engine = bootstrap.traffic(config)
    if lift:
        engine.lift()
        console.print("the kill switch is lifted: the next route of a rollout counts again")
        return
    began = time.monotonic()
    engine.kill(reason)
    took = (time.monotonic() - began) * 1000.0
    console.print(f"every candidate is cut, {took:.0f} ms; champions answer everything until 'surefoot kill --lift'")
    ports = bootstrap.ports(config, show.actor(), show.REGISTRY_DEADLINE_S)
    for model in ports.journal.models():
        rollout = ports.ledger(model).rollout
        if rollout is not None and rollout.stage is Stage.RAMPING:
            bootstrap.insist(partial(end, ports, model, Stage.ROLLED_BACK, reason, "kill switch"))
            console.print(f"{model}: rollout {rollout.opened.rollout} is being rolled back")


def _finish(ports: Ports, model: str, head: int, began: float, *, json_: bool) -> None:
    """Drive to the sink, tell each step when it is done, and say how long it took until traffic was back."""
    problem: SurefootError | None = None
    shown = head

    def tell(ledger: Ledger, _action: object = None) -> None:
        nonlocal shown
        # Step by step: whoever waits for traffic must not have to wait for a registry that is down as well.
        if not json_ and ledger.head > shown:
            show.history(ports.journal.read(model, after=shown), everything=False)
            shown = ledger.head

    try:
        tell(ports.ledger(model))
        drive(ports, model, until=lambda ledger: not ledger.open, seen=tell, patience=PATIENCE)
    except (Unavailable, OutcomeUnknown) as error:
        problem = error
    entries = ports.journal.read(model, after=head)
    restored = _restored(entries)
    took = (time.monotonic() - began) * 1000.0
    if json_:
        show.emit({"entries": [show.plain_entry(e) for e in entries], "restore_ms": restored, "total_ms": took})
    elif restored is not None:
        console.print(
            f"traffic was back {restored:.0f} ms after the intent, everything {took:.0f} ms after the command"
        )
    if problem:
        moved = "traffic has moved; " if restored is not None else ""
        raise type(problem)(f"{moved}'reconcile' finishes the rest, or run the command again: {problem}")


def _restored(entries: tuple[Entry, ...]) -> float | None:
    """Milliseconds from intent to acknowledgement of the last split in these entries."""
    events = [(entry.seq, decode(entry.kind, entry.data)) for entry in entries]
    splits = {seq for seq, e in events if isinstance(e, EffectIntended) and isinstance(e.effect, SetSplit)}
    times = [e.took_ms for _, e in events if isinstance(e, EffectDone) and e.intent in splits]
    return times[-1] if times else None


def register(app: typer.Typer) -> None:
    """Add the commands."""
    for command in (abort, rollback, kill):
        app.command()(command)
