"""The loaded versions of one model: who is asked, and who answers when that one cannot."""

import asyncio
import logging
from collections import defaultdict
from collections.abc import Callable, Coroutine, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import cast

from surefoot.core.domain import Arm, Split, Version
from surefoot.gateway.inference.batching import VersionPool
from surefoot.gateway.inference.request import Answered, Attempt, Failed, Outcome, ProcessDown
from surefoot.gateway.inference.settings import GatewaySettings
from surefoot.gateway.inference.shadow import ShadowQueue
from surefoot.gateway.inference.tripwire import Tripwire
from surefoot.gateway.log.record import PredictionLogWriter, record_lines
from surefoot.gateway.log.request import InferenceRequest
from surefoot.models.contract import Model, Predictor
from surefoot.models.in_process import InProcessModel
from surefoot.models.row_watch import probe_proof

_log = logging.getLogger(__name__)
HANGS = 10.0  # a candidate that is at one batch for so many times its patience is ended
LEAST_HANG_S = 5.0  # however short the patience


class NotServing(Exception):
    """The model has no loaded champion."""


class Overloaded(Exception):
    """More requests wait than may."""


class CallerError(Exception):
    """No version could answer this request."""


@dataclass(frozen=True, slots=True)
class ActiveRoute:
    """The route in force; replaced as a whole, by one assignment."""

    split: Split
    champion: VersionPool
    candidate: VersionPool | None


@dataclass(slots=True)
class CallerAnswer:
    """What the caller gets: JSON list of predictions, who gave it, and the request."""

    predictions: bytes
    answered_by: str
    job: InferenceRequest


@dataclass(slots=True)
class VersionCounts:
    """What one version went through since the gateway started."""

    requests: int = 0
    candidate_errors: int = 0
    late: int = 0
    caller_errors: int = 0


