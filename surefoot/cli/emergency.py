"""Define the emergency commands `abort`, `rollback`, `kill` and `repair`."""

import contextlib
import re
import sys
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Annotated

import typer
from rich.markup import escape

from surefoot import wiring
from surefoot.cli.access.permission import open_allowed_ports, require_allowed_actor
from surefoot.cli.printing.console import console, print_json
from surefoot.cli.printing.journal_output import entry_json, print_history
from surefoot.cli.read_only import JsonOption, ModelArgument
from surefoot.cli.served.data import restore_tables
from surefoot.cli.shared.timeouts import REGISTRY_TIMEOUT_S
from surefoot.core.access.roles import EVERY_MODEL, Action
from surefoot.core.domain import RolloutKind, Stage
from surefoot.core.errors import (
    AliasDrift,
    JournalUnavailable,
    OutcomeUnknown,
    RegistryUnavailable,
    Rejected,
    SurefootError,
    Unavailable,
)
from surefoot.core.journal.chain import Entry
from surefoot.core.journal.events import DriftFound, EffectDone, EffectIntended, SetSplit, as_json, decode_event
from surefoot.core.journal.ledger import Ledger
from surefoot.core.operator_reason import Reason as Why
from surefoot.core.operator_reason import clean_reason
from surefoot.core.rollback.stepped_rollback import is_rolling_back_in_steps, waits_for_person
from surefoot.core.served_versions.exposure_periods import last_rolled_back_version
from surefoot.core.stages.stage_places import WAITING_STAGES
from surefoot.rollout import (
    Ports,
    drive_rollout,
    end_rollout,
    has_live_drill_route,
    list_pending_alias_changes,
    list_pending_restores,
    open_rollback,
    repeat_alias_changes,
    retry_on_conflict,
    stop_live_drill,
)
from surefoot.rollout import repair_champion_alias as mend
from surefoot.settings import Settings, read_settings

_ReasonOption = Annotated[str, typer.Option("--reason", "-m", help="Why, for the record.")]
_DEFAULT_REASON = "operator's decision"
_ASKS_FOR_NOTHING = re.compile(r"--(?!now\b)(dry|no|list|version|what)[-\w]*|-n")
"""Options that other tools have for looking without acting; a word of a sentence is none of them."""
_RETRIED_AFTER_MS = 250.0
"""An acknowledgement that is journalled so much later than its own attempt took needed more than one [ms]."""
_ROUTED = {Stage.LIVE_SHADOWING, Stage.RAMPING, Stage.PROMOTING}
"""Stages in which the gateway asks the candidate, to answer callers or mirrored."""
_REGISTRY_TIMEOUT_S = 10.0
"""How long a command waits for the registry after traffic has moved [seconds]."""


def abort(
    context: typer.Context, model: ModelArgument, reason: _ReasonOption = _DEFAULT_REASON, json_: JsonOption = False
) -> None:
    """Stop the open rollout or the live drill, or call a stepped rollback off: all traffic to the champion, now."""

    def ask(ports: Ports, why: str) -> Ledger:
        return end_rollout(ports, model, Stage.ABORTED, why)

    _act(model, _typed(context, reason), ask, wanted=Stage.ABORTED, json_=json_)


def rollback(
    context: typer.Context,
    model: ModelArgument,
    to: Annotated[str | None, typer.Option(help="Proven-good version; the last one without a name.")] = None,
    reason: _ReasonOption = _DEFAULT_REASON,
    now: Annotated[
        bool, typer.Option("--now", help="All traffic at once, whatever the policy says; also ends the steps of one.")
    ] = False,
    stepped: Annotated[
        bool, typer.Option("--stepped", help="By weights that grow; --now is stronger, and a candidate goes at once.")
    ] = False,
    json_: JsonOption = False,
) -> None:
    """Take the candidate or the promoted champion back: traffic first, the registry after."""
    mode = "immediate" if now else "stepped" if stepped else None

    def ask(ports: Ports, why: str) -> Ledger:
        try:
            return open_rollback(ports, model, why, to, mode)
        except Rejected:
            ledger = ports.ledger(model)
            if to is None and (list_pending_alias_changes(ledger) or list_pending_restores(ledger)):
                return ledger  # traffic is back; what is left is the registry or a table, and `_finish` sees to it
            stop_live_drill(ports, model, why)  # no other version can answer, but one arm less can fail
            raise

    _act(model, _typed(context, reason), ask, wanted=Stage.FAST_ROLLED_BACK, json_=json_)


