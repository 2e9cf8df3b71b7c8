"""Route each request to its assigned version, or to another if that one fails."""

import asyncio
from collections import defaultdict
from collections.abc import Coroutine, Iterable
from dataclasses import replace
from typing import cast

from surefoot.core.domain import Arm, Split, Version
from surefoot.gateway.inference.attempts.attempt import Answered, Failed, ProcessDown
from surefoot.gateway.inference.attempts.attempt_log_records import build_fallback_records
from surefoot.gateway.inference.attempts.caller_answer import CallerAnswer, NotServing, NoVersionAnswered, Overloaded
from surefoot.gateway.inference.failover.failover import Failover
from surefoot.gateway.inference.failover.timed_attempts import (
    MIN_HANG_S,
    TimedAttempts,
    VersionCounts,
    hang_time_limit,
)
from surefoot.gateway.inference.routes.live_route import ServableRoute, WorkerRoute
from surefoot.gateway.inference.routes.route_snapshot import RouteReader
from surefoot.gateway.inference.routes.route_with_pools import (
    RouteWithoutChampion,
    RouteWithPools,
    make_redactor,
    read_request_policy,
)
from surefoot.gateway.inference.routes.version_key import VersionKey, serving_versions, version_key
from surefoot.gateway.inference.settings import GatewaySettings
from surefoot.gateway.inference.shadow_queue import ShadowQueue
from surefoot.gateway.inference.tripwire import TripRecord, Tripwire
from surefoot.gateway.inference.version_pool import VersionPool
from surefoot.gateway.log.prediction_log_writer import PredictionLogWriter
from surefoot.gateway.log.scoring_request import ScoringRequest
from surefoot.models.in_process import InProcessModel
from surefoot.models.model_protocols import Model, Predictor
from surefoot.models.rows.live_recheck import probe_model
from surefoot.telemetry.span_queue import SpanCounts


