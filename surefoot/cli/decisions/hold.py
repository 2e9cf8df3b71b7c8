"""Define the commands `pause`, `resume`, `freeze` and `unfreeze`, which hold or continue rollouts."""

import datetime as dt
from functools import partial
from typing import Annotated

import typer

from surefoot import wiring
from surefoot.cli.access.permission import open_allowed_ports
from surefoot.cli.printing.console import console, format_utc_time
from surefoot.cli.read_only import ModelArgument
from surefoot.core.access.roles import EVERY_MODEL, Action
from surefoot.core.errors import Rejected, TransitionIllegal
from surefoot.core.policy.scalars import parse_duration
from surefoot.rollout import Ports, freeze_model, pause_rollout, resume_rollout, retry_on_conflict, unfreeze_model
from surefoot.settings import Settings, read_settings

_ReasonOption = Annotated[str, typer.Option("--reason", "-m", help="Why, for the record.")]
_OptionalModel = Annotated[str | None, typer.Argument(help="Registered model.")]
_AllOption = Annotated[bool, typer.Option("--all", help="Every model.")]


def pause(model: ModelArgument, reason: _ReasonOption) -> None:
    """Hold the open rollout in place; its guardrails stay armed, and abort and rollback work as ever."""
    with open_allowed_ports(Action.PAUSE, model) as ports:
        ledger = retry_on_conflict(lambda: pause_rollout(ports, model, reason))
        rollout = ledger.rollout
        where = f" in {rollout.stage}" if rollout else ""
        console.print(f"{model}: held in place{where} until 'surefoot resume {model}'", markup=False)


def resume(model: ModelArgument, reason: _ReasonOption = "asked for by hand") -> None:
    """Let a rollout go on that a person has paused."""
    with open_allowed_ports(Action.RESUME, model) as ports:
        retry_on_conflict(lambda: resume_rollout(ports, model, reason))
        console.print(f"{model}: it goes on at its next look", markup=False)


def freeze(
    reason: _ReasonOption,
    model: _OptionalModel = None,
    all_: _AllOption = False,
    until: Annotated[
        str | None, typer.Option("--until", help="End: a time such as 2026-12-27T08:00+01:00, or a span such as 12h.")
    ] = None,
) -> None:
    """Let no version get more traffic for a while; rollouts hold in place, abort and rollback work as ever."""
    with open_allowed_ports(Action.FREEZE, model or EVERY_MODEL) as ports:
        end = None if until is None else _end(until, ports.clock.now())
        for name in _models(read_settings(), ports, model, all_=all_):
            retry_on_conflict(partial(freeze_model, ports, name, reason, end))
            ends = "until 'surefoot unfreeze'" if end is None else f"until {format_utc_time(end)} UTC"
            console.print(f"{name}: frozen {ends}", markup=False)


def unfreeze(
    model: _OptionalModel = None,
    all_: _AllOption = False,
    reason: _ReasonOption = "asked for by hand",
) -> None:
    """End a freeze that a person began; those of the calendar end as the calendar says."""
    with open_allowed_ports(Action.UNFREEZE, model or EVERY_MODEL) as ports:
        thawed = 0
        for name in _models(read_settings(), ports, model, all_=all_):
            try:
                retry_on_conflict(partial(unfreeze_model, ports, name, reason))
            except TransitionIllegal:
                if not all_:
                    raise
                continue
            thawed += 1
            console.print(f"{name}: not frozen any more", markup=False)
        if all_ and not thawed:
            raise TransitionIllegal("no model is frozen by a person")


def _models(config: Settings, ports: Ports, model: str | None, *, all_: bool) -> list[str]:
    """The model that is named, or every one.

    Raises:
        Rejected: Neither a model nor --all, or both.
    """
    if (model is None) != all_:
        raise Rejected("name a model, or --all: one of the two")
    known = sorted({*ports.journal.models(), *wiring.read_policies(config)})
    if model is not None and model not in known:
        raise Rejected(f"nothing is known of {model}; known: {', '.join(known) or 'none'}")
    return known if model is None else [model]


def _end(text: str, now: float) -> float:
    """When a freeze ends [Unix seconds].

    Raises:
        Rejected: It is neither a time nor a span, or is over.
    """
    try:
        end = now + parse_duration(text)
    except ValueError:
        try:
            moment = dt.datetime.fromisoformat(text)
        except ValueError as error:
            raise Rejected(f"'{text}' is neither a time such as 2026-12-27T08:00 nor a span such as 12h") from error
        end = moment.astimezone().timestamp() if moment.tzinfo is None else moment.timestamp()
    if end <= now:
        raise Rejected(f"'{text}' is over already: nothing was frozen")
    return end


def register(app: typer.Typer) -> None:
    """Add the commands."""
    for command in (pause, resume, freeze, unfreeze):
        app.command()(command)
