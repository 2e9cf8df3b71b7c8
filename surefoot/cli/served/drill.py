"""Define the command `drill`, which rehearses a rollback."""

import json
import random
import secrets
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from surefoot import wiring
from surefoot.cli.local.signals import exit_on_stop_signals
from surefoot.cli.printing.console import console, print_table
from surefoot.cli.served.live_drill import rehearse_in_production, stop_all_live_drills
from surefoot.cli.shared.actor import current_actor
from surefoot.core.drills.drill_events import DrillFinished, DrillResult
from surefoot.core.drills.drill_faults import FAULTS, DrillFault
from surefoot.core.drills.drill_state import TABLETOP_MODE
from surefoot.core.errors import Rejected
from surefoot.rollout import record_drill
from surefoot.settings import Settings, home_folder, read_settings

if TYPE_CHECKING:
    from surefoot.drills.drill_session import DrillSession
    from surefoot.drills.tabletop import Tabletop

_RIGHT_CAUSES = 0.9
"""Share of the runs whose cause must be named right [fraction]."""
_TWIN = "twin"


@dataclass(frozen=True, slots=True)
class _Played:
    """One drill that was played: what happened, in which stage, what it has shown, and why its cause was named."""

    result: DrillResult
    why: str
    what: str
    stage: str
    took_s: float


def drill(
    model: Annotated[str, typer.Argument(help="Registered model; not needed with --stop-all.")] = "",
    fault: Annotated[
        list[str] | None, typer.Option("--fault", help=f"Fault to inject; again for another: {', '.join(FAULTS)}.")
    ] = None,
    all_: Annotated[bool, typer.Option("--all", help="Inject every fault, one rollback each.")] = False,
    runs: Annotated[
        int, typer.Option(help="Play so many drills with fault, size and onset drawn at random.", min=0)
    ] = 0,
    seed: Annotated[int, typer.Option(help="Seed of what is drawn at random.", min=0)] = 1,
    json_: Annotated[Path | None, typer.Option("--json", help="Write the figures to this file.")] = None,
    tabletop: Annotated[
        bool, typer.Option("--tabletop", help="Show a person the facts step by step, who types decisions.")
    ] = False,
    live: Annotated[
        bool, typer.Option("--live", help="In production: the champion is its own candidate, and no fault is injected.")
    ] = False,
    weight: Annotated[float, typer.Option(help="With --live: share of the units in the candidate's arm, percent.")] = 5,
    span: Annotated[str, typer.Option("--for", help="With --live: how long, such as 30s or 10m.")] = "5m",
    unit: Annotated[
        list[str] | None, typer.Option("--unit", help="With --live: unit in the candidate's arm; again for another.")
    ] = None,
    stop_all: Annotated[
        bool, typer.Option("--stop-all", help="Take every live drill of every model back, now.")
    ] = False,
    reason: Annotated[str, typer.Option("--reason", "-m", help="With --stop-all: why.")] = "operator's decision",
    keep: Annotated[bool, typer.Option("--keep", help="Keep the folder of the twins.")] = False,
    project: Annotated[
        Path, typer.Option(help="Folder of configs/ and expectations/, where no stack was started here.")
    ] = Path(),
) -> int:
    """Rehearse the rollback in a staging twin under an injected fault, or with --live in production without one."""
    if stop_all:
        return stop_all_live_drills(read_settings(), reason)
    if not model:
        raise Rejected("name the model whose rollback is rehearsed: surefoot drill MODEL")
    if live:
        if fault or all_ or runs or tabletop or keep:
            raise Rejected(
                "--live injects no fault and makes no twin: leave --fault, --all, --runs, --tabletop, --keep out"
            )
        return rehearse_in_production(read_settings(), model, weight, span, unit or [], json_)
    from surefoot.drills.drill_session import open_drill_session  # noqa: PLC0415 - pandas costs a second

    config = _settings()
    if tabletop and not fault and not all_ and not runs:
        runs = 1  # one fault that the person does not know
    chosen = _faults(fault or [], config, project, model, runs=runs, seed=seed, all_=all_)
    person = _person() if tabletop else None
    began = time.monotonic()
    cache = home_folder() / "demo"
    with (
        exit_on_stop_signals(),
        console.status("") as line,
        open_drill_session(config, project.absolute(), model, cache, line.update, keep=keep) as session,
    ):
        console.print(f"twins in {session.folder}, ready after {time.monotonic() - began:.0f} s", markup=False)
        if person is not None:
            line.stop()
        played = [
            _play(session, one, f"{seed} {number}", line.update, person, keep=keep)
            for number, one in enumerate(chosen, 1)
        ]
    took = time.monotonic() - began
    _print_results(played)
    for note in person.notes if person else ():
        console.print(f"  {note}", markup=False)
    rows = summarise_drill_results(_collect_results(played), took, every_cause=runs > 1)
    if json_:
        details = [
            {"fault": one.result.fault.value, "what": one.what, "stage": one.stage, "gate": one.result.gate}
            | {"requests": one.result.requests, "restore_ms": one.result.restore_ms, "cause": one.result.cause}
            | {
                "why": one.why,
                "cause_right": one.result.cause_right,
                "problem": one.result.problem,
                "took_s": one.took_s,
            }
            for one in played
        ]
        json_.write_text(json.dumps({"rows": rows, "drills": details}, indent=2), encoding="utf-8")
    if session.source.version is not None and config is not None:
        event = DrillFinished(
            secrets.token_hex(6), TABLETOP_MODE if person else _TWIN, session.source.version, session.source.target,
            tuple(_collect_results(played)), seed, round(took, 1),
            tuple(person.notes) if person else (),
        )  # fmt: skip
        with wiring.open_ports(config, current_actor()) as ports:
            record_drill(ports, model, event)
    console.print(f"{len(played)} drills took {took:.0f} s; seed {seed}")
    if keep:
        console.print(f"everything is kept in {session.folder}", markup=False)
    return 0 if all(row["ok"] for row in rows) else 1


