"""Route each request of one model to a loaded version, and to the champion if that version cannot answer."""

import asyncio
from collections import defaultdict
from collections.abc import Coroutine, Iterable
from dataclasses import dataclass, replace
from typing import cast

from surefoot.core.domain import Arm, Split, Version
from surefoot.gateway.inference.fallback_answers import FallbackAnswers
from surefoot.gateway.inference.request_attempts import (
    Answered,
    Attempt,
    AttemptOutcome,
    CallerAnswer,
    CallerError,
    Failed,
    NotServing,
    Overloaded,
    ProcessDown,
)
from surefoot.gateway.inference.routes.active_route import ActiveRoute, UnservedRoute, make_redactor, policy_rules
from surefoot.gateway.inference.routes.route_snapshot import (
    EffectiveRoute,
    LiveRoute,
    RouteReader,
    VersionKey,
    serving_versions,
    version_key,
)
from surefoot.gateway.inference.settings import GatewaySettings
from surefoot.gateway.inference.shadow_queue import ShadowQueue
from surefoot.gateway.inference.tripwire import TripRecord, Tripwire
from surefoot.gateway.inference.version_pool import VersionPool
from surefoot.gateway.log.record import PredictionLogWriter, record_lines
from surefoot.gateway.log.scoring_request import ScoringRequest
from surefoot.models.in_process import InProcessModel
from surefoot.models.predictor import Model, Predictor
from surefoot.models.rows.live_check import probe_model

_HANG_FACTOR = 10.0
"""A candidate's process is killed when one batch takes so many times the candidate's timeout."""
_LEAST_HANG_S = 5.0
"""A process is not killed before it has been at one batch for so long [s]."""


@dataclass(slots=True)
class VersionCounts:
    """Requests of one version since the gateway started [count]."""

    requests: int = 0
    candidate_errors: int = 0
    late: int = 0
    caller_errors: int = 0


