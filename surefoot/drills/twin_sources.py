"""Collect the model, policy and requests from which a twin, a copy of production for drills, is built."""

import shutil
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import yaml

from surefoot import wiring
from surefoot.adapters.config.policy_folder import read_model_policy
from surefoot.adapters.predictions.prediction_log import LoggedRequest, PredictionLog
from surefoot.column_encryption import build_column_decryptor
from surefoot.core.domain import Version
from surefoot.core.errors import NotFound, Rejected, SurefootError
from surefoot.core.journal.ledger import Ledger, fold_entries
from surefoot.core.naming.model_names import model_file_name
from surefoot.core.policy.policy_types import Policy, SlicedGate
from surefoot.core.policy.steps import remove_approval_steps
from surefoot.settings import Settings
from surefoot.wiring.adapters import make_artifact_cache

_DEMO_MODEL = "flights-late"
"""The model whose versions and requests can be made from public data, without any server."""
_LEFT_OUT = ("data_layer", "bundle", "fallback", "drill", "playbook", "serving", "ticket", "artifacts", "provenance")
"""Sections of a policy that act on something outside of the gateway, or that a twin must not wait for.

The versions of a twin are made for the drill: they are pickles that no person has signed."""
_EXTRAPOLATED = ("max_difference", "answers")
"""What a policy says of answers to corner cases: the candidate of a twin extrapolates far on purpose."""
_MOST_ROWS = 20_000
"""Requests of the log that a twin replays at most, the latest first [count]."""
_LEAST_ROWS = 500
"""Fewer requests with labels than this are too few for a rehearsal [count]."""
_PERIOD_S = 60 * 86400.0
"""How far back requests are taken from the log [seconds]."""


@dataclass(frozen=True, slots=True)
class TwinSource:
    """What a staging twin is made from.

    Attributes:
        model: Registered model.
        project: Folder with the policy and suite of the twin.
        policy: The policy.
        good: Directory of the good version; empty for the model of the demo, which is trained.
        traffic: Parquet file of the requests; written with the model of the demo.
        version: The version that serves in production; None where none does.
        target: The version that a rollback in production goes to; None without one.
    """

    model: str
    project: Path
    policy: Policy
    good: str
    traffic: Path
    version: Version | None = None
    target: Version | None = None

    @property
    def groups(self) -> tuple[str, ...]:
        """Columns by which the policy looks at groups."""
        sliced = [gate for gate in self.policy.gates.values() if isinstance(gate, SlicedGate)]
        return tuple(dict.fromkeys(column for gate in sliced for column in gate.by))


def find_twin_source(config: Settings | None, project: Path, model: str, folder: Path) -> TwinSource:
    """What a twin of a model is made from.

    Args:
        config: Where production is; None where no stack was ever started here.
        project: Folder of configs/ and expectations/.
        model: Registered model.
        folder: Folder of the twin.

    Raises:
        NotFound: There is no such policy or suite.
        Rejected: The model has no champion, and is not the model of the demo; or its log has too few requests.
    """
    source = config.project if config is not None else project
    policy = copy_policy_and_suite(source, folder / "project", model)
    traffic = folder / "traffic.parquet"
    ledger = _ledger(config, model) if config is not None else None
    if config is None or ledger is None or ledger.champion is None:
        if model != _DEMO_MODEL:
            raise Rejected(f"{model} has no champion here: a drill rehearses the rollback of a model that is served")
        return TwinSource(model, folder / "project", policy, "", traffic)
    frame = _logged(config, model)
    frame.to_parquet(traffic)
    try:
        good = make_artifact_cache(config).verified(ledger.champion, model)
    except SurefootError as error:
        raise Rejected(f"the files of {model} version {ledger.champion.number} cannot be had: {error}") from error
    return TwinSource(model, folder / "project", policy, str(good), traffic, ledger.champion, ledger.target())


def copy_policy_and_suite(source: Path, folder: Path, model: str) -> Policy:
    """Copy the policy and the suite of a model, without what acts on something outside of the gateway.

    Raises:
        NotFound: There is no such policy or suite.
        PolicyInvalid: The policy is broken.
        Rejected: The model's engine is not rehearsed.
    """
    value, policy = read_model_policy(source / "configs", model)
    if not policy.traffic.engine_choice.abilities.drills:
        raise Rejected(
            f"{model} is served by engine '{policy.traffic.engine}': only the gateway's rollback is rehearsed"
        )
    suite = source / "expectations" / f"{policy.suite}.json"
    if not suite.is_file():
        raise NotFound(f"policy {model} names suite '{policy.suite}', but there is no {suite}")
    (folder / "configs").mkdir(parents=True)
    (folder / "expectations").mkdir()
    shutil.copy(suite, folder / "expectations" / suite.name)
    kept = {key: item for key, item in remove_approval_steps(value).items() if key not in _LEFT_OUT}
    if isinstance(corners := kept.get("corners"), dict):
        kept["corners"] = {key: item for key, item in corners.items() if key not in _EXTRAPOLATED}
    (folder / "configs" / f"{model_file_name(model)}.yaml").write_text(
        yaml.safe_dump(kept, sort_keys=False), encoding="utf-8"
    )
    return policy


def _ledger(config: Settings, model: str) -> Ledger:
    with wiring.open_journal(config) as journal:
        return fold_entries(model, journal.read(model))


def _logged(config: Settings, model: str) -> pd.DataFrame:
    """Requests of production with their labels, as a table that the callers of a twin play."""
    if build_column_decryptor(config.log, model) is not None:
        raise Rejected(f"the log of {model} has encrypted columns, which a twin does not read: give requests in a file")
    now = wiring.make_clock(config).now()
    found = PredictionLog(config.log).read_requests(model, now - _PERIOD_S, now, limit=_MOST_ROWS)
    rows = [_row(one) for one in sorted(found, key=lambda one: one.at) if one.bare is None and not one.params]
    labelled = sum(row["label"] is not None for row in rows)
    if labelled < _LEAST_ROWS:
        raise Rejected(
            f"the log of {model} has {labelled} requests with labels: a drill replays at least {_LEAST_ROWS} of them"
        )
    return pd.DataFrame(rows)


def _row(one: LoggedRequest) -> dict[str, object]:
    at, label = one.labels[-1] if one.labels else (None, None)
    return {**one.features, "id": f"{one.key[0]}-{one.key[1]}", "at": one.at, "label": label, "label_at": at}
