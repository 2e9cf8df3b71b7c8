"""Rehearse a rollback in production by a live drill, or stop all live drills."""

import json
import time
from functools import partial
from pathlib import Path

from pydantic import TypeAdapter, ValidationError
from rich.table import Table

from surefoot import wiring
from surefoot.cli.access.permission import require_allowed_actor
from surefoot.cli.local.signals import exit_on_stop_signals
from surefoot.cli.printing.console import console, print_table
from surefoot.cli.shared.timeouts import REGISTRY_TIMEOUT_S
from surefoot.core.access.roles import EVERY_MODEL, Action
from surefoot.core.assignment import describe_candidate_share
from surefoot.core.canonical_text import canonical_text
from surefoot.core.errors import JournalUnavailable, Rejected, SurefootError, Unavailable
from surefoot.core.operator_reason import clean_reason
from surefoot.core.policy.scalars import PositiveDuration
from surefoot.drills.live.live_drill import MAX_RESTORE_MS, LiveDrillOutcome, LiveDrillParameters, run_live_drill
from surefoot.rollout import has_live_drill_route, retry_on_conflict, stop_live_drill
from surefoot.settings import Settings

_MAX_WEIGHT = 100.0


def rehearse_in_production(
    config: Settings, model: str, weight: float, span: str, units: list[str], json_: Path | None
) -> int:
    """Run a live drill, and print what it has shown; the exit code is 0 only where everything passed."""
    order = LiveDrillParameters(_weight(weight), tuple(canonical_text(unit) or unit for unit in units), _seconds(span))
    actor = require_allowed_actor(config, Action.DRILL, model)
    with exit_on_stop_signals(), console.status("") as line:
        outcome = run_live_drill(config, model, order, actor, line.update)
    rows = _live_drill_rows(outcome)
    number, share = outcome.began.champion.number, describe_candidate_share(order.weight, order.units)
    said = f"live drill {outcome.began.drill}: version {number} of {model} in both arms, {share} of the units"
    console.print(said, markup=False)
    table = Table("", "value", "unit", "demand", "ok", box=None, padding=(0, 2))
    for row in rows:
        value = "" if row["value"] is None else f"{row['value']:,}"
        table.add_row(str(row["name"]), value, str(row["unit"]), str(row["demand"]), "yes" if row["ok"] else "NO")
    print_table(table)
    for why, count in (outcome.answers.why_unknown if outcome.answers else {}).items():
        console.print(f"  {count:,} answers were not compared: {why}", markup=False)
    console.print(_conclusion(outcome), markup=False)
    if json_:
        told = {"rows": rows, "drill": outcome.began.drill, "ended": outcome.reason, "by": outcome.by}
        json_.write_text(json.dumps(told, indent=2), encoding="utf-8")
    return 0 if all(row["ok"] for row in rows) else 1


def _conclusion(outcome: LiveDrillOutcome) -> str:
    if outcome.result is None:
        return f"stopped by {outcome.by}: {outcome.reason}; nothing is proven, and nothing failed"
    if outcome.result.problem:
        return f"the drill has failed: {outcome.result.problem}"
    return "the way there and back works in production"


def _weight(weight: float) -> float:
    if not 0.0 < weight <= _MAX_WEIGHT:
        raise Rejected(f"--weight {weight:g} is no share of the units: it is above 0 and at most 100 percent")
    return weight


def _seconds(span: str) -> float:
    try:
        return TypeAdapter(PositiveDuration).validate_python(span)
    except ValidationError:
        raise Rejected(f"--for {span} is no length of time above 0s: such as 30s, 10m or 2h") from None


def _live_drill_rows(outcome: LiveDrillOutcome) -> list[dict[str, object]]:
    """Measured figures of a live drill, each with the value that is required."""
    result, counts, answers = outcome.result, outcome.counts, outcome.answers
    shift, restore = (result.shift_ms, result.restore_ms) if result is not None else (None, None)
    compared, differed = (answers.compared, answers.differed) if answers is not None else (0, 0)
    asked, back = counts.candidate_requests, restore is not None and restore <= MAX_RESTORE_MS
    rows = [
        _row("the drill came to its end", int(outcome.completed), "", "1", ok=outcome.completed),
        _row("requests in the candidate's arm", asked, "requests", ">= 1", ok=asked >= 1),
        _row("requests in both arms", counts.requests, "requests", "", ok=True),
        _row("requests that callers saw fail", counts.caller_errors, "requests", "0", ok=counts.caller_errors == 0),
        _row("requests that the candidate's arm failed", counts.candidate_errors, "requests", "", ok=True),
        _row("both arms in force after", shift, "ms", "", ok=shift is not None),
        _row("champion alone in force after", restore, "ms", f"<= {MAX_RESTORE_MS:.0f}", ok=back),
        _row("answers compared with the champion's", compared, "answers", ">= 1", ok=compared >= 1),
        _row("answers that differ", differed, "answers", "0", ok=differed == 0),
    ]  # fmt: skip
    if outcome.standby is not None:
        number, loaded = outcome.standby
        rows.append(_row(f"version {number}, which a rollback goes to, is loaded", int(loaded), "", "1", ok=loaded))
    if result is not None:
        rows.append(_row("problems", int(bool(result.problem)), "", "0", ok=not result.problem))
    return rows


def _row(name: str, value: float | None, unit: str, demand: str, *, ok: bool) -> dict[str, object]:
    return {"name": name, "value": value, "unit": unit, "demand": demand, "ok": ok}


def stop_all_live_drills(config: Settings, reason: str) -> int:
    """Stop every live drill of every model at once; an error of one model does not prevent the others.

    Raises:
        JournalUnavailable: The journal does not answer.
        Unavailable: The drill of some model could not be taken back.
    """
    why, trouble, stopped = clean_reason(reason).text, list[str](), 0
    actor = require_allowed_actor(config, Action.ABORT, EVERY_MODEL)
    with wiring.open_ports(config, actor, REGISTRY_TIMEOUT_S) as ports:
        try:
            models = ports.journal.models()
        except JournalUnavailable as error:
            raise JournalUnavailable(
                f"{error}; without the journal only 'surefoot kill' works: it cuts the candidate's arm at the gateway"
            ) from error
        for model in models:
            began = time.monotonic()
            try:
                live = ports.ledger(model)
                if not has_live_drill_route(live):
                    continue
                retry_on_conflict(partial(stop_live_drill, ports, model, why))
            except SurefootError as error:
                trouble.append(f"{model}: {error}")
                continue
            stopped += 1
            took = (time.monotonic() - began) * 1000.0
            said = f"{model}: the live drill is stopped, the champion alone answers after {took:.0f} ms"
            console.print(said, markup=False)
    if trouble:
        raise Unavailable(f"not every live drill is stopped: {'; '.join(trouble)}; run it again, or 'surefoot kill'")
    if not stopped:
        console.print("no live drill is under way")
    return 0
