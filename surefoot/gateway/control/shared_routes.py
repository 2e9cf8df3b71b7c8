"""Share routes, worker states and request counts among a gateway's workers, by a table in shared memory.

Every worker reads the generation at every request (a load from memory), so no worker can miss a change, however busy it
is: a watcher in the background would starve exactly then. Numbers are aligned words; a new document is written next to
the one in use, and the generation says which of the two counts.
"""

import contextlib
import enum
import fcntl
import mmap
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import orjson

from surefoot.gateway.control.wake_sockets import WakeSockets
from surefoot.gateway.inference.routes.memory_layout import (
    GENERATION_INDEX,
    MAX_DOCUMENT_BYTES,
    NUMBERS_AREA_BYTES,
    read_document,
)
from surefoot.gateway.inference.routes.route_snapshot import RouteReader

MAX_WORKERS = 64
"""Most front workers [count]."""
_DOCUMENTS = 4  # two of routes, two of preloads: a writer that is killed spoils the one that is not in use
_PRELOAD, _SUPERVISOR, _CONTROL_CONTACT, _STATS_REQUEST = range(GENERATION_INDEX + 1, GENERATION_INDEX + 5)
_FIRST_SLOT = 8
_WORDS = 6
_PID, _ACKNOWLEDGED, _PRELOADED, _FAILED, _STATS, _STATE = range(_WORDS)

RouteEntries = Mapping[str, Mapping[str, object]]


class WorkerState(enum.IntFlag):
    """What a worker says of itself; a worker of an earlier release says only whether it serves."""

    SERVES = 1
    """It has loaded every champion that is routed."""
    WARM_MISSING = 2
    """It lacks a version that is to be kept warm."""
    STARTING = 4
    """It does not take callers yet."""
    WARM_UNTRIED = 8
    """It has not tried yet to load all versions that are to be kept warm."""


class RouteTableFull(Exception):
    """More workers or longer routes than there is room for."""


