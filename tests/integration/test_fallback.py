"""Requests that the champion fails are answered by the policy's fallback, marked, and never counted as its answers."""

import asyncio
import contextlib
import itertools
import os
import shutil
import signal
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from surefoot.adapters.clock import SystemClock
from surefoot.adapters.config.setting_by_model import SettingByModel
from surefoot.adapters.journal.sql_journal import SqlJournal
from surefoot.adapters.predictions.compaction import compact_log
from surefoot.adapters.predictions.prediction_log import PredictionLog
from surefoot.core.domain import FailoverLevel, Version
from surefoot.core.errors import Rejected, Unavailable
from surefoot.core.fallback import FallbackAnswer
from surefoot.core.journal.event_sentences import describe_event
from surefoot.core.journal.events import decode_event
from surefoot.gateway.control.reports.fallback_reports import FallbackReporter
from surefoot.gateway.control.shared_routes import SharedRouteTable
from surefoot.gateway.inference.failover.fallback_answers import FailoverPeriod, FallbackAnswers
from surefoot.gateway.inference.settings import GatewaySettings
from surefoot.gateway.log.prediction_log_writer import PredictionLogWriter
from surefoot.gateway.log.segment_writer import SegmentWriter
from surefoot.models.model_process import ModelProcess
from surefoot.rollout import Ports, begin_fallback_period, end_fallback_period
from tests import local_http
from tests.fakes import POLICY
from tests.integration.emergency import MODEL, Emergency
from tests.integration.gateway_harness import GOOD, NAN, QUITTING, RAISING, Gateway, listening
from tests.integration.gateway_process import Models
from tests.integration.model_forkserver import ForkedModels, running_forkserver
from tests.integration.remembered_journal import Journal
from tests.integration.waiting import wait_for

CONSTANT = FallbackAnswer("constant", "[0.82,0.18]")
ANSWER = {"predictions": [[0.82, 0.18]]}
QUIET_S = 0.3
MEMORY_MB = 6000
"""Address space of a process [MB]."""


class RealJournal:
    """A real journal in a file, as the gateway's process tells it.

    Attributes:
        path: The SQLite file.
        down: While it is set the journal cannot be written.
    """

    def __init__(self, path: Path) -> None:
        self.path, self.down = path, threading.Event()

    def record_cut(self, model: str, rollout: str, reason: str) -> None:
        """No rollout is open here."""

    @contextlib.contextmanager
    def ports(self) -> Iterator[Ports]:
        """The journal as the use cases see it."""
        if self.down.is_set():
            raise Unavailable("the journal is down")
        journal = SqlJournal(f"sqlite:///{self.path}", SystemClock())
        try:
            yield Ports(journal, None, None, None, SystemClock(), "gateway")  # type: ignore[arg-type]
        finally:
            journal.close()

    def record_fallback_began(
        self, model: str, champion: Version, kind: str, reason: str, standby: Version | None
    ) -> None:
        """Journal it once."""
        with self.ports() as ports:
            begin_fallback_period(ports, model, champion, kind, reason, standby)

    def record_fallback_ended(self, model: str, champion: Version, rung: FailoverLevel) -> None:
        """Journal it once."""
        with self.ports() as ports:
            end_fallback_period(ports, model, champion, rung)

    def kinds(self) -> list[str]:
        """The kinds of all entries."""
        with self.ports() as ports:
            return [entry.kind for entry in ports.journal.read("flights")]

    def told(self) -> list[str]:
        """All entries as sentences."""
        with self.ports() as ports:
            return [describe_event(decode_event(one.kind, one.data)) for one in ports.journal.read("flights")]


class Sick:
    """A loaded model that raises while it is told to, or for rows with a large x."""

    def __init__(self, model: Any, sick: threading.Event, limit: float = float("inf")) -> None:
        self._model, self._sick, self._limit = model, sick, limit

    def __getattr__(self, name: str) -> Any:
        return getattr(self._model, name)

    def answer(self, names: Any, values: Any, params: object = None, csv: bool = False) -> list[object]:
        """Answer or raise."""
        if self._sick.is_set() or any(row[names.index("x")] > self._limit for row in values):
            raise RuntimeError("the feature store is down")
        answers: list[object] = self._model.answer(names, values, params, csv)
        return answers


