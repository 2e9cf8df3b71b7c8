"""Find which scheduled flows have work to do, without doing it."""

import math
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial

from surefoot import wiring
from surefoot.adapters import flow_progress
from surefoot.controller.flow_scheduler import Scheduler
from surefoot.controller.standbys import StandbySender
from surefoot.controller.tick_state import CachedPorts, TickState
from surefoot.controller.work_backoff import OneTimeWork
from surefoot.core.actions import NoRollout, WaitUntil
from surefoot.core.domain import RegistryView, Stage
from surefoot.core.errors import SurefootError
from surefoot.core.journal.chain import canonical_digest
from surefoot.core.journal.ledger import Ledger
from surefoot.core.policy.policy_types import Policy
from surefoot.core.policy.recovery.playbook import NO_PLAYBOOK
from surefoot.incidents.incident_reports import describe_incident_work
from surefoot.incidents.notifications import unjournalled_deliveries
from surefoot.rollout import (
    DRILL_RETRY_S,
    CandidateRequest,
    DriftRule,
    NextStep,
    Ports,
    PromotionRequest,
    adopt_champion,
    candidate_requests,
    checkpoints_to_check,
    end_cancelled_rollouts,
    end_withdrawn_rollout,
    find_wanted_change,
    is_answer_count_due,
    is_exposure_list_due,
    is_fallback_check_due,
    is_live_drill_overdue,
    is_rollback_drill_due,
    journal_model_drift,
    list_ended_outcomes,
    list_pending_restores,
    next_evaluation_time,
    next_step,
    open_requested_rollout,
    read_drift_reaction,
)
from surefoot.rollout.dry_run import WantedChange
from surefoot.rollout.reconcile import RUN_SILENCE_S, next_bake_action

FULL_CHECK_INTERVAL_S = 3600.0
"""How often `reconcile` runs whatever a look says [s]: it draws MLflow runs again that were edited or deleted."""

_NEXT_STEP = " of its steps"

_WAITS = " beside an open rollout"

_PROOF_PAUSE_S = 300.0
"""Shortest time between two proofs of a checkpoint [real seconds]: a replay's clock may pass a day each second."""
_DueRuns = dict[str, object]
"""What is to be done -> what that rests on: as long as that is the same, a flow that has done nothing does nothing."""