class VersionRouter:
    """The data path of one model; all its methods belong to the event loop.

    Attributes:
        log: Where answers are recorded.
        trip: Told, once a route, why the candidate is to be cut.
    """

    def __init__(
        self, settings: GatewaySettings, log: PredictionLogWriter, look: Callable[[], None] = lambda: None
    ) -> None:
        """Begin with nothing loaded.

        Args:
            settings: How the gateway behaves.
            log: Where answers are recorded.
            look: Takes over a route that has changed for all workers; called before anything that depends on it.
        """
        self.log = log
        self._settings = settings
        self._look = look
        self._wire = Tripwire(settings.trip)
        self.trip: Callable[[str], None] = lambda _reason: None
        self._live: ActiveRoute | None = None
        self._workers: dict[tuple[str, str], VersionPool] = {}
        self._retired: list[VersionPool] = []
        self._shadow: ShadowQueue | None = None
        self._counts: defaultdict[str, VersionCounts] = defaultdict(VersionCounts)

    @property
    def split(self) -> Split | None:
        """The split that is being served, or None."""
        return None if self._live is None else self._live.split

    def has(self, version: Version) -> bool:
        """Whether a version is loaded."""
        return version_key(version) in self._workers

    def hopeless(self, version: Version) -> bool:
        """Whether a version's process cannot be started again: what it was loaded from may be gone or spoiled."""
        worker = self._workers.get(version_key(version))
        return worker is not None and worker.hopeless

    def one_at_a_time(self) -> dict[str, str]:
        """Why versions that are loaded are asked one request at a time, by number."""
        return {one.version.number: one.sharing.why for one in self._workers.values() if not one.sharing.allowed}

    def ruled(self) -> dict[str, str]:
        """The same by digest, of those where it was found since they were loaded: what other workers may not know."""
        return {one.version.digest: one.sharing.ruled for one in self._workers.values() if one.sharing.ruled}

    def rule(self, known: Mapping[str, str]) -> None:
        """Ask versions one request at a time of which another worker has found that they need it, by digest."""
        for worker in self._workers.values():
            if (why := known.get(worker.version.digest)) is not None:
                worker.sharing.rule(why)

    def missing(self, split: Split) -> list[Version]:
        """Versions that a split needs and that are not loaded, the champion first."""
        return [version for version in serving_versions(split) if not self.has(version)]

    def hold(self, version: Version, loaded: Model | Predictor) -> None:
        """Keep a loaded version ready; nobody is asked who is not in the split."""
        before = self._workers.get(version_key(version))
        worker = VersionPool(version, as_predictor(loaded), self.log, self.routed, self._settings.max_batch)
        self._workers[version_key(version)] = worker
        if before is not None:
            self._retire(before)

    def switch(self, split: Split, loaded: Mapping[Version, Model | Predictor] | None = None) -> None:
        """Serve another split from this instant: without its candidate when that is not loaded, else not at all."""
        for version, predictor in (loaded or {}).items():
            self.hold(version, predictor)
        if not self.has(split.champion):
            self._live = None
            return
        effective = replace(split, weight=0.0) if self.missing(split) else split
        candidate = self._workers[version_key(serving_versions(effective)[-1])] if effective.weight else None
        if candidate is not None and (self._live is None or self._live.candidate is not candidate):
            self._wire = Tripwire(self._settings.trip, candidate.deaths)
        champion = self._workers[version_key(split.champion)]
        for worker in (champion, candidate):
            if worker is not None:
                worker.grow(self._settings.processes)
        self._live = ActiveRoute(effective, champion, candidate)

    @property
    def shadow(self) -> ShadowQueue | None:
        """The version that is mirrored to, if it is loaded."""
        return self._shadow

    def set_shadow(self, shadow: ShadowQueue | None) -> None:
        """Mirror to another version from now on, or to none."""
        old, self._shadow = self._shadow, shadow
        if old is not None:
            old.leave()
            self._retire(old.worker)

    def mirror(self, job: InferenceRequest) -> Callable[[], None] | None:
        """What the shadow wants done once the caller has been answered; None for nothing."""
        return None if self._shadow is None else self._shadow.wants(job)

    def make_room(self, *, idle_monitor: bool) -> None:
        """Let the shadow be asked only while there is time for that."""
        if self._shadow is not None:
            self._shadow.make_room(idle_monitor=idle_monitor)

    def keep(self, versions: Iterable[Version]) -> None:
        """Let go of every version that is not among these."""
        kept = set(map(version_key, versions))
        for key in [key for key in self._workers if key not in kept]:
            self._retire(self._workers.pop(key))

    def routed(self, version: Version) -> bool:
        """Whether a version is in force right now."""
        self._look()
        live = self._live
        if live is None:
            return False
        if version is live.champion.version:  # asked twice a batch, mostly of this one
            return True
        return version_key(version) == version_key(live.split.champion) or (
            live.candidate is not None and version_key(version) == version_key(live.candidate.version)
        )

    def answer(self, job_of: Callable[[Split], InferenceRequest]) -> Coroutine[object, object, CallerAnswer]:
        """Answer one request by the arm that the split assigns, or else by the champion.

        Args:
            job_of: Makes the request's job for the split in force.

        Returns:
            What is to be awaited for the answer.

        Raises:
            NotServing: No champion is loaded.
            Overloaded: More requests wait than may.
            CallerError: No version could answer.
        """
        self._look()
        live = self._live
        if live is None:
            raise NotServing("no champion is loaded")
        job = job_of(live.split)
        self._counts[job.version.number].requests += 1
        if job.arm is Arm.CANDIDATE and live.candidate is not None:
            return self._ask_both(live, live.candidate, job)
        return self._ask_champion(job)

    async def _ask_both(self, live: ActiveRoute, candidate: VersionPool, job: InferenceRequest) -> CallerAnswer:
        """Ask the candidate, and the champion when that one cannot answer."""
        outcome, blamed = await self._ask_candidate(candidate, job), False
        if isinstance(outcome, Answered):
            self._wire.answered()
            return CallerAnswer(outcome.predictions, job.version.number, job)
        if isinstance(outcome, Failed | ProcessDown):
            blamed = isinstance(outcome, Failed) and outcome.asked
            job.error = outcome.error
            job.stop_watch()
        answer = await self._ask_champion(job)
        if job.error is not None:
            self._counts[job.version.number].candidate_errors += 1
            reason = self._wire.failed(job.error) if blamed else ""
            reason = reason or self._wire.ended(candidate.deaths)
            if reason and self._live is live:
                self._cut(f"version {job.version.number} {reason}")
        return answer

    def _cut(self, reason: str) -> None:
        """Have the candidate cut; the caller has an answer whether that works or not."""
        try:
            self.trip(reason)
        except OSError:  # no free descriptor for the lock: the fuse is as good as new, and will blow again
            _log.exception("the candidate could not be cut: %s", reason)
            self._wire = Tripwire(self._settings.trip)

    async def _ask_candidate(self, worker: VersionPool, job: InferenceRequest) -> Outcome:
        patience = self._settings.candidate_timeout_s
        if worker.down:
            return Failed("Down: its process has ended and is being started again", asked=False)
        worker.unhang(max(patience * HANGS, LEAST_HANG_S))
        if worker.busy_for() > patience:  # it hangs: nobody else waits for it
            self._counts[job.version.number].late += 1
            return Failed(f"Late: still busy after {patience * 1000:.0f} ms with earlier requests")
        if worker.queued >= self._settings.max_queue:
            return Failed(f"Overloaded: {worker.queued} requests wait for this version", asked=False)
        attempt = worker.submit(job, last=False)
        loop = asyncio.get_running_loop()
        timer = loop.call_later(patience, self._give_up, attempt)
        try:
            return await attempt.settled
        finally:
            timer.cancel()

    def _give_up(self, attempt: Attempt) -> None:
        if attempt.claim() and not attempt.settled.done():
            self._counts[attempt.job.version.number].late += 1
            limit = self._settings.candidate_timeout_s * 1000
            attempt.settled.set_result(Failed(f"Late: no answer within {limit:.0f} ms"))

    async def _ask_champion(self, job: InferenceRequest) -> CallerAnswer:
        while (live := self._live) is not None:
            worker = live.champion
            if worker.queued >= self._settings.max_queue:
                if job.error is not None:  # the candidate's failure is remembered even so
                    self.log.write(record_lines(job, None, None))
                raise Overloaded(f"{worker.queued} requests wait for version {worker.version.number}")
            outcome = await worker.submit(job, last=True).settled
            if isinstance(outcome, Answered):
                return CallerAnswer(outcome.predictions, worker.version.number, job)
            if isinstance(outcome, ProcessDown):
                raise NotServing(outcome.error)
            if isinstance(outcome, Failed):
                self._counts[worker.version.number].caller_errors += 1
                raise CallerError(outcome.error)
        raise NotServing("no champion is loaded")

    def stats(self) -> dict[str, object]:
        """VersionCounts since start, by version."""
        queues = {worker.version.number: worker.queued for worker in self._workers.values()}
        deaths = {worker.version.number: worker.deaths for worker in self._workers.values()}
        spent = {worker.version.number: worker.spent() for worker in self._workers.values()}
        shared = {worker.version.number: worker.sharing.told() for worker in self._workers.values()}
        versions = {}
        for number in sorted({*queues, *self._counts}):
            counts = self._counts[number]
            versions[number] = {
                "requests": counts.requests,
                "candidate_errors": counts.candidate_errors,
                "late": counts.late,
                "caller_errors": counts.caller_errors,
                "queue": queues.get(number, 0),
                "deaths": deaths.get(number, 0),
                **spent.get(number, {}),
                **shared.get(number, {}),
            }
        split = self.split
        return {
            "log_dropped": self.log.dropped,
            "weight": 0.0 if split is None else split.weight,
            "generation": 0 if split is None else split.generation,
            "versions": versions,
            "shadow": None if self._shadow is None else self._shadow.told(),
        }

    def _retire(self, worker: VersionPool) -> None:
        """Let a worker finish what it has; one that hangs does not outlive it by long."""
        worker.stop()
        self._retired = [one for one in self._retired if not one.ended] + [worker]
        asyncio.get_running_loop().call_later(LEAST_HANG_S, worker.kill)

    def watch(self) -> None:
        """End processes that hang, though nobody else asks them."""
        live = self._live
        for worker in self._workers.values():
            champion = live is not None and worker is live.champion
            patience = max(self._settings.candidate_timeout_s * HANGS, LEAST_HANG_S)
            worker.unhang(self._settings.champion_timeout_s if champion else patience)
        if self._shadow is not None:
            self._shadow.watch(self._settings.shadow_timeout_s)

    def close(self) -> None:
        """Let every worker finish what it has, and stop."""
        self.set_shadow(None)
        for worker in self._workers.values():
            worker.stop()

    def kill(self) -> None:
        """End whatever has not finished."""
        for worker in (*self._workers.values(), *self._retired):
            worker.kill()

    @property
    def busy(self) -> bool:
        """Whether some worker has not ended."""
        return not all(worker.ended for worker in (*self._workers.values(), *self._retired))


def as_predictor(loaded: Model | Predictor) -> Predictor:
    """What was loaded, as something that lanes can ask."""
    return cast("Predictor", loaded) if hasattr(loaded, "ask") else InProcessModel(loaded, probe_proof(loaded))


def version_key(version: Version) -> tuple[str, str]:
    """What makes two versions the same one to a gateway: number and bytes."""
    return version.number, version.digest


def serving_versions(split: Split) -> tuple[Version, ...]:
    """Versions that answer somebody under a split; at weight 0 the candidate does not, so a rollback needs no load."""
    if split.candidate is None or split.weight == 0:
        return (split.champion,)
    return split.champion, split.candidate