class VersionRouter:
    """The data path of one model; all its methods belong to the event loop.

    Attributes:
        log: Where answers are recorded.
        failover: Answers requests that the champion fails.
        spans: What became of the traces of requests.
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
        self._counts: defaultdict[str, VersionCounts] = defaultdict(VersionCounts)
        self._attempts = TimedAttempts(settings, self._counts)
        self.failover = Failover(model, settings, log, self._attempts)
        self.spans = SpanCounts()
        self.tripped: TripRecord | None = None
        self._model = model
        self._settings = settings
        self._route = WorkerRoute(model, routes)
        self._tripwire = Tripwire(settings.trip)
        self._effective: ServableRoute | None = None
        self._active: RouteWithPools | None = None
        self._pools: dict[VersionKey, VersionPool] = {}
        self._retired: list[VersionPool] = []
        self._shadow: ShadowQueue | None = None

    def current_route(self) -> RouteWithPools | None:
        """Read the route in force from shared memory; None when no champion is loaded."""
        effective = self._route.read()
        if effective is not self._effective:
            self._bind(effective)
        return self._active

    def route_without_champion(self) -> RouteWithoutChampion:
        """Give the route in force though its champion is not loaded here, for standby and fallback.

        Raises:
            NotServing: There is no route, or failed requests are refused.
        """
        route = self._route.configured()
        self._find_standby()
        if route is None or (self.failover.standby is None and not self.failover.fallback.refresh()):
            raise NotServing("no champion is loaded")
        rules = route.rules or read_request_policy(self._settings, self._model)
        split = replace(route.split, weight=0.0, mirror=0.0)
        return RouteWithoutChampion(split, rules, make_redactor(rules, self._settings, self._model))

    @property
    def split(self) -> Split | None:
        """The split that is being served, or None."""
        active = self.current_route()
        return None if active is None else active.split

    def _bind(self, effective: ServableRoute | None) -> None:
        """Give the route in force the pools that answer under it."""
        before, self._effective = self._active, effective
        self._find_standby()
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
        rules = route.rules or read_request_policy(self._settings, self._model)
        self._active = RouteWithPools(
            split, champion, candidate, rules, make_redactor(rules, self._settings, self._model)
        )
        self.failover.fallback.refresh()  # while the policy can be read

    def _find_standby(self) -> None:
        """Find the pool of the last proven-good version that the route names; None where it is not loaded."""
        route = self._route.configured()
        named = None if route is None else route.standby
        self.failover.standby = None if named is None else self._pools.get(version_key(named))

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

    def set_fallback(self, fallback: Version | None, loaded: Predictor | None) -> None:
        """Have a loaded version answer what no other version can from now on, or none."""
        before, self.failover.fallback.pool = self.failover.fallback.pool, None
        if fallback is not None and loaded is not None:
            self.failover.fallback.pool = VersionPool(
                fallback, loaded, self.log, None, self._settings.max_batch, records=build_fallback_records
            )
        if before is not None:
            self._retire(before)

    @property
    def _all_pools(self) -> tuple[VersionPool, ...]:
        """Pools of loaded versions that answer callers, the fallback's too."""
        fallback = self.failover.fallback.pool
        return (*self._pools.values(), *(() if fallback is None else (fallback,)))

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

    def shadow_for_request(self, job: ScoringRequest) -> ShadowQueue | None:
        """Give the shadow that a request is to be submitted to once its caller has been answered.

        None when the request is not mirrored, or the shadow has no room for it; a dropped request is counted.
        """
        shadow = self._shadow
        return shadow if shadow is not None and shadow.accepts(job) else None

    def set_shadow_allowance(self, *, host_idle: bool) -> None:
        """Let the shadow be asked only while the host has idle processor time."""
        if self._shadow is not None:
            self._shadow.set_allowance(host_idle=host_idle)

    def answer(self, route: RouteWithPools, job: ScoringRequest) -> Coroutine[object, object, CallerAnswer]:
        """Answer one request by the version that it is assigned to, or else by the champion.

        Args:
            route: The route in force.
            job: The request, assigned under this route.

        Returns:
            What is to be awaited for the answer. It raises NotServing without a loaded champion, Overloaded when more
            requests wait than may, and NoVersionAnswered when no version could answer.
        """
        self._counts[job.version.number].requests += 1
        if job.arm is Arm.CANDIDATE and route.candidate is not None:
            self._counts[job.version.number].candidate_requests += 1
            return self._ask_both(route, route.candidate, job)
        return self._ask_champion(route, job)

    def answer_unserved(self, job: ScoringRequest) -> Coroutine[object, object, CallerAnswer]:
        """Answer one request by standby or fallback, because no champion is loaded."""
        self._counts[job.version.number].requests += 1
        return self._ask_champion(None, job)

    async def _ask_both(self, route: RouteWithPools, candidate: VersionPool, job: ScoringRequest) -> CallerAnswer:
        """Ask the candidate, and the champion when the candidate cannot answer."""
        outcome, blamed = await self._attempts.ask(candidate, job), False
        if isinstance(outcome, Answered):
            self._tripwire.record_answer()
            return CallerAnswer(outcome.predictions, job.version.number, job)
        if isinstance(outcome, Failed | ProcessDown):
            blamed = isinstance(outcome, Failed) and outcome.asked
            job.error = outcome.error
            job.record_latency()
        answer = await self._ask_champion(self.current_route(), job)
        if (
            job.error is not None and answer.failover_level is None
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

    async def _ask_champion(self, route: RouteWithPools | None, job: ScoringRequest) -> CallerAnswer:
        while route is not None:
            pool = route.champion
            version = pool.version
            if pool.restarting and pool.is_down:  # nothing is waited for that can be answered at once
                state = "cannot be started" if pool.failed_starts else "has ended and is being started again"
                down = f"version {version.number} {state}"
                answer = await self.failover.answer_with_standby(job, version, f"Down: {down}", last=False)
                if answer is not None:
                    return answer
                if pool.failed_starts and self.failover.fallback.refresh():
                    return await self.failover.answer_with_fallback(job, version, f"Down: {down}", NotServing(down))
            if pool.queued >= self._settings.max_queue:
                full = f"{pool.queued} requests wait for version {version.number}"
                return await self.failover.answer_with_fallback(job, version, f"Overloaded: {full}", Overloaded(full))
            # Where a standby can answer, no request waits for another process of the champion.
            outcome = await pool.submit(job, last=self.failover.standby is None).settled
            if isinstance(outcome, Answered):
                if self.failover.periods:
                    self.failover.record_champion_answer(version)
                return CallerAnswer(outcome.predictions, version.number, job)
            if isinstance(outcome, ProcessDown | Failed):
                error = f"Down: {outcome.error}" if isinstance(outcome, ProcessDown) else outcome.error
                if (answer := await self.failover.answer_with_standby(job, version, error)) is not None:
                    return answer
            if isinstance(outcome, ProcessDown):
                return await self.failover.answer_with_fallback(
                    job, version, f"Down: {outcome.error}", NotServing(outcome.error)
                )
            if isinstance(outcome, Failed):
                self._counts[version.number].caller_errors += 1
                if outcome.asked:
                    job.error = job.error or outcome.error
                refusal = NoVersionAnswered(outcome.error)
                return await self.failover.answer_with_fallback(job, version, outcome.error, refusal)
            route = self.current_route()  # it was revoked
        nothing = "no champion is loaded"
        if (answer := await self.failover.answer_with_standby(job, job.split.champion, f"Down: {nothing}")) is not None:
            return answer
        refused = NotServing(nothing)
        return await self.failover.answer_with_fallback(job, job.split.champion, f"Down: {nothing}", refused)

    def stats(self) -> dict[str, object]:
        """Give the counts since start, by version."""
        pools = {pool.version.number: pool for pool in self._pools.values()}
        versions = {}
        for number in sorted({*pools, *self._counts}):
            counts, pool = self._counts[number], pools.get(number)
            versions[number] = {
                "requests": counts.requests,
                "candidate_requests": counts.candidate_requests,
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
            "spans_queued": self.spans.queued,
            "spans_dropped": self.spans.dropped + self.spans.refused,
            "proven_good_answers": self.failover.proven_good.answered,
            "fallback_answers": self.failover.fallback.answered,
            "weight": 0.0 if split is None else split.weight,
            "generation": 0 if split is None else split.generation,
            "versions": versions,
            "shadow": None if self._shadow is None else self._shadow.stats(),
        }

    def _retire(self, pool: VersionPool) -> None:
        """Let a pool finish its queue; one that hangs is killed soon after."""
        pool.stop()
        self._retired = [one for one in self._retired if not one.ended] + [pool]
        asyncio.get_running_loop().call_later(MIN_HANG_S, pool.kill)

    def kill_hung(self) -> None:
        """Kill processes that hang, though no further request would notice it."""
        active = self._active
        for pool in self._all_pools:
            last = pool in {self.failover.standby, self.failover.fallback.pool}  # perhaps nothing else can answer
            patient = last or (active is not None and pool is active.champion)
            pool.kill_hung(self._settings.champion_timeout_s if patient else hang_time_limit(self._settings))
        if self._shadow is not None:
            self._shadow.kill_hung(self._settings.shadow_timeout_s)

    def close(self) -> None:
        """Let every pool finish its queue, and stop."""
        self.set_shadow(None)
        for pool in self._all_pools:
            pool.stop()

    def kill(self) -> None:
        """Kill every process that has not finished."""
        for pool in (*self._all_pools, *self._retired):
            pool.kill()

    @property
    def is_busy(self) -> bool:
        """Whether some pool has not ended."""
        return not all(pool.ended for pool in (*self._all_pools, *self._retired))


def as_predictor(loaded: Model | Predictor) -> Predictor:
    """Give a loaded model as a predictor that replicas can ask."""
    return cast("Predictor", loaded) if hasattr(loaded, "ask") else InProcessModel(loaded, probe_model(loaded))