@contextlib.contextmanager
def serving(root: Path, models: Models, journal: Any = None, **more: Any) -> Iterator[Gateway]:
    """A gateway with the constant for a fallback, unless it is told otherwise."""
    known = {"fallbacks": {"flights": CONSTANT}, "fallback_quiet_s": QUIET_S, **more}
    with listening(root, models, journal=journal, **known) as gateway:
        yield gateway


def sick_loader(models: Models, sick: threading.Event, limit: float = float("inf")) -> Any:
    """Loads versions; the good one is sick while the event is set."""

    def load(model: str, version: Version) -> Any:
        loaded = models(model, version)
        return Sick(loaded, sick, limit) if version.number == GOOD else loaded

    return load


def marked(answer: Any) -> bool:
    """Whether an answer is marked as the fallback's, and as no version's."""
    fallback = answer.headers.get("x-surefoot-fallback")
    assert (fallback is None) == ("x-model-version" in answer.headers)
    assert fallback in {None, "constant"}
    return fallback is not None


@pytest.mark.parametrize("champion", [RAISING, NAN, QUITTING])
def test_a_champion_that_fails_every_request_is_answered_for(tmp_path: Path, models: Models, champion: str) -> None:
    """No caller fails, each answer is marked, the log names no version that answered, the journal has one beginning."""
    journal = RealJournal(tmp_path / "journal.db")
    with serving(tmp_path / "gateway", models, journal) as gateway:
        gateway.shift(0, None, champion)
        answers = [gateway.ask(unit=f"u{number}") for number in range(20)]
        assert {answer.status_code for answer in answers} == {200}
        assert all(map(marked, answers))
        assert all(answer.json() == ANSWER for answer in answers)
        for record in gateway.records():
            assert (record["version"], record["answered_by"], record["prediction"]) == (champion, None, None)
            assert (record["fallback"], record["fallback_answer"]) == ("constant", [0.82, 0.18])
            assert record["error"]
        counts: Any = gateway.traffic.stats("flights")
        assert counts["versions"][champion]["caller_errors"] == counts["fallback_answers"] == 20
        assert "surefoot_fallback_answers_total" in local_http.get(f"{gateway.url}/metrics").text
        wait_for(lambda: journal.kinds() == ["FallbackBegan"])
    assert journal.told()[0].startswith(f"callers get the policy's constant: version {champion} fails (")


def test_a_champion_that_recovers_answers_again(tmp_path: Path, models: Models) -> None:
    """Then the time of fallback answers ends by itself; both are journalled once, also by a journal that was down."""
    sick, journal = threading.Event(), RealJournal(tmp_path / "journal.db")
    with serving(tmp_path / "gateway", models, journal, load=sick_loader(models, sick)) as gateway:
        gateway.shift(0, None)
        expected = gateway.ask().json()
        journal.down.set()
        sick.set()
        assert all(marked(gateway.ask()) for _ in range(10))
        health: Any = local_http.get(f"{gateway.url}/health").json()
        assert health["models"]["flights"]["fallback"] == "RuntimeError: the feature store is down"
        journal.down.clear()
        wait_for(lambda: journal.kinds() == ["FallbackBegan"])
        sick.clear()
        answer = gateway.ask()
        assert (answer.json(), marked(answer)) == (expected, False)
        wait_for(lambda: journal.kinds() == ["FallbackBegan", "FallbackEnded"])
        wait_for(lambda: not list((tmp_path / "gateway" / "alarms").glob("*.json")))
        sick.set()
        assert marked(gateway.ask())
        wait_for(lambda: len(journal.kinds()) == 3)
    assert journal.told()[1] == "version 1 answers again: callers get no fallback answers any more"


def test_a_time_of_fallback_answers_survives_the_gateway(tmp_path: Path, models: Models) -> None:
    """A gateway that is started again ends in the journal what an earlier one has begun."""
    sick, journal = threading.Event(), RealJournal(tmp_path / "journal.db")
    load = sick_loader(models, sick)
    with serving(tmp_path / "gateway", models, journal, load=load) as gateway:
        gateway.shift(0, None)
        sick.set()
        assert marked(gateway.ask())
        wait_for(lambda: journal.kinds() == ["FallbackBegan"])
    sick.clear()
    with serving(tmp_path / "gateway", models, journal, load=load) as gateway:
        assert not marked(gateway.ask())
        wait_for(lambda: journal.kinds() == ["FallbackBegan", "FallbackEnded"])