def _settings() -> Settings | None:
    """Where production is; None where no stack was ever started here."""
    try:
        return read_settings()
    except Rejected:
        return None


def _faults(
    named: Sequence[str], config: Settings | None, project: Path, model: str, *, runs: int, seed: int, all_: bool
) -> list[DrillFault]:
    """What is injected, in this order.

    Raises:
        Rejected: A fault is not known, or two options contradict each other.
    """
    if unknown := [name for name in named if name not in set(FAULTS)]:
        raise Rejected(f"'{unknown[0]}' is not a fault that a drill injects: {', '.join(FAULTS)}")
    if sum([bool(named), all_, runs > 0]) > 1:
        raise Rejected("--fault, --all and --runs exclude each other: name one of them")
    if runs:
        chance = random.Random(seed)  # noqa: S311 - a plan, no secret
        return [chance.choice(list(FAULTS)) for _ in range(runs)]
    if named:
        return [DrillFault(name) for name in named]
    if all_:
        return list(FAULTS)
    source = config.project if config is not None else project
    from surefoot.adapters.config.policy_folder import read_model_policy  # noqa: PLC0415 - beside its one use

    section = read_model_policy(source / "configs", model)[1].drill
    return list(section.chosen if section is not None else FAULTS)


def _person() -> "Tabletop":
    """The person at this terminal, or what is piped into this command."""
    from surefoot.drills.tabletop import Tabletop  # noqa: PLC0415 - beside its one use

    return Tabletop(lambda line: console.print(line, markup=False), sys.stdin.readline, time.monotonic)