class SharedRouteTable:
    """The table of routes in shared memory, as one process sees it.

    Attributes:
        slot: The slot of this worker; -1 for a process that only looks.
        reader: Reads snapshots of the routes.
        wake_sockets: Wake the workers when something has changed here.
    """

    def __init__(self, root: Path) -> None:
        """Open or create the table below a gateway's state directory."""
        root.mkdir(parents=True, exist_ok=True)
        self._root = root
        self._slots = root / "workers"
        self._slots.mkdir(exist_ok=True)
        descriptor = os.open(root / "board", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            size = NUMBERS_AREA_BYTES + _DOCUMENTS * MAX_DOCUMENT_BYTES
            if os.fstat(descriptor).st_size < size:
                os.posix_fallocate(descriptor, 0, size)  # a full disk is found now, not at a rollback
            self._memory = mmap.mmap(descriptor, size)
        finally:
            os.close(descriptor)
        self.wake_sockets = WakeSockets(root / "board")
        self._words = memoryview(self._memory)[:NUMBERS_AREA_BYTES].cast("Q")
        self.reader = RouteReader(self._memory)
        self.slot = -1
        self._slot_lock = -1

    @property
    def generation(self) -> int:
        """Generation of the routes in force; grows with every change of any route."""
        return self._words[GENERATION_INDEX]

    @property
    def preload_generation(self) -> int:
        """Grows with every change of what workers are to load ahead."""
        return self._words[_PRELOAD]

    @property
    def supervisor(self) -> int:
        """Process id of the newest supervisor; workers of another one are to leave when its own are ready."""
        return self._words[_SUPERVISOR]

    @supervisor.setter
    def supervisor(self, pid: int) -> None:
        self._words[_SUPERVISOR] = pid
        self._wake_workers()

    @property
    def control_contact_at(self) -> float:
        """When the control plane last sent a request, on the host's monotonic clock [s]."""
        return self._words[_CONTROL_CONTACT] / 1000.0

    @control_contact_at.setter
    def control_contact_at(self, at: float) -> None:
        self._words[_CONTROL_CONTACT] = int(at * 1000.0)

    @contextlib.contextmanager
    def lock(self) -> Iterator[None]:
        """Hold the lock of the documents; blocks for as long as another writer holds it (microseconds)."""
        descriptor = os.open(self._root / "board.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)

    def has_workers(self) -> bool:
        """Whether some worker lives."""
        return any(True for _ in self.live_workers())

    def reset(self, document: RouteEntries) -> None:
        """Put restored routes in force and clear all preloads; call it inside `lock`, while no worker lives."""
        self.publish(document)
        self._publish_preloads({})

    def take_slot(self) -> None:
        """Take a free slot for this worker; call it inside `lock`.

        Raises:
            RouteTableFull: No slot is free.
        """
        for slot in range(MAX_WORKERS):
            lock = self._lock_slot(slot)
            if lock >= 0:
                self._slot_lock, self.slot = lock, slot
                at = self._offset(slot)
                for word in (_ACKNOWLEDGED, _PRELOADED, _FAILED, _STATS, _STATE):
                    self._words[at + word] = 0
                self._words[at + _PID] = os.getpid()
                return
        raise RouteTableFull(f"there are {MAX_WORKERS} workers already")

    def release_slot(self) -> None:
        """Give the slot of this worker back."""
        if self._slot_lock >= 0:
            self._words[self._offset(self.slot) + _PID] = 0
            os.close(self._slot_lock)
            self._slot_lock = -1

    def live_workers(self) -> Iterator[int]:
        """Iterate over the slots whose workers live; the lock of a killed worker is gone with it."""
        for slot in range(MAX_WORKERS):
            if not self._words[self._offset(slot) + _PID]:
                continue
            if slot == self.slot and self._slot_lock >= 0:
                yield slot
                continue
            lock = self._lock_slot(slot, fcntl.LOCK_SH)  # shared: two processes that ask are not taken for its worker
            if lock < 0:
                yield slot
            else:
                os.close(lock)

    def worker_pid(self, slot: int) -> int:
        """Give the process id of the worker in a slot."""
        return self._words[self._offset(slot) + _PID]

    def _lock_slot(self, slot: int, mode: int = fcntl.LOCK_EX) -> int:
        """Lock a slot; its descriptor, or -1 when a living worker holds the lock."""
        descriptor = os.open(self._slots / f"{slot}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, mode | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            return -1
        return descriptor

    @staticmethod
    def _offset(slot: int) -> int:
        return _FIRST_SLOT + slot * _WORDS

    def acknowledge_routes(self, generation: int) -> None:
        """Acknowledge a generation: this worker asks no version any more that the generation does not route."""
        if self._slot_lock < 0:  # the slot may be another worker's by now
            return
        self._words[self._offset(self.slot) + _ACKNOWLEDGED] = generation

    def set_state(self, state: WorkerState) -> None:
        """Say what this worker has loaded, and whether it takes callers."""
        if self._slot_lock >= 0:
            self._words[self._offset(self.slot) + _STATE] = state.value

    def acknowledge_preload(self, preload: int) -> None:
        """Acknowledge a preload: this worker has loaded what it could."""
        self._words[self._offset(self.slot) + _PRELOADED] = preload

    def report_load_failures(self, preload: int, reasons: Mapping[str, Mapping[str, str]]) -> None:
        """Report, by model, why this worker cannot load a version; call it before `acknowledge_preload`."""
        with contextlib.suppress(OSError):  # a full disk: the version is missing all the same, without a reason
            self._write_file(f"{self.slot}.json", reasons)
        self._words[self._offset(self.slot) + _FAILED] = preload

    @property
    def last_stats_request(self) -> int:
        """Number of the newest request for counts."""
        return self._words[_STATS_REQUEST]

    def request_stats(self) -> int:
        """Request the counts of every worker. Returns the number of the request."""
        with self.lock():
            self._words[_STATS_REQUEST] += 1
            self._wake_workers()
            return self._words[_STATS_REQUEST]

    def report_stats(self, request: int, counts: Mapping[str, object]) -> None:
        """Report the counts of this worker."""
        with contextlib.suppress(OSError):  # a full disk must not stop a worker; its counts are left out
            self._write_file(f"{self.slot}.counts.json", counts)
            self._words[self._offset(self.slot) + _STATS] = request

    def _write_file(self, name: str, content: Mapping[str, object]) -> None:
        path = self._slots / name
        path.with_suffix(".tmp").write_bytes(orjson.dumps(content))
        path.with_suffix(".tmp").replace(path)  # another worker may be reading the last one

    def workers_without_stats(self, request: int) -> list[int]:
        """List the living workers that have not reported their counts for a request."""
        return [slot for slot in self.live_workers() if self._words[self._offset(slot) + _STATS] < request]

    def collect_stats(self, request: int) -> Iterator[tuple[int, dict[str, dict[str, Any]]]]:
        """Iterate over slot and counts of every living worker that has reported for a request."""
        for slot in self.live_workers():
            if self._words[self._offset(slot) + _STATS] >= request:
                yield slot, orjson.loads((self._slots / f"{slot}.counts.json").read_bytes())

    def unacknowledged_workers(self, generation: int) -> list[int]:
        """List the living workers that have not acknowledged a generation."""
        return [slot for slot in self.live_workers() if self._words[self._offset(slot) + _ACKNOWLEDGED] < generation]

    def workers_loading(self, preload: int) -> list[int]:
        """List the living workers that have not acknowledged a preload."""
        return [slot for slot in self.live_workers() if self._words[self._offset(slot) + _PRELOADED] < preload]

    def ready_workers(self) -> list[int]:
        """List the living workers that have acknowledged everything, and have loaded what they can."""
        awaited = WorkerState.SERVES | WorkerState.WARM_UNTRIED
        return [slot for slot in self._current_workers() if self._state(slot) & awaited == WorkerState.SERVES]

    def answering_workers(self) -> list[int]:
        """List the living workers that have every champion, and take callers.

        One that has not acknowledged the newest change yet is among them: each is late for a moment after each change,
        and answers callers all the while.
        """
        awaited = WorkerState.SERVES | WorkerState.STARTING
        return [slot for slot in self.live_workers() if self._state(slot) & awaited == WorkerState.SERVES]

    def workers_without_warm(self) -> list[int]:
        """List the living workers that take callers and lack a version that is to be kept warm."""
        awaited = WorkerState.WARM_MISSING | WorkerState.STARTING
        return [slot for slot in self.live_workers() if self._state(slot) & awaited == WorkerState.WARM_MISSING]

    def _current_workers(self) -> list[int]:
        generation, preload = self.generation, self.preload_generation
        behind = {*self.unacknowledged_workers(generation), *self.workers_loading(preload)}
        return [slot for slot in self.live_workers() if slot not in behind]

    def _state(self, slot: int) -> WorkerState:
        return WorkerState(self._words[self._offset(slot) + _STATE])

    def load_failure(self, preload: int, model: str) -> dict[str, str] | None:
        """Give the reason why some worker cannot load a preload of a model; None when none has reported one."""
        for slot in self.live_workers():
            if self._words[self._offset(slot) + _FAILED] >= preload:
                reasons = orjson.loads((self._slots / f"{slot}.json").read_bytes())
                if model in reasons:
                    return {key: str(value) for key, value in reasons[model].items()}
        return None

    def read_routes(self) -> tuple[int, dict[str, dict[str, object]]]:
        """Read the generation in force and its document."""
        return self.reader.read_entries()

    def read_preloads(self) -> dict[str, dict[str, object]]:
        """Read the routes that workers are to load ahead, by model."""
        with self.lock():
            return self._read_preloads()

    def _read_preloads(self) -> dict[str, dict[str, object]]:
        body = read_document(self._memory, 2 + self.preload_generation % 2)
        return orjson.loads(body) if body else {}

    def publish(self, document: RouteEntries) -> int:
        """Put routes in force; call it inside `lock`. Returns their generation."""
        generation = self.generation + 1
        self._write_document(generation % 2, document)
        self._words[GENERATION_INDEX] = generation  # one aligned store: a reader has the old word or the new one
        self._wake_workers()
        return generation

    def request_preload(self, model: str, route: Mapping[str, object]) -> int:
        """Have every worker load ahead what a route needs. Returns the number of the preload."""
        with self.lock():
            return self._publish_preloads({**self._read_preloads(), model: dict(route)})

    def cancel_preload(self, model: str, number: int = 0) -> None:
        """Cancel the preload of a model, so that every worker unloads what it no longer needs.

        With a number, only while there is no newer preload.
        """
        with self.lock():
            if number in (0, self.preload_generation):
                self._publish_preloads({name: route for name, route in self._read_preloads().items() if name != model})

    def request_loading(self) -> None:
        """Have every worker load and unload what routes and preloads need; preloads that are under way go on."""
        with self.lock():
            self._publish_preloads(self._read_preloads())

    def _publish_preloads(self, document: RouteEntries) -> int:
        preload = self.preload_generation + 1
        self._write_document(2 + preload % 2, document)
        self._words[_PRELOAD] = preload
        self._wake_workers()
        return preload

    def _wake_workers(self) -> None:
        """Wake the workers of all slots that are taken; a killed one has no socket any more."""
        self.wake_sockets.wake(slot for slot in range(MAX_WORKERS) if self._words[self._offset(slot) + _PID])

    def _write_document(self, place: int, document: RouteEntries) -> None:
        body = orjson.dumps(document)
        start = NUMBERS_AREA_BYTES + place * MAX_DOCUMENT_BYTES
        if len(body) + 8 > MAX_DOCUMENT_BYTES:
            raise RouteTableFull(f"routes of {len(body)} bytes do not fit into {MAX_DOCUMENT_BYTES - 8} bytes")
        self._memory[start : start + 8] = len(body).to_bytes(8, "little")
        self._memory[start + 8 : start + 8 + len(body)] = body