class VersionRouter:
    """The data path of one model; all its methods belong to the event loop.

    Attributes:
        log: Where answers are recorded.
        fallback: Answers requests that the champion cannot answer.
        tripped: Why and under which split the candidate is to be cut; the control room collects it.
    """

    def __init__(self, model: str, settings: GatewaySettings, log: PredictionLogWriter, routes: RouteReader) -> None:
        """Start with nothing loaded.

        Args:
            model: The registered model.
            settings: Settings of the gateway.
            log: Where answers are recorded.
            routes: Reads the routes in force.
        """
        self.log = log
        self.fallback = FallbackAnswers(model, settings, log)
        self.tripped: TripRecord | None = None
        self._model = model
        self._settings = settings
        self._route = LiveRoute(model, routes)
        self._tripwire = Tripwire(settings.trip)
        self._effective: EffectiveRoute | None = None
        self._active: ActiveRoute | None = None
        self._pools: dict[VersionKey, VersionPool] = {}
        self._retired: list[VersionPool] = []
        self._shadow: ShadowQueue | None = None
        self._counts: defaultdict[str, VersionCounts] = defaultdict(VersionCounts)

    def current_route(self) -> ActiveRoute | None:
        """Read the route in force from shared memory; None when no champion is loaded."""
        effective = self._route.read()
        if effective is not self._effective:
            self._bind(effective)
        return self._active

    def unserved_route(self) -> UnservedRoute:
        """Give the route in force though its champion is not loaded here, for a fallback.

        Raises:
            NotServing: There is no route, or failed requests are refused.
        """
        route = self._route.configured()
        if route is None or not self.fallback.refresh():
            raise NotServing("no champion is loaded")
        rules = route.rules or policy_rules(self._settings, self._model)
        split = replace(route.split, weight=0.0, mirror=0.0)
        return UnservedRoute(split, rules, make_redactor(rules, self._settings))

    @property
    def split(self) -> Split | None:
        """The split that is being served, or None."""
        active = self.current_route()
        return None if active is None else active.split

    def _bind(self, effective: EffectiveRoute | None) -> None:
        """Give the route in force the pools that answer under it."""
        before, self._effective = self._active, effective
        if effective is None:
            self._active = None
            return
        split, route = effective.split, effective.route
        for pool in self._pools.values():
            if (why := route.unbatchable.get(pool.version.digest)) is not None:
                pool.permission.forbid(why)
        candidate = self._pools[version_key(serving_versions(split)[-1])] if split.weight else None
        if candidate is not None and (before is None or before.candidate is not candidate):
            self._tripwire = Tripwire(self._settings.trip, candidate.deaths)
        champion = self._pools[version_key(split.champion)]
        for serving in (champion, candidate):
            if serving is not None:
                serving.ensure_replicas(self._settings.processes)
        rules = route.rules or policy_rules(self._settings, self._model)
        self._active = ActiveRoute(split, champion, candidate, rules, make_redactor(rules, self._settings))
        self.fallback.refresh()  # while the policy can be read

    def set_champion_only(self, *, champion_only: bool) -> None:
        """Have the champion answer everything from now on, or follow the route again."""
        self._route.set_champion_only(champion_only=champion_only)

    def is_loaded(self, version: Version) -> bool:
        """Whether a version is loaded."""
        return version_key(version) in self._pools

    def cannot_restart(self, version: Version) -> bool:
        """Whether a version's process cannot be started again: what it was loaded from may be gone or spoiled."""
        pool = self._pools.get(version_key(version))
        return pool is not None and pool.cannot_restart

    def unbatchable_reasons(self) -> dict[str, str]:
        """Say why loaded versions are asked one request at a time, by number."""
        return {
            pool.version.number: pool.permission.why for pool in self._pools.values() if not pool.permission.allowed
        }

    def unbatchable_probe_results(self) -> dict[str, str]:
        """Say the same by digest, of versions where callers' rows have shown it: other workers may not know."""
        return {
            pool.version.digest: pool.permission.finding for pool in self._pools.values() if pool.permission.finding
        }

    def missing_versions(self, split: Split) -> list[Version]:
        """List the versions that a split needs and that are not loaded, the champion first."""
        return [version for version in serving_versions(split) if not self.is_loaded(version)]

    def add_version(self, version: Version, loaded: Model | Predictor) -> None:
        """Add a loaded version; it answers as soon as the route names it."""
        key = version_key(version)
        before = self._pools.get(key)
        self._pools[key] = VersionPool(version, as_predictor(loaded), self.log, self._route, self._settings.max_batch)
        self._route.set_loaded(self._pools)
        self._bind(self._route.read())
        if before is not None:
            self._retire(before)

    def retain_versions(self, versions: Iterable[Version]) -> None:
        """Unload every version that is not among these."""
        retained = set(map(version_key, versions))
        unloaded = [self._pools.pop(key) for key in self._pools.keys() - retained]
        if unloaded:
            self._route.set_loaded(self._pools)
            self._bind(self._route.read())
        for pool in unloaded:
            self._retire(pool)

    @property
    def shadow(self) -> ShadowQueue | None:
        """The version that requests are mirrored to, if it is loaded."""
        return self._shadow

    def set_shadow(self, shadow: ShadowQueue | None) -> None:
        """Mirror to another version from now on, or to none."""
        old, self._shadow = self._shadow, shadow
        if old is not None:
            old.close()
            self._retire(old.pool)

    def shadow_for(self, job: ScoringRequest) -> ShadowQueue | None:
        """Give the shadow that a request is to be submitted to once its caller has been answered.

        None when the request is not mirrored, or the shadow has no room for it; a dropped request is counted.
        """
        shadow = self._shadow
        return shadow if shadow is not None and shadow.accepts(job) else None

    def set_shadow_allowance(self, *, host_idle: bool) -> None:
        """Let the shadow be asked only while the host has idle processor time."""
        if self._shadow is not None:
            self._shadow.set_allowance(host_idle=host_idle)

    def answer(self, route: ActiveRoute, job: ScoringRequest) -> Coroutine[object, object, CallerAnswer]:
        """Answer one request by the version that it is assigned to, or else by the champion.

        Args:
            route: The route in force.
            job: The request, assigned under this route.

        Returns:
            What is to be awaited for the answer. It raises NotServing without a loaded champion, Overloaded when more
            requests wait than may, and CallerError when no version could answer.
        """
        self._counts[job.version.number].requests += 1
        if job.arm is Arm.CANDIDATE and route.candidate is not None:
            return self._ask_both(route, route.candidate, job)
        return self._ask_champion(route, job)

    def answer_unserved(self, job: ScoringRequest) -> Coroutine[object, object, CallerAnswer]:
        """Answer one request by the fallback, because no champion is loaded."""
        self._counts[job.version.number].requests += 1
        return self._ask_champion(None, job)

    async def _ask_both(self, route: ActiveRoute, candidate: VersionPool, job: ScoringRequest) -> CallerAnswer:
        """Ask the candidate, and the champion when the candidate cannot answer."""
        outcome, blamed = await self._ask_candidate(candidate, job), False
        if isinstance(outcome, Answered):
            self._tripwire.record_answer()
            return CallerAnswer(outcome.predictions, job.version.number, job)
        if isinstance(outcome, Failed | ProcessDown):
            blamed = isinstance(outcome, Failed) and outcome.asked
            job.error = outcome.error
            job.record_latency()
        answer = await self._ask_champion(self.current_route(), job)
        if (
            job.error is not None and not answer.fallback
        ):  # what the champion fails as well is not the candidate's fault
            self._counts[job.version.number].candidate_errors += 1
            reason = self._tripwire.record_failure(job.error) if blamed else ""
            reason = reason or self._tripwire.record_process_ends(candidate.deaths)
            if reason and self._active is not None and self._active.split == route.split:
                self.tripped = TripRecord(route.split, f"version {job.version.number} {reason}")
        return answer

    def rearm_tripwire(self) -> None:
        """Start counting anew, because the candidate could not be cut: the tripwire will trip again."""
        self._tripwire = Tripwire(self._settings.trip)

    async def _ask_candidate(self, pool: VersionPool, job: ScoringRequest) -> AttemptOutcome:
        timeout = self._settings.candidate_timeout_s
        if pool.is_down:
            return Failed("Down: its process has ended and is being started again", asked=False)
        pool.kill_hung(max(timeout * _HANG_FACTOR, _LEAST_HANG_S))
        if pool.busy_seconds() > timeout:  # it hangs: no other request waits for it
            self._counts[job.version.number].late += 1
            return Failed(f"Late: still busy after {timeout * 1000:.0f} ms with earlier requests")
        if pool.queued >= self._settings.max_queue:
            return Failed(f"Overloaded: {pool.queued} requests wait for this version", asked=False)
        attempt = pool.submit(job, last=False)
        loop = asyncio.get_running_loop()
        timer = loop.call_later(timeout, self._time_out, attempt)
        try:
            return await attempt.settled
        finally:
            timer.cancel()

    def _time_out(self, attempt: Attempt) -> None:
        if attempt.claim() and not attempt.settled.done():
            self._counts[attempt.job.version.number].late += 1
            limit = self._settings.candidate_timeout_s * 1000
            attempt.settled.set_result(Failed(f"Late: no answer within {limit:.0f} ms"))

    async def _ask_champion(self, route: ActiveRoute | None, job: ScoringRequest) -> CallerAnswer:
        while route is not None:
            pool = route.champion
            version = pool.version
            if pool.failed_starts and pool.is_down and self.fallback.refresh():  # nothing is waited for
                down = f"version {version.number} cannot be started"
                return self._fall_back(job, version, f"Down: {down}", NotServing(down))
            if pool.queued >= self._settings.max_queue:
                full = f"{pool.queued} requests wait for version {version.number}"
                return self._fall_back(job, version, f"Overloaded: {full}", Overloaded(full))
            outcome = await pool.submit(job, last=True).settled
            if isinstance(outcome, Answered):
                if self.fallback.period is not None:
                    self.fallback.period.recovered = version
                return CallerAnswer(outcome.predictions, version.number, job)
            if isinstance(outcome, ProcessDown):
                return self._fall_back(job, version, f"Down: {outcome.error}", NotServing(outcome.error))
            if isinstance(outcome, Failed):
                self._counts[version.number].caller_errors += 1
                if outcome.asked:
                    job.error = job.error or outcome.error
                return self._fall_back(job, version, outcome.error, CallerError(outcome.error))
            route = self.current_route()  # it was revoked
        nothing = "no champion is loaded"
        return self._fall_back(job, job.split.champion, f"Down: {nothing}", NotServing(nothing))

    def _fall_back(
        self, job: ScoringRequest, champion: Version, error: str, refusal: NotServing | Overloaded | CallerError
    ) -> CallerAnswer:
        """Answer a request that the champion has failed by the fallback, or else record the failure and refuse it.

        Args:
            job: The request.
            champion: The version that has failed it.
            error: How it has failed.
            refusal: What is raised where there is no fallback.
        """
        answer = self.fallback.answer(job, champion, error)
        if answer is not None:
            return CallerAnswer(answer[0], "", job, answer[1])
        # Without a version that was asked there is nothing to say of one.
        if job.error is not None and not isinstance(refusal, NotServing):
            self.log.write(record_lines(job, None, None))
        raise refusal

    def stats(self) -> dict[str, object]:
        """Give the counts since start, by version."""
        pools = {pool.version.number: pool for pool in self._pools.values()}
        versions = {}
        for number in sorted({*pools, *self._counts}):
            counts, pool = self._counts[number], pools.get(number)
            versions[number] = {
                "requests": counts.requests,
                "candidate_errors": counts.candidate_errors,
                "late": counts.late,
                "caller_errors": counts.caller_errors,
                "queue": 0 if pool is None else pool.queued,
                "deaths": 0 if pool is None else pool.deaths,
                **({} if pool is None else pool.resource_stats()),
                **({} if pool is None else pool.permission.stats()),
            }
        split = self.split
        return {
            "log_dropped": self.log.dropped,
            "fallback_answers": self.fallback.answered,
            "weight": 0.0 if split is None else split.weight,
            "generation": 0 if split is None else split.generation,
            "versions": versions,
            "shadow": None if self._shadow is None else self._shadow.stats(),
        }

    def _retire(self, pool: VersionPool) -> None:
        """Let a pool finish its queue; one that hangs is killed soon after."""
        pool.stop()
        self._retired = [one for one in self._retired if not one.ended] + [pool]
        asyncio.get_running_loop().call_later(_LEAST_HANG_S, pool.kill)

    def kill_hung(self) -> None:
        """Kill processes that hang, though no further request would notice it."""
        active = self._active
        for pool in self._pools.values():
            champion = active is not None and pool is active.champion
            patience = max(self._settings.candidate_timeout_s * _HANG_FACTOR, _LEAST_HANG_S)
            pool.kill_hung(self._settings.champion_timeout_s if champion else patience)
        if self._shadow is not None:
            self._shadow.kill_hung(self._settings.shadow_timeout_s)

    def close(self) -> None:
        """Let every pool finish its queue, and stop."""
        self.set_shadow(None)
        for pool in self._pools.values():
            pool.stop()

    def kill(self) -> None:
        """Kill every process that has not finished."""
        for pool in (*self._pools.values(), *self._retired):
            pool.kill()

    @property
    def busy(self) -> bool:
        """Whether some pool has not ended."""
        return not all(pool.ended for pool in (*self._pools.values(), *self._retired))


def as_predictor(loaded: Model | Predictor) -> Predictor:
    """Give a loaded model as a predictor that replicas can ask."""
    return cast("Predictor", loaded) if hasattr(loaded, "ask") else InProcessModel(loaded, probe_model(loaded))
