"""Project the journal to MLflow, as runs and on version pages."""

import os
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

from surefoot.adapters.mlflow.client import RetryingClient
from surefoot.adapters.mlflow.runs.run_views import RUNNING, EntryKey, RunView, make_run_views
from surefoot.adapters.mlflow.runs.run_writer import HASH, HEAD, PARENT, SEQ, WARNING, RunPlots, RunWriter
from surefoot.adapters.mlflow.runs.version_pages import ROLLOUT, VersionOutcomeWriter
from surefoot.core.errors import Conflict, RegistryUnavailable, Rejected, SurefootError
from surefoot.core.journal.chain import Entry
from surefoot.core.served_versions.promotion_card import card_markdown, promotion_cards
from surefoot.core.served_versions.version_status import version_statuses

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Experiment, Run

_PASSES = 6
_PAGE = 1000
_NO_REPORTS: Mapping[int, Path] = MappingProxyType({})


EXPERIMENT_PREFIX = "surefoot/"
"""What the name of an experiment of Surefoot has before the model's."""


class MlflowProjection:
    """Writes runs to the MLflow experiment of a model until MLflow shows what the journal says.

    It looks, does what is missing, and looks again until nothing is. So it may be killed anywhere, repeated at
    any time, and run by two processes at once: MLflow cannot create a run only if it is absent, but of two runs
    for one entry everybody keeps the same one, and the last to look has seen both.

    A run with the number of an entry but another hash is not of this journal: it is tagged `surefoot.warning`
    and otherwise left alone, and the entry gets a run of its own.
    """

    def __init__(
        self,
        uri: str,
        pictures: RunPlots,
        experiment_prefix: str = EXPERIMENT_PREFIX,
        deadline_s: float = 10.0,
    ) -> None:
        """Remember where; nothing is imported or asked before the first projection.

        Args:
            uri: MLflow's tracking URI.
            pictures: Draws what the runs show.
            experiment_prefix: What the name of an experiment has before the model's.
            deadline_s: How long one request may be tried again [s].
        """
        os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")
        os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
        self._mlflow = RetryingClient(uri, deadline_s)
        self._writer = RunWriter(self._mlflow, pictures)
        self._pages = VersionOutcomeWriter(self._mlflow)
        self._links: dict[str, str] = {}
        self._prefix = experiment_prefix
        self._experiments: dict[str, str] = {}

    def project(
        self, model: str, entries: Iterable[Entry], flow_run: str = "", reports: Mapping[int, Path] = _NO_REPORTS
    ) -> int:
        """Make MLflow show these entries, as runs and on the page of each version that they tell of.

        Args:
            model: Registered model.
            entries: The journal, or its part from the opening of a rollout on.
            flow_run: The Prefect flow run that new runs are created for.
            reports: Validation pages by sequence of the verdict that they belong to; taken when a run is drawn.

        Returns:
            Runs that were created, completed, moved, removed or warned about, and pages of versions that were changed
            [count]; 0 when nothing was to do.

        Raises:
            RegistryUnavailable: MLflow does not answer; what was drawn stays, and the next call goes on from there.
            Rejected: MLflow refuses what is asked of it.
        """
        entries = tuple(entries)
        done = self._draw(model, {run.key: run for run in make_run_views(entries)}, flow_run, reports)
        cards = {card.opened.candidate.number: card_markdown(card, model) for card in promotion_cards(entries)}
        return done + self._pages.write_outcomes(model, version_statuses(entries), self._links, cards)

    def _draw(self, model: str, wanted: Mapping[EntryKey, RunView], flow_run: str, reports: Mapping[int, Path]) -> int:
        """Look and do what is missing until nothing is; how many runs were touched."""
        done, trouble = 0, None
        for _ in range(_PASSES if wanted else 0):
            try:
                changes = self._pass(model, wanted, flow_run, reports)
            except (Rejected, Conflict) as error:
                # Somebody deleted a run or the experiment while it was being written: look again.
                trouble, changes = error, 1
                self._experiments.pop(model, None)
            else:
                done += changes
            if not changes:
                return done
        if wanted:
            raise trouble or _unsettled(model)
        return 0

    def _pass(self, model: str, wanted: Mapping[EntryKey, RunView], flow_run: str, reports: Mapping[int, Path]) -> int:
        """Look once and do what is missing; how many runs were touched."""
        experiment = self._experiments.get(model) or self._experiment(model)
        self._experiments[model] = experiment
        kept, surplus, strangers = _sort(self._search(experiment), wanted)
        for run in surplus:
            self._writer.delete_run(run)
        changes = len(surplus)
        for run in strangers:
            self._writer.mark_foreign_run(
                run, "surefoot's journal has another hash for this entry: this run is not of it"
            )
        changes += len(strangers)
        for key, target in wanted.items():  # rollouts come first, so that a transition finds the run of its own
            existing, parent = kept.get(key), kept.get(target.parent) if target.parent else None
            if existing is None:
                existing = kept[key] = self._writer.create_run(experiment, target, parent, flow_run)
            elif _complete(existing, target):
                if parent is not None and existing.data.tags.get(PARENT) != parent.info.run_id:
                    self._writer.set_parent_run(existing, parent)
                    changes += 1
                continue
            self._writer.write_run(existing, target, parent, reports)
            changes += 1
        for key, target in wanted.items():
            if target.parent is None:
                where = f"#/experiments/{experiment}/runs/{kept[key].info.run_id}"
                self._links[target.params[ROLLOUT]] = f"{self._mlflow.uri.rstrip('/')}/{where}"
        return changes

    def _search(self, experiment: str) -> "list[Run]":
        """Every run of the experiment; one call for a thousand."""
        return self._mlflow.read_pages(
            lambda token, client: client.search_runs([experiment], max_results=_PAGE, page_token=token)
        )

    def _experiment(self, model: str) -> str:
        """Id of the model's experiment, made or brought back when it is absent."""
        name = self._prefix + model

        def found(client: "MlflowClient") -> "Experiment | None":
            return client.get_experiment_by_name(name)

        experiment = self._mlflow.call(found)
        if experiment is None:
            try:
                return self._mlflow.call(lambda client: str(client.create_experiment(name)))
            except Conflict:
                experiment = self._mlflow.call(found)  # another process was first
            if experiment is None:
                raise _unsettled(model)
        if experiment.lifecycle_stage != "active":
            self._mlflow.call(lambda client: client.restore_experiment(experiment.experiment_id))
        return str(experiment.experiment_id)