def _typed(context: typer.Context, reason: str) -> str:
    """The reason with the words that were typed beside it: quotes that were forgotten must not stop an emergency.

    Raises:
        Rejected: An option that is not known asks for something else than to act.
    """
    words = list(context.args)
    asked = sys.argv[: sys.argv.index("--")] if "--" in sys.argv else sys.argv
    for word in words:
        if _ASKS_FOR_NOTHING.fullmatch(word) and word in asked:
            raise Rejected(f"there is no option {word}: nothing was done; without it the command acts at once")
    if not words:
        return reason
    return " ".join([*([] if reason == _DEFAULT_REASON else [reason]), *words])


def _act(model: str, typed: str, ask: Callable[[Ports, str], Ledger], *, wanted: Stage, json_: bool) -> None:
    """Have the journal hold what is asked for, then drive it to its end; no text of a reason stops that.

    Raises:
        Exit: A rollback has ended in another stage than the wanted one, or waits for a person.
    """
    action = Action.ABORT if wanted is Stage.ABORTED else Action.ROLLBACK
    with open_allowed_ports(action, model) as ports:
        why = clean_reason(typed)
        began = time.monotonic()
        try:
            head = ports.ledger(model).head
            rollout = retry_on_conflict(lambda: ask(ports, why.text)).open
        except JournalUnavailable as error:
            raise JournalUnavailable(
                f"{error}; without the journal only 'surefoot kill' works: it cuts every candidate at the gateway"
            ) from error
        _finish(ports, model, head, began, why, json_=json_)
        if other := _other_end(ports.ledger(model), rollout, wanted):
            if not json_:
                console.print(other, markup=False)
            raise typer.Exit(1)


def _other_end(ledger: Ledger, rollout: str, wanted: Stage) -> str:
    """What became of a rollback instead of what was asked for; empty where it is that."""
    found = ledger.rollouts.get(rollout)
    if found is None or found.opened.kind != RolloutKind.ROLLBACK:
        return ""
    model, serves, target = ledger.model, found.opened.champion.number, found.rollback_target.number
    if waits_for_person(found):
        return (
            f"the rollback is held, since version {target} fails a gate: 'surefoot rollback {model} --now' moves all"
            f" traffic to it, 'surefoot abort {model}' leaves version {serves}"
        )
    if not found.stage.is_terminal or found.stage is wanted:
        return ""
    if found.stage is Stage.ABORTED:
        return f"not rolled back: version {serves} of {model} serves on ({found.reason})"
    return f"not aborted: version {target} of {model} answers everything already; its rollback was finished"


def kill(
    context: typer.Context,
    reason: _ReasonOption = _DEFAULT_REASON,
    lift: Annotated[bool, typer.Option("--lift", help="Let candidates have traffic again.")] = False,
    json_: JsonOption = False,
) -> None:
    """Set every candidate of every model to 0 percent, now and until --lift: one call to the gateway comes first."""
    config = read_settings()
    actor = require_allowed_actor(config, Action.KILL, EVERY_MODEL)
    if lift:
        with wiring.open_gateway_traffic(config) as engine:
            engine.lift_kill_switch()
        if json_:
            print_json({"killed": False, "models": {}})
        else:
            console.print("the kill switch is lifted: the next route of a rollout counts again")
        return
    why = clean_reason(_typed(context, reason))
    began = time.monotonic()
    problem: SurefootError | None = None
    note = ""
    try:
        with wiring.open_gateway_traffic(config) as engine, _patience("the gateway to acknowledge", quiet=json_):
            note = engine.set_kill_switch(why.text)
    except (Unavailable, OutcomeUnknown) as error:
        problem = error
    took = (time.monotonic() - began) * 1000.0
    if not json_:
        if problem is None:
            after = "champions answer everything until 'surefoot kill --lift'"
            console.print(f"every candidate is cut, in force in every worker after {took:.0f} ms; {after}")
        for line in filter(None, (note, why.changes and f"the reason: {why.changes}")):
            console.print(line, markup=False)
    ended, trouble = _end_candidates(config, actor, why.text, quiet=json_)
    if json_:
        said = {"in_force": problem is None, "ms": took, "note": note, "models": ended, "trouble": trouble}
        print_json({"killed": problem is None, **said})
    if problem is not None:
        begun = f"; rollouts that will be rolled back: {', '.join(ended)}" if ended else ""
        raise type(problem)(f"the switch may not be in force: {problem}{begun}; run 'surefoot kill' again")
    if note:
        raise OutcomeUnknown(f"the switch is in force, but {note}")
    if trouble:
        raise Unavailable(f"the switch is in force, but {'; '.join(trouble)}")


