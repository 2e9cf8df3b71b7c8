"""Inside the process of a model: load it, say so, and answer batches until the gateway closes."""

import contextlib
import gc
import os
import resource
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson

from surefoot.models import frames
from surefoot.models.answers import checked, describe
from surefoot.models.aside import step_aside
from surefoot.models.contract import Model

_FIRST_TO_GO = 500
_PAGE_MB = os.sysconf("SC_PAGE_SIZE") / 2**20


def resident(statm: int) -> float:
    """Memory that is really in use [MB], from a process's open statm file."""
    return int(os.pread(statm, 256, 0).split()[1]) * _PAGE_MB


def limit(memory_mb: int, nice: int) -> None:
    """Take less than everything: an address space of so many megabytes (0 for no limit), and a place behind others.

    When the host has no memory left, models go before the workers that could still answer without them.
    """
    with contextlib.suppress(OSError), Path("/proc/self/oom_score_adj").open("w", encoding="ascii") as score:
        score.write(str(_FIRST_TO_GO))
    if memory_mb:
        resource.setrlimit(resource.RLIMIT_AS, (memory_mb << 20, memory_mb << 20))
    if nice:
        step_aside(nice)


def host(end: socket.socket, load: Callable[[], Model]) -> None:
    """Load, greet, and answer until the other side has gone.

    The greeting is {"ready": true, "joins": whether requests may share a batch}, or {"error": kind, "message": text}
    when the model cannot be loaded. A batch is [names, rows], or [names, rows, params, csv] where that says more; its
    answer is {"answers", "cpu_ms", "rss_mb"} or {"error": text}, never an end of the process, unless the model itself
    ends it.
    """
    try:
        predictor = load()
    except BaseException as error:  # noqa: BLE001 - it runs the model's own code, SystemExit included
        with contextlib.suppress(frames.Gone):
            frames.send(end, {"error": type(error).__name__, "message": str(error)})
        return
    gc.collect()
    gc.freeze()  # what is loaded now stays: no collection in between answers walks over it
    with contextlib.suppress(frames.Gone):
        frames.send(end, {"ready": True, "joins": predictor.joins})
        statm = os.open("/proc/self/statm", os.O_RDONLY | os.O_CLOEXEC)  # it is read at every batch
        while True:
            frames.send_bytes(end, _answer(predictor, frames.receive(end), statm))


def _answer(predictor: Model, batch: Any, statm: int) -> bytes:
    """One message; what JSON cannot carry is the model's failure too."""
    began = time.process_time()
    try:
        names, values, *manner = batch
        answers = checked(predictor.answer(None if names is None else tuple(names), values, *manner), len(values))
        cpu_ms = round((time.process_time() - began) * 1000.0, 4)  # as the log has them
        return orjson.dumps({"answers": answers, "cpu_ms": cpu_ms, "rss_mb": round(resident(statm), 2)})
    except BaseException as error:  # noqa: BLE001 - a model may raise anything, SystemExit included
        return orjson.dumps({"error": describe(error)})
