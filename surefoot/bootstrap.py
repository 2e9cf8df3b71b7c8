"""The only place where ports get real adapters."""

import hashlib
import json
import os
import secrets
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import TypeVar

from surefoot.adapters.artifacts import ArtifactCache
from surefoot.adapters.clock import HostClock, open_clock
from surefoot.adapters.compaction import Compacted
from surefoot.adapters.compaction import compact as compact_log
from surefoot.adapters.config import read
from surefoot.adapters.hosted import HostedModels, load_failure
from surefoot.adapters.journal import SqlJournal
from surefoot.adapters.measure import Measurements
from surefoot.adapters.predictions import PredictionLog
from surefoot.adapters.registry import MlflowRegistry
from surefoot.adapters.replay import Replay
from surefoot.adapters.traffic.gateway import GatewayTraffic
from surefoot.core.errors import Conflict, NotFound, PolicyInvalid, Rejected, SurefootError
from surefoot.core.evidence import Missing, Validation
from surefoot.core.model import Outcome, Stage, Version
from surefoot.core.policy import Policy
from surefoot.core.state import Ledger, fold
from surefoot.gateway.app import Gateway, build_app
from surefoot.gateway.settings import GatewaySettings
from surefoot.models.contract import NICE
from surefoot.models.nursery import Nursery
from surefoot.models.process import ModelProcess, forked, spawned
from surefoot.rollout import Ports, Request, Wish, adopt, end

T = TypeVar("T")
LEAST_MEMORY_MB = 4096
"""Least address space of a model's process [MB]: libraries reserve much more of it than they use."""
KEEP = 90
"""How long the prediction log reaches back unless told otherwise [days]."""
INSISTENCE = 100
"""How often an operator's request is made again when somebody else was faster [count]."""


@dataclass(frozen=True, slots=True)
class Settings:
    """Where everything is; written by `surefoot up`, read by everything else.

    Attributes:
        home: Folder of all state.
        project: Folder of configs/ and expectations/.
        mlflow: Base URL of the MLflow server.
        prefect: Base URL of the Prefect server, without /api.
        gateway: Base URL of the gateway.
        token: Secret of the gateway's control calls.
        clock: "system" or "replay:<file>".
        journal: SQLAlchemy URL of the journal.
        tick: Time between two runs of the scheduled flows [seconds].
        processes: What was started: name -> [pid, start time].
    """

    home: Path
    project: Path
    mlflow: str
    prefect: str
    gateway: str
    token: str
    clock: str = "system"
    journal: str = ""
    tick: int = 60
    processes: Mapping[str, tuple[int, float]] = field(default_factory=dict)

    @property
    def configs(self) -> Path:
        """Folder of the policy files."""
        return self.project / "configs"

    @property
    def log(self) -> Path:
        """Folder of the prediction logs, one folder a model."""
        return self.home / "gateway" / "log"

    @property
    def journal_url(self) -> str:
        """URL of the journal's database."""
        return self.journal or f"sqlite:///{self.home / 'journal.db'}"

    def save(self) -> None:
        """Write the settings where `settings` finds them; readable by the owner only, for it holds a token."""
        self.home.mkdir(parents=True, exist_ok=True)
        target, fresh = self.home / "stack.json", self.home / f".stack-{secrets.token_hex(4)}"
        plain = {key: str(item) if isinstance(item, Path) else item for key, item in asdict(self).items()}
        fresh.touch(mode=0o600)
        fresh.write_text(json.dumps(plain, indent=2), encoding="utf-8")
        fresh.replace(target)


def home() -> Path:
    """Folder of all state: SUREFOOT_HOME, or .surefoot here."""
    return Path(os.environ.get("SUREFOOT_HOME", ".surefoot")).absolute()


def settings(where: Path | None = None) -> Settings:
    """Read what `surefoot up` wrote.

    Raises:
        Rejected: There is no running stack, or its file is broken.
    """
    file = (where or home()) / "stack.json"
    try:
        plain = json.loads(file.read_text(encoding="utf-8"))
        plain["home"], plain["project"] = Path(plain["home"]), Path(plain["project"])
        plain["processes"] = {name: (int(pid), float(born)) for name, (pid, born) in plain["processes"].items()}
        return Settings(**plain)
    except FileNotFoundError as error:
        raise Rejected(f"no stack in {file.parent}: start one with 'surefoot up', or set SUREFOOT_HOME") from error
    except (ValueError, KeyError, TypeError) as error:
        raise Rejected(f"{file} is broken ({error}): 'surefoot up' writes it anew") from error


def clock(config: Settings) -> HostClock:
    """The clock that policies count in."""
    return open_clock(config.clock)


def journal(config: Settings) -> SqlJournal:
    """The record of everything."""
    return SqlJournal(config.journal_url, clock(config))


def artifacts(config: Settings) -> ArtifactCache:
    """The verified copies of model artifacts."""
    return ArtifactCache(config.home / "artifacts", config.mlflow)