@dataclass
class DueWork:
    """Finds the work that the scheduled flows of one installation have to do now.

    Attributes:
        snapshot: What is read.
        scheduler: Tells of the runs.
        full_at: When `reconcile` runs whatever a look says [monotonic seconds].
    """

    snapshot: TickState
    scheduler: Scheduler
    full_at: float = 0.0
    _idle: dict[str, object] = field(default_factory=dict)
    _looks: dict[str, tuple[object, float]] = field(default_factory=dict)
    _proofs: dict[str, float] = field(default_factory=dict)
    _standbys: StandbySender = field(default_factory=StandbySender)
    _outcomes: dict[str, tuple[object, dict[str, list[str]]]] = field(default_factory=dict)

    def find_due_work(self, flows: Iterable[str]) -> dict[str, _DueRuns]:
        """What each of these flows would do now.

        Raises:
            SurefootError: The journal cannot be read, or the scheduler does not answer.
        """
        with self.snapshot.open_ports() as ports:
            return {flow: self._watch(ports) if flow == "watch" else self._reconcile(ports) for flow in flows}

    def known_versions(self) -> dict[str, tuple[str, ...]]:
        """Every managed model and its versions, as far as the registry has told of them."""
        return self.snapshot.known_versions()

    def _watch(self, ports: CachedPorts) -> _DueRuns:
        """Models that bake, or whose champion is watched, and of which something is due."""
        wanted: _DueRuns = {}
        for model, ledger in ports.ledgers.items():
            head, now = self.snapshot.heads[model], ports.clock.now()
            if model in self._looks and self._looks[model][0] == head and now < self._looks[model][1]:
                continue
            if ledger.rollout is None or ledger.rollout.stage is not Stage.BAKING:
                try:
                    due = next_evaluation_time(ledger)
                except SurefootError as error:
                    wanted[f"{model}: {error}"] = head
                    continue
                if due is not None and due <= now:
                    wanted[f"{model}: a look at the champion"] = head
                self._looks[model] = head, math.inf if due is None else due
                continue
            try:
                action = next_bake_action(ledger, now)
            except SurefootError as error:  # the flow fails of it, where a person sees it
                wanted[f"{model}: {error}"] = head
                continue
            if isinstance(action, WaitUntil):
                self._looks[model] = head, action.until
            elif not isinstance(action, NoRollout):
                wanted[f"{model}: {type(action).__name__}"] = head
        return wanted

    def _reconcile(self, ports: CachedPorts) -> _DueRuns:
        """Everything that `reconcile` would do."""
        wanted: _DueRuns = {}
        if time.monotonic() >= self.full_at:
            wanted["everything is compared"] = self.full_at
        policies = self.snapshot.policies()
        models = {*policies, *ports.ledgers}
        looking = self.snapshot.read_registry_and_gateway(ports, models, policies)
        self._standbys.send_all(ports, self.snapshot)
        self._standbys.send_fallbacks(ports, self.snapshot, policies)
        runs = self.scheduler.promote_runs()
        since = time.time() - RUN_SILENCE_S
        started = [run.id for run in runs if run.started is not None and run.started < since]
        for run in self.scheduler.silent_runs(started, since) if started else ():
            wanted[f"flow run {run} is dead"] = ""
        if opened := [model for model, ledger in ports.ledgers.items() if ledger.open]:
            cancelled = self.scheduler.cancelled_runs(opened)
            if said := find_wanted_change(partial(end_cancelled_rollouts, runs=cancelled), looking):
                wanted[said] = ""
        busy = {run.model for run in runs}
        for model in sorted(models):
            mark = (self.snapshot.heads.get(model), self.snapshot.marks.get(model), model in busy)
            if self._idle.get(model) == mark:
                continue
            try:
                said = self._of_model(looking, model, policies.get(model), driven=model in busy)
            except SurefootError:  # as in the flow: the next tick asks again
                continue
            if said.endswith(_NEXT_STEP):
                # A tick in which the step's time is not over is no tick in vain: the next one asks again.
                wanted[f"{model}: {said}"] = time.monotonic()
            elif said:
                wanted[f"{model}: {said}"] = self._waiting(model, ports) if said.endswith(_WAITS) else mark
            elif not self.snapshot.troubles:
                self._idle[model] = mark
        return {
            **wanted,
            **_tables(ports, self._proofs),
            **_drills(ports, policies),
            **self._incidents(ports, policies),
            **self._to_count(ports),
            **self._shown(ports),
            **self._to_import(policies),
            **self._to_compact(),
        }

    def _waiting(self, model: str, ports: CachedPorts) -> OneTimeWork:
        """What a wish rests on that waits for the end of a rollout: the stages of that rollout change nothing of it."""
        registry, _, *files = self.snapshot.marks[model]
        return OneTimeWork((ports.ledger(model).open, registry, *files))

    def _of_model(self, ports: CachedPorts, model: str, policy: Policy | None, *, driven: bool) -> str:
        """What is to be done about one model, in the order of the flow."""
        ledger = ports.ledger(model)
        if policy is not None and (said := find_wanted_change(partial(_adopt, model=model), ports)):
            return said
        view = ports.registry.view(model)
        if said := find_wanted_change(partial(end_withdrawn_rollout, model=model, view=view), ports):
            return said
        if policy is not None and candidate_requests(view):
            facts = wiring.hash_policy_files(self.snapshot.config, model, policy)
            if said := find_wanted_change(partial(_open, model=model, view=view, facts=facts), ports):
                return said
        if (step := next_step(ledger, driven=driven)) is not NextStep.NOTHING:
            return f"rollout {ledger.open} needs {step}{_stepping(ledger)}"
        rule = DriftRule(read_drift_reaction(policy), partial(_promote_adopted, waits=bool(ledger.open)))
        return find_wanted_change(partial(journal_model_drift, model=model, rule=rule), ports)

    def _to_count(self, ports: CachedPorts) -> _DueRuns:
        """Models of which a rollout has ended, so that what versions answered is to be counted or listed."""
        now = ports.clock.now()
        return {
            f"{model}: what versions answered is to be counted": self.snapshot.heads[model]
            for model, ledger in ports.ledgers.items()
            if is_answer_count_due(ledger, now) or is_exposure_list_due(ledger, now)
        }

    def _incidents(self, ports: CachedPorts, policies: Mapping[str, Policy]) -> _DueRuns:
        """Models of which an incident is to be opened or reported, or of which people were told something."""
        wanted: _DueRuns = {}
        for model, ledger in ports.ledgers.items():
            if work := describe_incident_work(ledger, policies[model].playbook if model in policies else NO_PLAYBOOK):
                wanted[f"{model}: {work}"] = self.snapshot.heads[model]
        for message, model in unjournalled_deliveries(self.snapshot.config):
            wanted[f"{model}: what people were told is to be journalled"] = message
        return wanted

    def _shown(self, ports: CachedPorts) -> _DueRuns:
        """What MLflow and the ended flow runs do not show yet; an open rollout is shown by the run that drives it."""
        home = self.snapshot.config.home
        wanted: _DueRuns = {}
        outcomes: dict[str, list[str]] = {}
        for model, ledger in ports.ledgers.items():
            head = self.snapshot.heads[model]
            if not ledger.open and flow_progress.last_entry_shown_in_mlflow(home, model) != head[0]:
                wanted[f"{model}: is to be shown in MLflow"] = head
            outcomes.update(self._ended(model, head, ledger))
        digest = _outcomes_digest(outcomes)
        if outcomes and digest != flow_progress.last_flow_run_outcomes(home):
            wanted["ended flow runs are told"] = digest
        return wanted

    def _ended(self, model: str, head: object, ledger: Ledger) -> Mapping[str, list[str]]:
        known = self._outcomes.get(model)
        if known is None or known[0] != head:
            known = self._outcomes[model] = head, list_ended_outcomes(ledger)
        return known[1]

    def _to_import(self, policies: Mapping[str, Policy]) -> _DueRuns:
        """Models whose sources of evidence were not read for some minutes; one that fails is asked as seldom."""
        now = time.time()
        return {
            f"{model}: evidence is to be imported": now // wiring.IMPORT_INTERVAL_S
            for model, policy in policies.items()
            if policy.evidence is not None and wiring.is_import_due(self.snapshot.config, model, now)
        }

    def _to_compact(self) -> _DueRuns:
        wanted: _DueRuns = {}
        for model in wiring.list_logged_models(self.snapshot.config):
            if closed := wiring.closed_segments(self.snapshot.config, model):
                wanted[f"{model}: segments to compact"] = closed
        return wanted


