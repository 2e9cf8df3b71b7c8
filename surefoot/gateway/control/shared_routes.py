"""What all front workers of a gateway see at once: the routes in force and a generation, in shared memory.

Every worker reads the generation at every request (a load from memory), so no worker can miss a change, however busy it
is: a watcher in the background would starve exactly then. Numbers are aligned words; the document of routes is written
beside the one in use, and the generation says which of the two counts.
"""

import contextlib
import fcntl
import mmap
import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import orjson

WORKERS = 64
"""Most front workers [count]."""
_ROOM = 1 << 20
"""Longest document [bytes]."""
_DOCUMENTS = 4  # two of routes, two of what is wanted: who is killed while it writes spoils the one not in use
_HEAD = 4096
_GENERATION, _WANTED, _KEEPER, _HEARD, _ASKED = range(5)
_FIRST_SLOT = 8
_WORDS = 6
_PID, _SEEN, _READY, _FAILED, _TOLD, _SERVES = range(_WORDS)

Document = Mapping[str, Mapping[str, object]]


class RouteTableFull(Exception):
    """More workers or longer routes than there is room for."""


class SharedRouteTable:
    """One worker's view of the shared memory.

    Attributes:
        slot: This worker's place, or -1 for one that only looks.
        generations: The generation as a view of one word, which is the quickest to read.
    """

    def __init__(self, root: Path) -> None:
        """Open or make it."""
        root.mkdir(parents=True, exist_ok=True)
        self._root = root
        self._places = root / "workers"
        self._places.mkdir(exist_ok=True)
        descriptor = os.open(root / "board", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            size = _HEAD + _DOCUMENTS * _ROOM
            if os.fstat(descriptor).st_size < size:
                os.posix_fallocate(descriptor, 0, size)  # a full disk is found now, not at a rollback
            self._memory = mmap.mmap(descriptor, size)
        finally:
            os.close(descriptor)
        self._words = memoryview(self._memory)[:_HEAD].cast("Q")
        self.generations = self._words[_GENERATION : _GENERATION + 1]
        self.slot = -1
        self._held = -1

    @property
    def generation(self) -> int:
        """Grows with every change of any route; read it at every request."""
        return self._words[_GENERATION]

    @property
    def wanted(self) -> int:
        """Grows with every change of what workers are to load ahead."""
        return self._words[_WANTED]

    @property
    def supervisor(self) -> int:
        """Process that keeps the workers; workers of another one are to leave when its own are ready."""
        return self._words[_KEEPER]

    @supervisor.setter
    def supervisor(self, pid: int) -> None:
        self._words[_KEEPER] = pid

    @property
    def heard(self) -> float:
        """When the control plane last said anything, on the machine's monotonic clock [s]."""
        return self._words[_HEARD] / 1000.0

    @heard.setter
    def heard(self, at: float) -> None:
        self._words[_HEARD] = int(at * 1000.0)

    @contextlib.contextmanager
    def changing(self) -> Iterator[None]:
        """Be the only one that changes documents; blocks for as long as another one does (microseconds)."""
        descriptor = os.open(self._root / "board.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)

    def join(self, first: Callable[[], Document]) -> None:
        """Take a place among the workers; who finds no other one writes the routes that were in force.

        Args:
            first: Reads them.

        Raises:
            BoardFull: There is no place left.
        """
        with self.changing():
            if not any(True for _ in self.living()):
                self._publish(first())
                self._wish({})
            for slot in range(WORKERS):
                held = self._hold(slot)
                if held >= 0:
                    self._held, self.slot = held, slot
                    at = self._at(slot)
                    for word in (_SEEN, _READY, _FAILED, _TOLD, _SERVES):
                        self._words[at + word] = 0
                    self._words[at + _PID] = os.getpid()
                    return
        raise RouteTableFull(f"there are {WORKERS} workers already")

    def leave(self) -> None:
        """Give the place back."""
        if self._held >= 0:
            self._words[self._at(self.slot) + _PID] = 0
            os.close(self._held)
            self._held = -1

    def living(self) -> Iterator[int]:
        """Places whose workers live, whatever their words say: a killed worker's lock is gone with it."""
        for slot in range(WORKERS):
            if not self._words[self._at(slot) + _PID]:
                continue
            if slot == self.slot and self._held >= 0:
                yield slot
                continue
            held = self._hold(slot, fcntl.LOCK_SH)  # shared: who else asks at the same time is not taken for its worker
            if held < 0:
                yield slot
            else:
                os.close(held)

    def process(self, slot: int) -> int:
        """Process id of a worker."""
        return self._words[self._at(slot) + _PID]

    def _hold(self, slot: int, options: int = fcntl.LOCK_EX) -> int:
        """Descriptor of the lock of a place, or -1 when a living worker holds it."""
        descriptor = os.open(self._places / f"{slot}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, options | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            return -1
        return descriptor

    @staticmethod
    def _at(slot: int) -> int:
        return _FIRST_SLOT + slot * _WORDS

    def seen(self, generation: int) -> None:
        """Acknowledge: from now on this worker asks nobody that this generation does not route."""
        if self._held < 0:  # the place may be another one's by now
            return
        self._words[self._at(self.slot) + _SEEN] = generation

    def serves(self, *, yes: bool) -> None:
        """Say whether this worker has every champion that is routed."""
        if self._held >= 0:
            self._words[self._at(self.slot) + _SERVES] = int(yes)

    def ready(self, wanted: int) -> None:
        """Acknowledge: everything that was wanted is loaded here."""
        self._words[self._at(self.slot) + _READY] = wanted

    def failed(self, wanted: int, reasons: Mapping[str, Mapping[str, str]]) -> None:
        """Say, by model, why something that was wanted cannot be loaded here; call it before `ready`."""
        with contextlib.suppress(OSError):  # a full disk: then nobody says why, but the version is missing all the same
            self._put(f"{self.slot}.json", reasons)
        self._words[self._at(self.slot) + _FAILED] = wanted

    @property
    def asked(self) -> int:
        """Grows whenever a worker asks the others for their counts."""
        return self._words[_ASKED]

    def ask(self) -> int:
        """Ask every worker for its counts. Returns the number of the question."""
        with self.changing():
            self._words[_ASKED] += 1
            return self._words[_ASKED]

    def tell(self, asked: int, counts: Mapping[str, object]) -> None:
        """Answer a question with the counts of this worker."""
        with contextlib.suppress(OSError):  # a full disk must not stop a worker; it is left out
            self._put(f"{self.slot}.counts.json", counts)
            self._words[self._at(self.slot) + _TOLD] = asked

    def _put(self, name: str, said: Mapping[str, object]) -> None:
        path = self._places / name
        path.with_suffix(".tmp").write_bytes(orjson.dumps(said))
        path.with_suffix(".tmp").replace(path)  # another worker may be reading the last one

    def silent(self, asked: int) -> list[int]:
        """Living workers that have not answered a question."""
        return [slot for slot in self.living() if self._words[self._at(slot) + _TOLD] < asked]

    def told(self, asked: int) -> Iterator[tuple[int, dict[str, dict[str, Any]]]]:
        """Place and counts of every living worker that has answered a question."""
        for slot in self.living():
            if self._words[self._at(slot) + _TOLD] >= asked:
                yield slot, orjson.loads((self._places / f"{slot}.counts.json").read_bytes())

    def behind(self, generation: int) -> list[int]:
        """Living workers that have not seen a generation yet."""
        return [slot for slot in self.living() if self._words[self._at(slot) + _SEEN] < generation]

    def unready(self, wanted: int) -> list[int]:
        """Living workers that have not loaded what is wanted yet."""
        return [slot for slot in self.living() if self._words[self._at(slot) + _READY] < wanted]

    def abreast(self) -> list[int]:
        """Living workers that have seen everything, have loaded what they could, and have every champion."""
        generation, wanted = self.generation, self.wanted
        behind = {*self.behind(generation), *self.unready(wanted)}
        return [slot for slot in self.living() if slot not in behind and self._words[self._at(slot) + _SERVES]]

    def failure(self, wanted: int, model: str) -> dict[str, str] | None:
        """Why some worker cannot load what is wanted of a model; None when none has said so."""
        for slot in self.living():
            if self._words[self._at(slot) + _FAILED] >= wanted:
                reasons = orjson.loads((self._places / f"{slot}.json").read_bytes())
                if model in reasons:
                    return {key: str(value) for key, value in reasons[model].items()}
        return None

    def routes(self) -> tuple[int, dict[str, dict[str, object]]]:
        """The generation and the document that is in force at it."""
        while True:
            generation = self.generation
            body = self._document(generation % 2)
            if self.generation == generation:  # else the document may have been overwritten while we read
                return generation, orjson.loads(body) if body else {}

    def wishes(self) -> dict[str, dict[str, object]]:
        """What workers are to load ahead, by model."""
        with self.changing():
            return self._wishes()

    def _wishes(self) -> dict[str, dict[str, object]]:
        body = self._document(2 + self.wanted % 2)
        return orjson.loads(body) if body else {}

    def publish(self, document: Document) -> int:
        """Put routes in force; call it inside `changing`. Returns their generation."""
        return self._publish(document)

    def wish(self, model: str, route: Mapping[str, object]) -> int:
        """Say what is to be loaded ahead for a model. Returns the number of the wish."""
        with self.changing():
            return self._wish({**self._wishes(), model: dict(route)})

    def unwish(self, model: str, number: int = 0) -> None:
        """Say that nothing is to be loaded ahead for a model, so that every worker lets go of what it needs no more.

        With a number, only while nothing newer is wished.
        """
        with self.changing():
            if number in (0, self.wanted):
                self._wish({name: wish for name, wish in self._wishes().items() if name != model})

    def _publish(self, document: Document) -> int:
        following = self.generation + 1
        self._write(following % 2, document)
        self._words[_GENERATION] = following  # one aligned store: a reader has the old word or the new one
        return following

    def _wish(self, document: Document) -> int:
        following = self.wanted + 1
        self._write(2 + following % 2, document)
        self._words[_WANTED] = following
        return following

    def _write(self, place: int, document: Document) -> None:
        body = orjson.dumps(document)
        start = _HEAD + place * _ROOM
        if len(body) + 8 > _ROOM:
            raise RouteTableFull(f"routes of {len(body)} bytes are more than there is room for")
        self._memory[start : start + 8] = len(body).to_bytes(8, "little")
        self._memory[start + 8 : start + 8 + len(body)] = body

    def _document(self, place: int) -> bytes:
        start = _HEAD + place * _ROOM
        length = int.from_bytes(self._memory[start : start + 8], "little")
        return self._memory[start + 8 : start + 8 + min(length, _ROOM)]