def test_several_workers_journal_one_beginning_and_one_end(tmp_path: Path) -> None:
    """Each worker has a time of fallback answers of its own; the journal has the first beginning and the last end."""
    journal, version = RealJournal(tmp_path / "journal.db"), Version("1", f"sha256:{1:064}")

    class Worker:
        """A worker as its reports see it."""

        def __init__(self) -> None:
            self.table = SharedRouteTable(tmp_path / "gateway")
            with self.table.lock():
                self.table.take_slot()
            settings = GatewaySettings(tmp_path / "gateway", "token")
            log = PredictionLogWriter(SegmentWriter(tmp_path / "log.jsonl"))
            self.fallback = FallbackAnswers("flights", settings, log)
            self.reports = FallbackReporter(
                "flights", tmp_path / "gateway", self.fallback, journal, self.table, quiet_s=0.0
            )

        def fail(self) -> None:
            """The champion has failed a request here."""
            self.fallback.period = FailoverPeriod(version, "constant", "it is down", 0.0)

        def recover(self) -> None:
            """The champion answers again here."""
            assert self.fallback.period is not None
            self.fallback.period.recovered = version

    async def look(*workers: Worker) -> None:
        """Let every worker look until each has reported what it knows."""
        for _ in range(3):
            for worker in workers:
                worker.reports.report_when_due()
            others = asyncio.all_tasks() - {asyncio.current_task()}
            await asyncio.gather(*others)

    async def story() -> None:
        one, two, three = Worker(), Worker(), Worker()
        for worker in (one, two):
            worker.fail()
        await look(one, two)
        one.recover()
        await look(one, two)
        assert journal.kinds() == ["FallbackBegan"]
        two.table.release_slot()  # it is killed, and nothing of it is left but its note
        await look(one, three)
        assert journal.kinds() == ["FallbackBegan"]
        three.reports.resume_reports()
        one.fail()
        await look(one, three)
        for worker in (one, three):  # at the same time
            worker.recover()
        await look(one, three)
        assert journal.kinds() == ["FallbackBegan", "FallbackEnded"]
        assert not list((tmp_path / "gateway" / "alarms").glob("*"))

    asyncio.run(story())


def test_a_champion_whose_process_is_gone_for_good_is_answered_for(tmp_path: Path, models: Models) -> None:
    """Its process is killed and cannot be started again: no caller under load fails, and each answer has one source."""
    with contextlib.ExitStack() as stack:
        server = stack.enter_context(running_forkserver())
        hosted = ForkedModels(tmp_path / "copies", server, MEMORY_MB)
        shutil.copytree(models.root / GOOD, hosted.root / GOOD)

        def load(model: str, version: Version) -> ModelProcess:
            if (hosted.root / "gone").exists():
                raise Rejected("the version is gone")
            return hosted(model, version)

        gateway = stack.enter_context(serving(tmp_path / "gateway", hosted, load=load))
        gateway.shift(0, None)
        expected = gateway.ask().json()
        stop, answers = threading.Event(), list[Any]()

        def caller(number: int) -> None:
            for count in itertools.count():
                answers.append(gateway.ask(unit=f"u{number}-{count}"))
                if stop.is_set():
                    return

        with ThreadPoolExecutor(4) as callers:
            running = [callers.submit(caller, number) for number in range(4)]
            try:
                wait_for(lambda: len(answers) > 20)
                (hosted.root / "gone").touch()
                (hosted.root / GOOD / "MLmodel").write_text("spoiled")
                os.kill(hosted.started[-1][1], signal.SIGKILL)
                wait_for(lambda: sum(map(marked, list(answers))) > 50)
            finally:
                stop.set()
            for one in running:
                one.result()
        assert {answer.status_code for answer in answers} == {200}
        assert all(answer.json() == (ANSWER if marked(answer) else expected) for answer in answers)
        assert sum(record.get("fallback") is not None for record in gateway.records()) == sum(map(marked, answers))


