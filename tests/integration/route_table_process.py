"""A process that uses a shared route table: ROOT ROLE [ARGUMENT]; it says what it finds as lines of JSON."""

import json
import os
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, cast

from surefoot.gateway.control.shared_routes import RouteEntries, SharedRouteTable, WorkerState
from surefoot.gateway.inference.routes.memory_layout import MAX_DOCUMENT_BYTES, NUMBERS_AREA_BYTES

if TYPE_CHECKING:
    import io


def say(found: object) -> None:
    """Tell the test."""
    sys.stdout.write(json.dumps(found) + "\n")
    sys.stdout.flush()


def big(number: int) -> RouteEntries:
    """A document whose parts all say the same number, and whose length changes with it."""
    return {f"m{part}": {"number": number, "filler": "x" * (number % 97)} for part in range(200)}


def publish(route_table: SharedRouteTable) -> None:
    """Publish without a pause until the test closes our input."""
    os.set_blocking(0, False)
    number = 0
    say("ready")
    while cast("io.BufferedReader", sys.stdin.buffer).raw.read(1) is None:
        number += 1
        with route_table.lock():
            route_table.publish(big(number))
    say(number)


def read(route_table: SharedRouteTable, times: int) -> None:
    """Read documents; say how many were not whole, how often one was older than the last, and how many differed."""
    torn = back = 0
    last = (0, 0)
    numbers: set[int] = set()
    while len(numbers) < times:
        generation, document = route_table.read_routes()
        told = {entry["number"] for entry in document.values()}
        if not document:
            continue
        if len(told) != 1 or len(document) != 200:
            torn += 1
        now = (generation, int(str(max(map(str, told), key=int))))
        back += now < last
        last = now
        numbers.add(now[1])
    say({"torn": torn, "back": back, "different": len(numbers)})


def work(route_table: SharedRouteTable, first: str) -> None:
    """Be a worker: join, and do what the lines of our input say."""
    with route_table.lock():
        restored = not route_table.has_workers()
        if restored:
            route_table.reset({first: {"route": first}})
        route_table.take_slot()
    say({"slot": route_table.slot, "restored": restored})
    for line in sys.stdin:
        verb, *rest = json.loads(line)
        if verb == "look":
            generation, document = route_table.read_routes()
            route_table.acknowledge_routes(generation)
            say(document)
        elif verb == "ready":
            route_table.acknowledge_preload(route_table.preload_generation)
            say(route_table.read_preloads())
        elif verb == "serves":
            route_table.set_state(WorkerState(rest[0]))
            say("ok")
        elif verb == "failed":
            route_table.report_load_failures(route_table.preload_generation, rest[0])
            route_table.acknowledge_preload(route_table.preload_generation)
            say("ok")
        elif verb == "tell":
            route_table.report_stats(route_table.last_stats_request, rest[0])
            say("ok")
        elif verb == "leave":
            route_table.release_slot()
            say("ok")
        elif verb == "die writing":
            die_writing(route_table)


def die_writing(route_table: SharedRouteTable) -> None:
    """Wish, and be killed when half of the wish is written."""
    write = route_table._write_document

    def half(place: int, document: RouteEntries) -> None:
        write(place, document)
        start = NUMBERS_AREA_BYTES + place * MAX_DOCUMENT_BYTES + 8
        route_table._memory[start : start + 6] = bytes(6)
        os.kill(os.getpid(), signal.SIGKILL)

    route_table._write_document = half  # type: ignore[method-assign]
    route_table.request_preload("m", {"champion": "never"})


def count_living(route_table: SharedRouteTable, times: int) -> None:
    """Ask without a pause who lives; say how many were seen at most."""
    say("ready")
    sys.stdin.readline()
    say(max(len(list(route_table.live_workers())) for _ in range(times)))


if __name__ == "__main__":
    root, role, *arguments = sys.argv[1:]
    view = SharedRouteTable(Path(root))
    if role == "publish":
        publish(view)
    elif role == "read":
        read(view, int(arguments[0]))
    elif role == "work":
        work(view, arguments[0])
    elif role == "count":
        count_living(view, int(arguments[0]))
