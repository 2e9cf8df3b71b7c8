"""The demo with an engine other than the gateway: its policy, its claims, its application and its records."""

import http.server
import json
import os
import shutil
import subprocess
import threading
from collections import Counter
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pandas as pd
import pytest

from surefoot.adapters.clock import ReplayClock
from surefoot.adapters.config.policy_file import read_policy
from surefoot.cli.demo import demo_command
from surefoot.cli.demo.answer_recorder import DemoAnswerRecorder
from surefoot.cli.demo.demo_output import print_engine
from surefoot.cli.printing.console import console
from surefoot.core.errors import Rejected
from surefoot.core.serving_engines.engine_abilities import ENGINES, EngineName, missing_abilities
from surefoot.demo.demo_report import RolloutSummary, expected_result_rows
from surefoot.demo.engine_policy import DEMO_ENGINES, adapt_policy, choose_engine
from surefoot.demo.engine_processes import EngineProcesses
from surefoot.demo.flight_requests import NUMBER_FEATURES, TEXT_FEATURES, UNIT_COLUMN
from surefoot.demo.model_application import Answer, LoadedVersion, answer_rows
from surefoot.demo.model_versions import MODEL_NAME, VERSION_RECIPES
from surefoot.demo.predictions_table import make_demo_project
from surefoot.demo.scenario import DemoCandidate, DemoScenario
from surefoot.demo.traffic_replay import CallerRecord, KnownLabel, TrafficReplay
from surefoot.settings import Settings
from tests.commands import run_command

ROOT = Path(__file__).parents[2]
ADDRESS = "unix:/run/haproxy/admin.sock"


@pytest.mark.parametrize("engine", [EngineName.HAPROXY, EngineName.ALIAS])
def test_the_demos_policy_fits_each_engine(engine: EngineName, tmp_path: Path) -> None:
    """The adapted policy passes every rule, still names the table and the approval, and says what was left out."""
    project = make_demo_project(ROOT, tmp_path / "project", MODEL_NAME)
    file = project / "configs" / f"{MODEL_NAME}.yaml"
    _, before = read_policy(file)
    text, left_out = adapt_policy(file, engine, ADDRESS)
    file.write_text(text, encoding="utf-8")
    _, policy = read_policy(file)
    assert policy.traffic.engine_choice.name is engine
    assert len(policy.ramp) == (len(before.ramp) if ENGINES[engine].ramps else 0)
    assert (policy.data_layer, policy.approvals) == (before.data_layer, before.approvals)
    assert policy.bake.gates == before.bake.gates
    assert "latency" not in policy.gates
    assert any("latency" in sentence for sentence in left_out)
    if engine is EngineName.HAPROXY:
        assert (policy.unit, policy.traffic.engine_choice.settings["addresses"]) == (None, [ADDRESS])
        assert any("no plane stays" in sentence for sentence in left_out)
    else:
        assert policy.unit == before.unit
        assert any("5 %, 25 %, 50 %" in sentence for sentence in left_out)


@pytest.mark.parametrize("name", ["kubernetes", "nginx", "", "Alias"])
def test_an_unknown_engine_is_one_line_before_anything_starts(name: str, tmp_path: Path) -> None:
    """`surefoot demo --engine` refuses what it cannot play, names the engines, and makes no folder."""
    said = run_command("demo", "--engine", name, "--home", str(tmp_path / "home"), environment=dict(os.environ))
    assert said.returncode == 2
    assert said.stderr.count("\n") == 1
    assert "choose one of gateway, haproxy, alias" in said.stderr
    assert said.stdout == ""
    assert not (tmp_path / "home").exists()
    with pytest.raises(Rejected):
        choose_engine(name)