def _play(
    session: "DrillSession",
    fault: DrillFault,
    seed: str,
    tell: Callable[[str], None],
    person: "Tabletop | None",
    *,
    keep: bool,
) -> _Played:
    """Play one drill, and print what it has shown in two lines."""
    plan = session.plan(fault, seed)
    number = seed.rpartition(" ")[2]
    stage = session.stages[plan.stage].name
    began = time.monotonic()
    outcome = session.play(plan, f"drill-{number}", lambda text: tell(f"{fault}: {text}"), person, keep=keep)
    result = outcome.result
    took = time.monotonic() - began
    console.print(f"{number:>3} {fault:19} {stage:10} {plan.what}", markup=False)
    said = f"taken back by {result.gate}" if result.gate else "not taken back"
    restored = "" if result.restore_ms is None else f", in force {result.restore_ms:.0f} ms after the decision"
    right = {True: "right", False: "WRONG", None: "not looked for"}[result.cause_right]
    console.print(
        f"    {said} after {_count(result.requests)} requests{restored}; cause {result.cause or 'none'}: {right}"
        f"{f' ({outcome.sentence})' if outcome.sentence else ''}"
        f"{f'; {result.problem}' if result.problem else ''}; {took:.0f} s",
        markup=False,
    )
    return _Played(result, outcome.sentence, plan.what, stage, round(took, 1))


def _count(requests: int | None) -> str:
    return "an unknown number of" if requests is None else f"{requests:,}"


def _collect_results(played: Sequence[_Played]) -> list[DrillResult]:
    """What each drill has shown."""
    return [one.result for one in played]


def summarise_drill_results(
    results: Sequence[DrillResult], took_s: float, *, every_cause: bool
) -> list[dict[str, object]]:
    """Measured figures of the drills, each with the value that is required.

    Args:
        results: What each drill has shown.
        took_s: How long all of them took [seconds].
        every_cause: Whether a share of right causes is demanded; only many drills show one.
    """
    count = len(results)
    detected = sum(result.detected for result in results)
    restored = sum(result.restore_ms is not None for result in results)
    failed = sum(result.caller_errors for result in results)
    right = sum(result.cause_right is True for result in results)
    rows: list[dict[str, object]] = [
        _row("faults detected", detected, "drills", f"all {count}", ok=detected == count),
        _row("versions taken back", restored, "drills", f"all {count}", ok=restored == count),
        _row("requests that callers saw fail", failed, "requests", "0", ok=failed == 0),
        _row(
            "causes named right", right, "drills", f"at least {_RIGHT_CAUSES:.0%} of {count}" if every_cause else "",
            ok=not every_cause or right >= _RIGHT_CAUSES * count,
        ),
        _row("time", round(took_s, 1), "s", "", ok=True),
    ]  # fmt: skip
    for fault, many in Counter(result.fault for result in results).items():
        own = [result for result in results if result.fault == fault]
        good = sum(result.ok for result in own)
        rows.append(_row(f"{fault}: the way back worked", good, "drills", f"all {many}", ok=good == many))
    return rows


def _row(name: str, value: float, unit: str, demand: str, *, ok: bool) -> dict[str, object]:
    return {"name": name, "value": value, "unit": unit, "demand": demand, "ok": ok}


def _print_results(played: Sequence[_Played]) -> None:
    table = Table(
        "fault", "stage", "seen by", "requests", "detected after", "in force after", "cause named", "right", "errors",
        "problem", box=None, padding=(0, 2),
    )  # fmt: skip
    for one in played:
        result = one.result
        table.add_row(
            result.fault.value, one.stage, result.gate or "nothing", _shown(result.requests),
            "" if result.detect_s is None else f"{result.detect_s / 3600.0:.1f} h",
            "" if result.restore_ms is None else f"{result.restore_ms:.1f} ms",
            result.cause, {True: "yes", False: "NO", None: ""}[result.cause_right], f"{result.caller_errors}",
            result.problem,
        )  # fmt: skip
    print_table(table)


def _shown(count: int | None) -> str:
    return "" if count is None else f"{count:,}"


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(drill)