def _end_candidates(config: Settings, actor: str, why: str, *, quiet: bool) -> tuple[dict[str, str], list[str]]:
    """End the rollouts whose candidate has traffic, or is about to have all of it; by model, and what went wrong."""
    ended: dict[str, str] = {}
    trouble: list[str] = []
    with wiring.open_ports(config, actor, REGISTRY_TIMEOUT_S) as ports:
        try:
            models = ports.journal.models()
        except SurefootError as error:
            return ended, [f"no rollout could be ended: {error}"]
        for model in models:
            try:
                ledger = ports.ledger(model)
                rollout = ledger.rollout
                if has_live_drill_route(ledger):
                    retry_on_conflict(partial(stop_live_drill, ports, model, why))
                    ended[model] = "live drill"
                    if not quiet:
                        console.print(f"{escape(model)}: its live drill is stopped")
                    continue
                if rollout is not None and is_rolling_back_in_steps(ledger, rollout):
                    _finish_steps(ports, model, why)
                    ended[model] = rollout.opened.rollout
                    if not quiet:
                        number = rollout.rollback_target.number
                        said = f"{model}: version {number} answers everything: its rollback goes on at once"
                        console.print(said, markup=False)
                    continue
                if rollout is None or rollout.opened.kind != RolloutKind.PROMOTION or not _has_route(ledger):
                    continue
                ends_as = Stage.ABORTED if rollout.is_before_traffic else Stage.ROLLED_BACK
                retry_on_conflict(partial(end_rollout, ports, model, ends_as, why, "kill switch"))
                if not ledger.engine.abilities.kill_switch:  # nothing has cut its candidate yet
                    drive_rollout(ports, model, until=lambda seen: not seen.open, patience=_REGISTRY_TIMEOUT_S)
            except SurefootError as error:  # one model's trouble must not keep the others
                trouble.append(f"{model}: {error}")
                continue
            ended[model] = rollout.opened.rollout
            if not quiet:
                console.print(f"{escape(model)}: rollout {rollout.opened.rollout} is being rolled back")
    return ended, trouble


def _has_route(ledger: Ledger) -> bool:
    """Whether the candidate of the open rollout is asked by the gateway, or about to be."""
    rollout, split = ledger.rollout, ledger.split
    waits = (
        rollout is not None and rollout.stage in WAITING_STAGES and split is not None and split.candidate is not None
    )
    return waits or (rollout is not None and rollout.stage in _ROUTED)


def _finish_steps(ports: Ports, model: str, why: str) -> None:
    """Move all traffic of a stepped rollback to the version that it goes back to; the registry is left to others.

    Raises:
        SurefootError: The gateway or the journal does not let it.
    """
    retry_on_conflict(lambda: open_rollback(ports, model, why, mode="immediate"))

    def moved(ledger: Ledger) -> bool:
        rollout = ledger.rollout
        # The command that began these steps may be at the registry by now, which is none of this command's work.
        moves = ledger.intent is not None and isinstance(ledger.intent[1], SetSplit)
        return rollout is None or not (moves or is_rolling_back_in_steps(ledger, rollout))

    drive_rollout(ports, model, until=moved, patience=_REGISTRY_TIMEOUT_S)


def repair(model: ModelArgument) -> None:
    """Set alias champion back to the version that is served, after it was moved by hand."""
    with open_allowed_ports(Action.REPAIR, model) as ports:
        ledger = retry_on_conflict(lambda: mend(ports, model))
        if ledger.drifts:
            raise Unavailable(f"{model}: {'; '.join(_describe_difference(drift) for drift in ledger.drifts.values())}")
        number = ledger.champion.number if ledger.champion else "none"
        console.print(f"{escape(model)}: alias champion points to version {number}, which is served")


@contextlib.contextmanager
def _patience(what: str, *, quiet: bool) -> Iterator[None]:
    """Say that something is waited for, once it takes longer than a second."""
    told = threading.Timer(1.0, lambda: None if quiet else console.print(f"waiting for {what} …"))
    told.daemon = True
    told.start()
    try:
        yield
    finally:
        told.cancel()