def test_make_refuses_an_unknown_engine_in_one_line() -> None:
    """`make demo ENGINE=...` sets nothing up for an engine that there is not; other goals do not look at ENGINE."""
    make = [shutil.which("make") or "make", "--dry-run", "--no-print-directory"]
    said = subprocess.run([*make, "demo", "ENGINE=nginx"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert said.returncode == 2
    assert said.stdout == ""
    assert said.stderr.count("\n") == 1
    assert "no demo with engine 'nginx': choose one of gateway, haproxy, alias" in said.stderr
    for engine in DEMO_ENGINES:
        run = subprocess.run([*make, "demo", f"ENGINE={engine}"], cwd=ROOT, capture_output=True, text=True, check=True)
        assert f"surefoot demo --engine {engine}" in run.stdout
        assert (".ci/need haproxy" in run.stdout) is (engine is EngineName.HAPROXY)
    subprocess.run([*make, "wheel", "ENGINE=nginx"], cwd=ROOT, capture_output=True, check=True)
    environment = {**os.environ, "ENGINE": "podman"}  # of another program: only what stands behind `make` counts
    run = subprocess.run([*make, "demo"], cwd=ROOT, env=environment, capture_output=True, text=True, check=True)
    assert "surefoot demo --engine gateway" in run.stdout


def test_haproxy_that_is_not_installed_is_one_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Engine haproxy without HAProxy is refused before anything starts, with the package's name; alias needs none."""
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(Rejected, match="install the package 'haproxy'"):
        EngineProcesses(EngineName.HAPROXY, MODEL_NAME, 4)
    served = EngineProcesses(EngineName.ALIAS, MODEL_NAME, 4)
    assert served.runtime_address == ""
    served.stop()


def test_each_version_of_the_story_has_a_server() -> None:
    """HAProxy is told of as many servers as the story registers versions."""
    assert len(VERSION_RECIPES) == demo_command._VERSIONS


@pytest.mark.parametrize("engine", [EngineName.HAPROXY, EngineName.ALIAS])
def test_what_an_engine_lacks_is_said(engine: EngineName) -> None:
    """Every consequence of what the engine cannot do is printed, and every part that its policy goes without."""
    with console.capture() as captured:
        print_engine(engine, "callers ask an application", ["the gate latency"])
    said = " ".join(captured.get().split())
    for sentence in missing_abilities(engine):
        assert " ".join(sentence.partition(": ")[2].split()) in said
    assert "not in its policy: the gate latency" in said


def claims(engine: EngineName, failed: int, of_c: int, stages: tuple[str, ...]) -> dict[str, dict[str, Any]]:
    """Claims of a demo in which (c) has failed some requests."""
    c = DemoCandidate("c", "without an imputer", "3", "r")
    story = SimpleNamespace(
        table=SimpleNamespace(rows_by_version=dict),
        scenes=[c],
        replay=SimpleNamespace(seen=SimpleNamespace(sent=9000, failed=failed, by_version=Counter())),
    )
    found = [RolloutSummary(c, stages, {}, "RolledBack", "errors", "errors", 20.0, 3600.0, of_c, 3)]
    rows = expected_result_rows(cast("DemoScenario", story), found, (), (), ENGINES[engine], {})
    return {str(row["name"]): row for row in rows}


@pytest.mark.parametrize(
    ("engine", "failed", "of_c", "ok"),
    [
        (EngineName.GATEWAY, 0, 7, True),
        (EngineName.GATEWAY, 7, 7, False),
        (EngineName.HAPROXY, 7, 7, True),
        (EngineName.HAPROXY, 8, 7, False),
        (EngineName.ALIAS, 7, 7, True),
        (EngineName.ALIAS, 0, 0, False),
    ],
)
def test_callers_see_the_failures_that_the_engine_lets_through(
    engine: EngineName, failed: int, of_c: int, *, ok: bool
) -> None:
    """The gateway lets none through; of any other engine all failures are those of (c), and there are some."""
    assert claims(engine, failed, of_c, ("Shadowing",))["requests that callers saw fail"]["ok"] is ok


def test_without_a_ramp_the_bad_version_is_taken_back_in_the_bake() -> None:
    """Engine alias demands four stages of the good version, and the bake as the stage where the bad one ends."""
    name, passed = "c: the stage that it was taken back in", "c: it passed its shadow"
    told = claims(EngineName.ALIAS, 7, 7, ("Validating", "Shadowing", "Promoting", "Baking"))
    assert told[name]["ok"]
    assert told[passed]["ok"]
    assert told["a: stages it went through"]["demand"] == "4"
    early = claims(EngineName.ALIAS, 7, 7, ("Validating", "Shadowing"))
    assert not early[name]["ok"]
    assert not early[passed]["ok"]
    assert name not in claims(EngineName.HAPROXY, 7, 7, ("Ramping 1",))


def test_the_application_answers_each_row_that_it_can() -> None:
    """A row that makes the model fail fails alone, with the model's error; the others of its batch are answered."""

    def predict(frame: Any) -> Any:
        if frame["seats"].isna().any():
            raise ValueError("Input X contains NaN.\nmore")
        return frame[["seats"]].to_numpy()

    version = LoadedVersion("3", SimpleNamespace(predict=predict))
    rows: list[dict[str, object]] = [{"seats": 2}, {"seats": None}, {"seats": 4.0, "tailnum": "N1"}]
    assert answer_rows(version, rows) == [
        Answer("3", [2.0]),
        Answer("3", error="ValueError: Input X contains NaN."),
        Answer("3", [4.0]),
    ]


def test_what_callers_got_is_in_the_log(tmp_path: Path) -> None:
    """Answers, failures and labels are written as `surefoot record --log` writes them, with the policy's unit."""
    project = make_demo_project(ROOT, tmp_path / "project", MODEL_NAME)
    config = Settings(tmp_path / "home", project, "http://x", "http://x", "http://x", "token")
    config.home.mkdir()
    recorder = DemoAnswerRecorder(config, MODEL_NAME)
    features: dict[str, object] = {"tailnum": "N1", "seats": 2.0}
    recorder.write([CallerRecord("f1", 5.0, "1", [0.25, 0.75], None, features)], [])
    recorder.write([CallerRecord("f2", 6.0, "3", None, "ValueError: NaN", features)], [KnownLabel("f1", 7.0, 1.0)])
    recorder.close()
    folder = config.log / MODEL_NAME
    written = [json.loads(line) for file in folder.glob("predictions-*") for line in file.read_text().splitlines()]
    assert [(one["request"], one["unit"], one["answered_by"], one["error"]) for one in written] == [
        ("f1", "N1", "1", None),
        ("f2", "N1", None, "ValueError: NaN"),
    ]
    assert written[0]["prediction"] == [0.25, 0.75]
    (label,) = [json.loads(line) for file in folder.glob("labels-*") for line in file.read_text().splitlines()]
    assert (label["request"], label["label"], label["at"]) == ("f1", 1.0, 7.0)


def test_the_story_notes_a_look_that_has_seen_the_feed_change() -> None:
    """Of the looks at the champion, one that names the pressure early is what the story waits for, and no other."""
    looks = [
        SimpleNamespace(seq=1, kind="ChampionWatched", data={"early": []}),
        SimpleNamespace(seq=2, kind="ChampionWatched", data={"early": ["input drift of temp: far away"]}),
        SimpleNamespace(seq=3, kind="StageEntered", data={"reason": "pressure"}),
        SimpleNamespace(seq=4, kind="ChampionWatched", data={"early": ["input drift of pressure: far away"]}),
    ]
    theatre = SimpleNamespace(entries=lambda after: looks[after : after + 1], show=lambda _entry: None)
    story = DemoScenario(cast("Any", theatre), cast("Any", None), cast("Any", None), cast("Any", None))
    seen = []
    for _ in looks:
        story._show()
        seen.append(story.saw_feed_change)
    assert seen == [False, False, False, True]


class SlowAnswers(http.server.BaseHTTPRequestHandler):
    """Answers requests once it may."""

    may = threading.Event()

    def do_POST(self) -> None:
        """Answer."""
        self.rfile.read(int(self.headers["content-length"]))
        self.may.wait(60.0)
        body = b'{"predictions": [[0.25, 0.75]]}'
        self.send_response(200)
        self.send_header("x-model-version", "1")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the standard library's name
        """Say nothing."""


def test_an_answer_that_is_under_way_at_the_end_is_recorded_too(tmp_path: Path) -> None:
    """Callers that are stopped get the answers that they wait for, and these are written like all others."""
    row = dict.fromkeys(NUMBER_FEATURES, 1.0) | dict.fromkeys(TEXT_FEATURES, "x") | {UNIT_COLUMN: "N1"}
    facts = {"at": 10.0, "id": "f1", "late": 1.0, "label_at": 20.0}
    later = {"at": 100.0, "id": "f2", "late": 0.0, "label_at": 110.0}
    flights = pd.DataFrame([{**row, **facts}, {**row, **later}])
    kept: list[CallerRecord] = []
    recorder = SimpleNamespace(write=lambda records, _labels: kept.extend(records))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), SlowAnswers)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
    url = f"http://127.0.0.1:{server.server_address[1]}"
    replay = TrafficReplay(flights, url, MODEL_NAME, ReplayClock(tmp_path / "clock"), 0.0, recorder)
    replay.start()
    replay.run_to(15.0)
    replay.wait(60.0)
    assert kept == []

    def answer_late() -> None:
        replay._stop.wait(60.0)
        SlowAnswers.may.set()

    threading.Thread(target=answer_late, daemon=True).start()
    replay.close()
    server.shutdown()
    server.server_close()
    assert [(one.request, one.at, one.version, one.answer, one.error) for one in kept] == [
        ("f1", 10.0, "1", [0.25, 0.75], None)
    ]