def registry(config: Settings, deadline_s: float = 20.0) -> MlflowRegistry:
    """The model registry."""
    return MlflowRegistry(config.mlflow, artifacts(config).fetch, deadline_s)


def traffic(config: Settings) -> GatewayTraffic:
    """The engine that splits live requests."""
    return GatewayTraffic(config.gateway, config.token)


def hosted(config: Settings) -> HostedModels:
    """Versions in processes of their own, for those who do not serve them."""
    return HostedModels(artifacts(config), model_memory(2))


def ports(config: Settings, actor: str, registry_deadline_s: float = 20.0) -> Ports:
    """Everything a rollout needs, for one actor; people at a terminal wait less long for a registry that is down."""
    models = hosted(config)

    def validate(suite: str, frame: object, name: str) -> Validation | Missing:
        from surefoot.adapters.checks import validate as check  # noqa: PLC0415 - Great Expectations costs 5 CPU seconds
        from surefoot.pages.validation import render  # noqa: PLC0415 - same

        kept = _kept(config, suite)
        if not kept.is_file() or "sha256:" + hashlib.sha256(kept.read_bytes()).hexdigest() != suite:
            return Missing(
                Outcome.ERROR, f"the suite {suite[:19]} that this rollout was opened with is gone or changed"
            )
        return check(kept, frame, render, config.home / "reports" / f"{name}.html")  # type: ignore[arg-type]

    log = PredictionLog(config.log)
    evidences = Measurements(log, Replay(log, models.scores), validate)
    found = registry(config, registry_deadline_s)
    return Ports(journal(config), found, traffic(config), evidences, clock(config), actor, models.problem)


def _kept(config: Settings, digest: str) -> Path:
    """Where a suite is kept as it was when a rollout opened."""
    return config.home / "suites" / f"{digest.removeprefix('sha256:')}.json"