def _finish(ports: Ports, model: str, head: int, began: float, why: Why, *, json_: bool) -> None:
    """Drive to the end, tell each step when it is done, and say how long it took until traffic was back."""
    problem: SurefootError | None = None
    shown = head

    def tell(ledger: Ledger, _action: object = None) -> None:
        nonlocal shown
        # Step by step: a person who waits for traffic must not have to wait for a registry that is down as well.
        # What cannot be told stops nothing: the action comes first.
        if not json_ and ledger.head > shown:
            with contextlib.suppress(Exception):
                print_history(ports.journal.read(model, after=shown), everything=False)
            shown = ledger.head

    try:
        tell(ports.ledger(model))
        opened = ports.ledger(model).rollout
        steps = opened is not None and opened.opened.stepped is not None
        awaited = "the gateway's workers to acknowledge, or the registry to answer"
        with _patience("the steps of the rollback; --now elsewhere ends them" if steps else awaited, quiet=json_):
            ledger = drive_rollout(
                ports,
                model,
                until=lambda ledger: not ledger.open or waits_for_person(ledger.rollout),
                on_step=tell,
                patience=_REGISTRY_TIMEOUT_S,
            )
            ledger = retry_on_conflict(lambda: repeat_alias_changes(ports, ports.ledger(model)))
    except (Unavailable, OutcomeUnknown) as error:
        problem, ledger = error, ports.ledger(model)
    tables = None if ledger.open else restore_tables(ports, model)
    with contextlib.suppress(SurefootError):
        tell(ports.ledger(model))
    entries = ports.journal.read(model, after=head)
    restored = _restored(entries)
    took = (time.monotonic() - began) * 1000.0
    if json_:
        said = {"restore_ms": restored, "total_ms": took, "reason": why.text, "reason_changes": why.changes}
        drifts = [as_json(drift) for drift in ledger.drifts.values()]
        print_json({"entries": [entry_json(e) for e in entries], "drifts": drifts, "tables": str(tables or ""), **said})
    elif restored is not None:
        if (taken := last_rolled_back_version(ledger)) and taken.rollout in _ended(entries):
            number = taken.version.number
            console.print(f"'surefoot exposure {model}' lists what version {number} answered", markup=False)
        console.print(
            f"traffic was back {restored:.0f} ms after the intent, everything {took:.0f} ms after the command"
        )
    if why.changes and not json_:
        console.print(f"the reason: {why.changes}", markup=False)
    if problem:
        moved = "traffic has moved; " if restored is not None else ""
        raise type(problem)(f"{moved}'reconcile' finishes the rest, or run the command again: {problem}")
    if ledger.drifts:
        what = "; ".join(_describe_difference(drift) for drift in ledger.drifts.values())
        if list_pending_alias_changes(ledger):
            raise RegistryUnavailable(
                f"traffic is back, but {what}; 'reconcile' repeats it, and 'surefoot status' says so"
            )
        raise AliasDrift(f"traffic is back, but {what}; 'surefoot repair {model}' sets the alias to what is served")
    if tables:
        raise tables


def _ended(entries: tuple[Entry, ...]) -> set[str]:
    """Ids of the rollouts that have ended in these entries."""
    return {str(entry.data["rollout"]) for entry in entries if entry.kind == "RolloutEnded"}


def _describe_difference(drift: DriftFound) -> str:
    """One clause that says what the registry does not say as the journal does."""
    return f"{drift.what} should be {drift.expected} ({drift.seen})"


def _restored(entries: tuple[Entry, ...]) -> float | None:
    """Milliseconds from the intent to the acknowledgement by every worker, of the last split in these entries.

    An intent that took several attempts is timed by the entries themselves: the last attempt knows only its own time.
    """
    intended = {
        entry.seq: entry
        for entry in entries
        if isinstance(event := decode_event(entry.kind, entry.data), EffectIntended)
        and isinstance(event.effect, SetSplit)
    }
    found = None
    for entry in entries:
        event = decode_event(entry.kind, entry.data)
        if isinstance(event, EffectDone) and event.intent in intended:
            whole = (entry.wall - intended[event.intent].wall) * 1000.0
            found = whole if whole > event.took_ms + _RETRIED_AFTER_MS else event.took_ms
    return found


def register(app: typer.Typer) -> None:
    """Add the commands."""
    anything = {"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": ["-h", "--help"]}
    for command in (abort, rollback, kill):
        app.command(context_settings=anything)(command)
    app.command()(repair)
