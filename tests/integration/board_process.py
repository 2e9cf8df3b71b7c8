"""A process that uses a gateway's board: ROOT ROLE [ARGUMENT]; it says what it finds as lines of JSON."""

import json
import os
import signal
import sys
from pathlib import Path

from surefoot.gateway import board as board_module
from surefoot.gateway.board import Board, Document


def say(found: object) -> None:
    """Tell the test."""
    sys.stdout.write(json.dumps(found) + "\n")
    sys.stdout.flush()


def big(number: int) -> Document:
    """A document whose parts all say the same number, and whose length changes with it."""
    return {f"m{part}": {"number": number, "filler": "x" * (number % 97)} for part in range(200)}


def publish(board: Board) -> None:
    """Publish without a pause until the test closes our input."""
    os.set_blocking(0, False)
    number = 0
    say("ready")
    while sys.stdin.buffer.raw.read(1) is None:  # type: ignore[attr-defined] - a pipe of ours has one
        number += 1
        with board.changing():
            board.publish(big(number))
    say(number)


def read(board: Board, times: int) -> None:
    """Read documents; say how many were not whole, how often one was older than the last, and how many differed."""
    torn = back = 0
    last = (0, 0)
    numbers = set()
    while len(numbers) < times:
        generation, document = board.routes()
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


def work(board: Board, first: str) -> None:
    """Be a worker: join, and do what the lines of our input say."""
    asked_first = []

    def routes() -> Document:
        asked_first.append(first)
        return {first: {"route": first}}

    board.join(routes)
    say({"slot": board.slot, "restored": bool(asked_first)})
    for line in sys.stdin:
        verb, *rest = json.loads(line)
        if verb == "look":
            generation, document = board.routes()
            board.seen(generation)
            say(document)
        elif verb == "ready":
            board.ready(board.wanted)
            say(board.wishes())
        elif verb == "serves":
            board.serves(yes=rest[0])
            say("ok")
        elif verb == "failed":
            board.failed(board.wanted, rest[0])
            board.ready(board.wanted)
            say("ok")
        elif verb == "tell":
            board.tell(board.asked, rest[0])
            say("ok")
        elif verb == "leave":
            board.leave()
            say("ok")
        elif verb == "die writing":
            die_writing(board)


def die_writing(board: Board) -> None:
    """Wish, and be killed when half of the wish is written."""
    write = board._write

    def half(place: int, document: Document) -> None:
        write(place, document)
        start = board_module._HEAD + place * board_module._ROOM + 8
        board._memory[start : start + 6] = bytes(6)
        os.kill(os.getpid(), signal.SIGKILL)

    board._write = half  # type: ignore[method-assign]
    board.wish("m", {"champion": "never"})


def count_living(board: Board, times: int) -> None:
    """Ask without a pause who lives; say how many were seen at most."""
    say("ready")
    sys.stdin.readline()
    say(max(len(list(board.living())) for _ in range(times)))


if __name__ == "__main__":
    root, role, *arguments = sys.argv[1:]
    view = Board(Path(root))
    if role == "publish":
        publish(view)
    elif role == "read":
        read(view, int(arguments[0]))
    elif role == "work":
        work(view, arguments[0])
    elif role == "count":
        count_living(view, int(arguments[0]))