def model_memory(workers: int) -> int:
    """Address space of a model's process [MB]; what leaks in every worker leaves half of the host to others."""
    host = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") >> 20
    return max(LEAST_MEMORY_MB, host // 2 // workers)


def gateway_app(config: Settings, memory_mb: int, nursery: Nursery) -> Gateway:
    """The data plane of one worker, with the verified loader that it may not reach by itself."""
    cache = artifacts(config)
    knobs = GatewaySettings(
        config.home / "gateway",
        config.token,
        alarm=partial(tripped, config),
        kept=Chosen(config, lambda policy: policy.kept),
        units=Chosen(config, lambda policy: policy.unit),
    )

    def launched(nice: int, model: str, version: Version) -> ModelProcess:
        path = cache.verified(version, model)
        arguments = [str(path), version.digest, str(memory_mb), str(nice)]
        slowly = spawned([sys.executable, "-m", "surefoot.hosting", *arguments])
        return ModelProcess(forked(nursery, arguments, slowly), load_failure)

    return build_app(knobs, clock(config), partial(launched, 0), partial(launched, NICE))


def tripped(config: Settings, model: str, rollout: str, reason: str) -> None:
    """Journal that the gateway has cut a candidate; whoever drives the rollout brings it to its end.

    Raises:
        SurefootError: The journal cannot be written just now.
    """
    world = ports(config, "gateway")
    if world.ledger(model).open == rollout and rollout:
        insist(lambda: end(world, model, Stage.ROLLED_BACK, reason, "tripwire"))


class Chosen(Mapping[str, T]):
    """What the gateway needs of each model's policy, as it is written now; a broken policy says nothing.

    The gateway asks when a rollout begins and keeps to that, for an edit must not send the units of an open rollout
    somewhere else.
    """

    def __init__(self, config: Settings, choose: Callable[[Policy], T]) -> None:
        """Read nothing yet.

        Args:
            config: Where policies are.
            choose: Takes what is needed from one.
        """
        self._config = config
        self._choose = choose
        self._known: dict[str, tuple[int, tuple[T, ...]]] = {}

    def __getitem__(self, model: str) -> T:
        """What was chosen; KeyError without a valid policy."""
        path = self._config.configs / f"{model}.yaml"
        try:
            written = path.stat().st_mtime_ns
        except OSError:
            raise KeyError(model) from None
        if model not in self._known or self._known[model][0] != written:  # callers of unknown models make us ask too
            try:
                found: tuple[T, ...] = (self._choose(read(path)[1]),)
            except (PolicyInvalid, NotFound):
                found = ()
            self._known[model] = written, found
        for value in self._known[model][1]:
            return value
        raise KeyError(model)

    def __iter__(self) -> Iterator[str]:
        """Models that have a policy."""
        return iter(policies(self._config))

    def __len__(self) -> int:
        """How many."""
        return len(policies(self._config))


def policies(config: Settings) -> dict[str, Policy]:
    """Every policy in configs/ that can be read; broken ones are left to `lint`."""
    found = {}
    for path in sorted(config.configs.glob("*.yaml")):
        try:
            found[path.stem] = read(path)[1]
        except PolicyInvalid:
            continue
    return found


def broken_policies(config: Settings) -> dict[str, str]:
    """What is wrong with the policies in configs/ that cannot be read, by model."""
    found = {}
    for path in sorted(config.configs.glob("*.yaml")):
        try:
            read(path)
        except PolicyInvalid as error:
            found[path.stem] = str(error)
    return found


def request(config: Settings, model: str, number: str, reason: str, *, force: bool = False) -> Request:
    """Resolve policy and suite once; later edits change nothing for this rollout.

    Raises:
        Rejected: Policy or suite are missing or wrong.
    """
    value, policy = read(config.configs / f"{model}.yaml")
    suite = config.project / "expectations" / f"{policy.suite}.json"
    if not suite.is_file():
        raise NotFound(f"policy {model} names suite '{policy.suite}', but there is no {suite}")
    body = suite.read_bytes()
    digest = "sha256:" + hashlib.sha256(body).hexdigest()
    kept = _kept(config, digest)
    kept.parent.mkdir(parents=True, exist_ok=True)
    kept.write_bytes(body)
    secret = hashlib.sha256(f"assignment {config.token}".encode()).hexdigest()
    return Request(value, digest, number, reason, force, secret)


def wish_request(config: Settings, model: str, wish: Wish) -> Request:
    """The request for a version that the registry asks for; raises what `request` raises."""
    return request(config, model, wish.number, wish.reason)


def policy_facts(config: Settings, model: str, policy: Policy) -> dict[str, str]:
    """Digests of the files that a refusal may rest on."""
    files = {
        "policy": config.configs / f"{model}.yaml",
        "suite": config.project / "expectations" / f"{policy.suite}.json",
    }
    return {
        name: hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else "" for name, path in files.items()
    }


def project(config: Settings, model: str, flow_run: str = "", upto: int | None = None) -> int:
    """Show the journal of a model, up to an entry, as MLflow runs; returns how many runs were written.

    Raises:
        Unavailable: MLflow does not answer; nothing but the view is behind.
    """
    from surefoot.adapters.projection import MlflowProjection  # noqa: PLC0415 - MLflow costs 2.6 CPU seconds
    from surefoot.adapters.run_writer import Pictures  # noqa: PLC0415 - same
    from surefoot.pages.course import course_png  # noqa: PLC0415 - so does Matplotlib
    from surefoot.pages.plots import losses_png, verdicts_png  # noqa: PLC0415 - same

    entries = tuple(entry for entry in journal(config).read(model) if upto is None or entry.seq <= upto)
    reports = {}
    for entry in entries:
        verdict = entry.data.get("verdict")
        if entry.kind == "GateJudged" and isinstance(verdict, dict) and verdict["gate"] == "data":
            page = config.home / "reports" / f"{entry.data['rollout']}.html"
            if page.is_file():
                reports[entry.seq] = page
    view = MlflowProjection(config.mlflow, Pictures(verdicts_png, losses_png, course_png))
    return view.project(model, entries, flow_run, reports=reports)


def insist(request: Callable[[], Ledger]) -> Ledger:
    """Repeat an operator's request until nobody else has appended while it was made.

    Whoever drives the rollout appends several times a second; an abort must not lose against that.

    Raises:
        Conflict: It lost again and again.
    """
    for _ in range(INSISTENCE):
        try:
            return request()
        except Conflict as error:
            if type(error) is not Conflict:  # its subclasses say that something else is wrong
                raise
    return request()


def adopt_all(config: Settings, actor: str) -> dict[str, str]:
    """Serve the champion of every model that has a policy; says what happened, model by model."""
    said = {}
    world = ports(config, actor)
    for model in policies(config):
        try:
            ledger = adopt(world, model)
            said[model] = f"champion {ledger.champion.number}" if ledger.champion else "no champion"
        except SurefootError as error:
            said[model] = str(error)
    return said


def logged(config: Settings) -> tuple[str, ...]:
    """Models of which something was logged."""
    return tuple(sorted(path.name for path in config.log.glob("*/")))


def compact(config: Settings, model: str, keep: float = KEEP, batches: int | None = None) -> Compacted:
    """Turn what is closed of a model's log into Parquet, and remove what is older than is kept.

    While a rollout is open nothing is removed: its gates compare with a past that must stay as it was.

    Args:
        config: Where everything is.
        model: Registered model.
        keep: How long a record is kept at least [days].
        batches: Most parts to make of each kind of records [count]; all without it.

    Raises:
        SurefootError: As `surefoot.adapters.compaction.compact` does; or the journal cannot be read.
    """
    ledger = fold(model, journal(config).read(model))
    before = None if ledger.open else clock(config).now() - keep * 86400.0
    return compact_log(config.log, model, before=before, batches=batches)
