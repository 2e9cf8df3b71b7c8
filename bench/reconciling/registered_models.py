"""Register many models in an MLflow database, and build an installation that serves their champions."""

from dataclasses import replace
from pathlib import Path

from bench.linear_model import POLICY, SUITE
from surefoot.adapters.clock import SystemClock
from surefoot.adapters.journal.sql_journal import SqlJournal
from surefoot.core.domain import Version
from surefoot.core.journal.events import ChampionAdopted, EffectDone, EffectIntended, Event, SetSplit, encode_event
from surefoot.settings import Settings
from surefoot.wiring import find_broken_policies

_VERSIONS = 5
CHAMPION = "2"


def model_name(number: int) -> str:
    """Name of a registered model."""
    return f"many-{number:04d}"


def register_models(database: Path, first: int, last: int) -> None:
    """Register models `first` to `last` - 1 with five versions each in MLflow's own database, as its server does."""
    from mlflow.store.model_registry.sqlalchemy_store import SqlAlchemyStore  # noqa: PLC0415 - costs seconds

    store = SqlAlchemyStore(f"sqlite:///{database}")
    for number in range(first, last):
        name = model_name(number)
        store.create_registered_model(name)
        for version in range(1, _VERSIONS + 1):
            store.create_model_version(name, f"s3://bench/{name}/{version}")
        store.set_registered_model_alias(name, "champion", CHAMPION)


def build_installation(config: Settings, folder: Path, count: int) -> Settings:
    """An installation with a policy and a journal for each of so many models, on the same servers.

    Args:
        config: Settings of the running stack.
        folder: Where its project and its state are written.
        count: How many models.
    """
    project, home = folder / "project", folder / "home"
    (project / "configs").mkdir(parents=True)
    (project / "expectations").mkdir()
    (project / "expectations" / "idle.json").write_text(SUITE, encoding="utf-8")
    home.mkdir()
    made = replace(config, home=home, project=project, journal="")
    journal = SqlJournal(made.journal_url, SystemClock())
    champion = Version(CHAMPION, f"sha256:{'2' * 64}")
    served: list[Event] = [
        ChampionAdopted(champion),
        EffectIntended("", SetSplit(champion, None, 0.0)),
        EffectDone("", 2, reconciled=False, took_ms=1.0),
    ]
    for number in range(count):
        name = model_name(number)
        (project / "configs" / f"{name}.yaml").write_text(POLICY.replace("MODEL", name), encoding="utf-8")
        for seq, event in enumerate(served):
            kind, data = encode_event(event)
            journal.append(name, seq, 0.0, "bench", kind, data)
    journal.close()
    if wrong := find_broken_policies(made):
        raise RuntimeError(f"no policy of this bench can be read: {next(iter(wrong.values()))}")
    return made