def test_a_champion_that_cannot_be_loaded_at_a_restart_is_answered_for(tmp_path: Path, models: Models) -> None:
    """Without any loaded champion the fallback answers, and with `refuse` the callers get 503 and the reason."""
    with serving(tmp_path, models) as gateway:
        gateway.shift(0, None)

    def load(model: str, version: Version) -> Any:
        raise Rejected("the store is empty")

    with serving(tmp_path, models, load=load) as gateway:
        answer = gateway.ask()
        assert (answer.status_code, answer.json(), marked(answer)) == (200, ANSWER, True)
        (record,) = gateway.records()
        assert (record["version"], record["answered_by"], record["error"]) == (
            GOOD,
            None,
            "Down: no champion is loaded",
        )
    with serving(tmp_path, models, load=load, fallbacks={"flights": None}) as gateway:
        answer = gateway.ask()
        assert (answer.status_code, "the store is empty" in answer.text) == (503, True)
        assert len(gateway.records()) == 1


@pytest.mark.parametrize("candidate", [RAISING, NAN])
def test_a_candidate_that_fails_is_answered_by_the_champion(tmp_path: Path, models: Models, candidate: str) -> None:
    """The fallback is no candidate's: it is not asked, and nothing is reported, while the champion answers."""
    journal = Journal()
    with serving(tmp_path, models, journal) as gateway:
        gateway.shift(100, candidate)
        answers = [gateway.ask(unit=f"u{number}") for number in range(5)]
        assert {answer.headers["x-model-version"] for answer in answers} == {GOOD}
        assert not any(map(marked, answers))
        assert {record["answered_by"] for record in gateway.records()} == {GOOD}
        assert journal.fallbacks == []


def test_what_both_versions_fail_is_not_blamed_on_the_candidate(tmp_path: Path, models: Models) -> None:
    """Both sick: the fallback answers, and the tripwire does not cut the candidate for what the champion fails too."""
    sick, journal = threading.Event(), Journal()
    sick.set()
    with serving(tmp_path, models, journal, load=sick_loader(models, sick)) as gateway:
        gateway.shift(100, RAISING)
        answers = [gateway.ask(unit=f"u{number}") for number in range(30)]
        assert all(answer.json() == ANSWER and marked(answer) for answer in answers)
        assert {(record["arm"], record["answered_by"]) for record in gateway.records()} == {("candidate", None)}
        assert journal.reports == []
        counts: Any = gateway.traffic.stats("flights")
        assert counts["versions"][RAISING]["candidate_errors"] == 0


def test_rows_that_do_not_fit_are_the_callers_mistake(tmp_path: Path, models: Models) -> None:
    """A row that the signature refuses is refused as before: it is no failure of the champion."""
    journal = Journal()
    with serving(tmp_path, models, journal) as gateway:
        gateway.shift(0, None)
        assert gateway.ask(x="far").status_code == 400
        assert gateway.post({"dataframe_records": [{"unit": "u"}]}).status_code == 400
        assert [record.get("fallback") for record in gateway.records()] == [None, None]
        assert journal.fallbacks == []


def test_refusals_are_as_before_without_a_fallback(tmp_path: Path, models: Models) -> None:
    """Without a fallback a failed request is refused with its reason, and its record has no word of a fallback."""
    with listening(tmp_path, models) as gateway:
        gateway.shift(0, None, RAISING)
        answer = gateway.ask()
        assert (answer.status_code, "no such tree" in answer.text) == (400, True)
        (record,) = gateway.records()
        assert (record["error"], record["answered_by"]) == ("RuntimeError: no such tree", None)
        assert "fallback" not in record


def test_the_policy_is_read_as_it_is_written_now(tmp_path: Path, models: Models) -> None:
    """A fallback that is added while callers fail counts at once; a file that is broken after that changes nothing."""
    configs = tmp_path / "configs"
    configs.mkdir()
    path = configs / "flights.yaml"
    view = SettingByModel(configs, lambda policy: policy.fallback_answer)
    with serving(tmp_path / "gateway", models, fallbacks=view) as gateway:
        gateway.shift(0, None, RAISING)
        assert gateway.ask().status_code == 400
        path.write_text(yaml.safe_dump({**POLICY, "model": "flights", "fallback": {"constant": [0.82, 0.18]}}))
        assert gateway.ask().json() == ANSWER
        path.write_text("model: [")
        os.utime(path, (1.0, 1.0))
        assert gateway.ask().json() == ANSWER
        path.unlink()
        assert gateway.ask().json() == ANSWER
        path.write_text(yaml.safe_dump({**POLICY, "model": "flights", "fallback": {"refuse": True}}))
        assert gateway.ask().status_code == 400