def _outcomes_digest(outcomes: Mapping[str, list[str]]) -> str:
    """Digest of how the latest promotions have ended."""
    return canonical_digest(dict(outcomes))


def _stepping(ledger: Ledger) -> str:
    """Whether an open rollback goes step by step, so that time alone brings work."""
    rollout = ledger.rollout
    return _NEXT_STEP if rollout is not None and rollout.opened.stepped is not None and not rollout.ending else ""


def _tables(ports: CachedPorts, proofs: dict[str, float]) -> _DueRuns:
    """Tables that a rollback has left to be restored, and checkpoints that are to be proved.

    Args:
        ports: What is read.
        proofs: When each proof was asked for last [monotonic seconds]; it is updated.
    """
    wanted: _DueRuns = {}
    now = ports.clock.now()
    for model, ledger in ports.ledgers.items():
        for due in list_pending_restores(ledger):
            wanted[f"{model}: table {due.name} is to be restored"] = due.rollout
        for kept in checkpoints_to_check(ledger, now):
            proof = f"{model}: the checkpoint of table {kept.event.name} is to be proved"
            if time.monotonic() - proofs.get(proof, -math.inf) >= _PROOF_PAUSE_S:
                proofs[proof] = time.monotonic()
                wanted[proof] = kept.tried_at
    return wanted


def _drills(ports: CachedPorts, policies: Mapping[str, Policy]) -> _DueRuns:
    """Rollbacks and fallbacks that were not tried for too long, and live drills whose command is gone."""
    now = ports.clock.now()
    wanted: _DueRuns = {
        f"{model}: a live drill is to be taken back": ledger.head
        for model, ledger in ports.ledgers.items()
        if is_live_drill_overdue(ledger, now)
    }
    for model, policy in policies.items():
        ledger = ports.ledger(model)
        if is_rollback_drill_due(ledger, policy, now):
            # The run that rehearses it journals the result at its end: it is asked for once, and again after hours.
            asked = OneTimeWork((ledger.drills.last_at, now // DRILL_RETRY_S))
            wanted[f"{model}: the rollback is to be rehearsed"] = asked
        if (
            policy.fallback is not None
            and not policy.fallback.refuse
            and is_fallback_check_due(ledger, now, policy.fallback_reference)
        ):
            wanted[f"{model}: the fallback is to be tried"] = ledger.drilled
    return wanted


def _adopt(ports: Ports, model: str) -> None:
    """Adopt a champion; what stops it is said by the flow."""
    try:
        adopt_champion(ports, model)
    except SurefootError:
        return


def _promote_adopted(wish: CandidateRequest, *, waits: bool) -> PromotionRequest:
    """Say that the version on which alias champion was set is to be promoted."""
    raise WantedChange(f"version {wish.number} is to be adopted{_WAITS if waits else ''}")


def _open(ports: Ports, model: str, view: RegistryView, facts: object) -> None:
    """Open what the registry asks for, as far as that can be said without the version itself."""
    ledger = ports.ledger(model)

    def request(wish: CandidateRequest) -> PromotionRequest:
        raise WantedChange(f"version {wish.number} is asked for{_WAITS if ledger.open else ''}")

    open_requested_rollout(ports, model, view, request, facts)