def _unsettled(model: str) -> SurefootError:
    return RegistryUnavailable(f"the runs of {model} do not settle; another writer is at work")


def _sort(
    runs: "Sequence[Run]", wanted: Mapping[EntryKey, RunView]
) -> "tuple[dict[EntryKey, Run], list[Run], list[Run]]":
    """The run of each entry, runs that say the same as another, and runs of another journal."""
    by_key: dict[EntryKey, list[Run]] = defaultdict(list)
    strangers, numbers = [], {seq for seq, _ in wanted}
    for run in runs:
        key = _key(run)
        if key is not None and key in wanted:
            by_key[key].append(run)
        elif key is not None and key[0] in numbers and WARNING not in run.data.tags:
            strangers.append(run)
    # The lowest id wins for every reader at every time; a rule that looked at progress could delete both.
    ranked = {key: sorted(same, key=lambda run: str(run.info.run_id)) for key, same in by_key.items()}
    return {key: same[0] for key, same in ranked.items()}, [r for same in ranked.values() for r in same[1:]], strangers


def _key(run: "Run") -> EntryKey | None:
    """Which entry a run shows: by its parameters, which cannot be rewritten, or the tags that it was born with."""
    said = {**run.data.tags, **run.data.params}
    seq, digest = said.get(SEQ, ""), said.get(HASH, "")
    return (_count(seq), digest) if _count(seq) and digest else None


def _complete(run: "Run", wanted: RunView) -> bool:
    """Whether a run shows what the entries say, or what later entries than these say."""
    said = run.data.tags
    head = _count(said.get(HEAD, ""))
    if head != wanted.head:
        return head > wanted.head
    # A description is MLflow's own tag, and people may write a better one.
    edited = any(said.get(name) != value for name, value in wanted.tags.items() if not name.startswith("mlflow."))
    return not edited and (wanted.status == RUNNING or run.info.status != RUNNING)


def _count(text: str) -> int:
    """A sequence as MLflow holds it; 0 when somebody has written something else there."""
    return int(text) if text.isascii() and text.isdigit() and len(text) < 19 else 0  # noqa: PLR2004 - fits 64 bits