def test_a_tensor_gets_a_tensor_or_is_refused(tmp_path: Path, models: Models) -> None:
    """Open Inference callers get the constant as a tensor; one that is none is not given to them."""
    tensor = {"name": "x", "shape": [2], "datatype": "FP64", "data": [1.0, 2.0]}
    body = {"id": "a", "inputs": [tensor, {**tensor, "name": "y"}]}
    with serving(tmp_path / "a", models) as gateway:
        gateway.shift(0, None, RAISING)
        answer = gateway.post(body, "/v2/models/flights/infer")
        assert (answer.status_code, marked(answer)) == (200, True)
        assert (answer.json()["model_version"], answer.json()["outputs"][0]["shape"]) == ("constant", [2, 2])
    odd = {"flights": FallbackAnswer("constant", '{"late": 0.18}')}
    with serving(tmp_path / "b", models, fallbacks=odd) as gateway:
        gateway.shift(0, None, RAISING)
        assert gateway.post(body, "/v2/models/flights/infer").status_code == 400
        assert gateway.ask().json() == {"predictions": [{"late": 0.18}]}


def test_readers_of_the_log_see_no_answer_of_the_champion(tmp_path: Path, models: Models) -> None:
    """Segments and compacted tables say the same: who asks for the champion's answers gets none of the fallback's."""
    sick = threading.Event()
    with serving(tmp_path, models, load=sick_loader(models, sick)) as gateway:
        gateway.shift(0, None)
        gateway.ask(unit="good")
        sick.set()
        gateway.ask(unit="bad")
    log = PredictionLog(tmp_path / "log")
    columns = 'SELECT unit, answered_by, prediction IS NULL, fallback, fallback_answer FROM log ORDER BY "at"'
    rows = [("good", GOOD, False, None, None), ("bad", None, True, "constant", "[0.82,0.18]")]
    assert [tuple(row) for row in log.query_rows("flights", columns, ())] == rows
    compact_log(tmp_path / "log", "flights")
    assert [tuple(row) for row in log.query_rows("flights", columns, ())] == rows
    assert [request.answered_by for request in log.read_requests("flights", 0.0, 1e12)] == [GOOD]


def test_no_fallback_answers_where_the_champion_has_answered(tmp_path: Path, models: Models) -> None:
    """An answer is marked exactly when the champion fails its request, whatever else is asked before and beside it."""
    with serving(tmp_path, models, load=sick_loader(models, threading.Event(), limit=2.0)) as gateway:
        gateway.shift(0, None)

        @settings(max_examples=25, deadline=None)
        @given(st.lists(st.lists(st.floats(0.0, 4.0), min_size=1, max_size=4), min_size=1, max_size=8))
        def ask(requests: list[list[float]]) -> None:
            bodies = [{"dataframe_records": [{"x": x, "y": 1.0} for x in rows]} for rows in requests]
            with ThreadPoolExecutor(8) as callers:
                answers = list(callers.map(gateway.post, bodies))
            for rows, answer in zip(requests, answers, strict=True):
                assert answer.status_code == 200
                assert marked(answer) == (max(rows) > 2.0)
                assert len(answer.json()["predictions"]) == len(rows)
                assert (answer.json()["predictions"] == ANSWER["predictions"] * len(rows)) == marked(answer)

        ask()
        for record in gateway.records():
            assert (record.get("fallback") is None) == (record["answered_by"] == GOOD)


def test_status_says_it_while_it_lasts(emergency: Emergency, capfd: pytest.CaptureFixture[str]) -> None:
    """`surefoot status` names the version and its failure, exits with 1, and falls silent when it is over."""
    begin_fallback_period(emergency.ports, MODEL, emergency.champion, "constant", "RuntimeError: it is down")
    assert (
        len(emergency.journal.read(MODEL))
        == begin_fallback_period(emergency.ports, MODEL, emergency.champion, "constant", "again").head
    )
    assert emergency.command("status", "--json") == 1
    assert "version 1 fails: RuntimeError: it is down" in capfd.readouterr().out
    end_fallback_period(emergency.ports, MODEL, emergency.champion)
    emergency.command("status", "--json")
    assert "it is down" not in capfd.readouterr().out
