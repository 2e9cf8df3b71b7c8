"""Serve one model in its own process: load it, and answer its requests."""

import contextlib
import gc
import resource
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

from surefoot.models import process_messages
from surefoot.models.environments import json_codec
from surefoot.models.model_protocols import ColumnNames, Model
from surefoot.models.process_meter import ProcessMeter
from surefoot.models.process_priority import lower_priority
from surefoot.models.rows.answer_checks import describe_error
from surefoot.models.rows.independence import IndependenceResult, RowIndependence
from surefoot.models.rows.live_recheck import LiveRecheck, probe_model

_NOT_PROBED_REASON = "its process ended or hung when rows were asked together to probe it"
_REMOTE_METHODS = frozenset(
    {"predict", "golden_rows", "model_inputs", "is_raw", "signature_fields", "table_columns", "trace"}
)
"""Methods of a model that may be called besides batches: see `surefoot.models.child_process_scorer`."""
PREDICT_TABLE_REQUEST = "predict_table"
"""Verb of a question that an Arrow table follows, as a message of its own."""
_OOM_SCORE = 500


def limit_memory_and_priority(memory_mb: int, nice: int) -> None:
    """Limit the address space of this process (0 for no limit) [MB], and lower its priority.

    When the host has no memory left, the kernel kills models before the workers that could still answer without them.
    """
    with contextlib.suppress(OSError), Path("/proc/self/oom_score_adj").open("w", encoding="ascii") as score:
        score.write(str(_OOM_SCORE))
    if memory_mb:
        resource.setrlimit(resource.RLIMIT_AS, (memory_mb << 20, memory_mb << 20))
    if nice:
        lower_priority(nice)


def serve_model(end: socket.socket, load: Callable[[], Model]) -> None:
    """Load, probe, greet, and answer until the other side has closed.

    The first message is {"probe": whether made-up rows are to be asked together, "known": [batching, why] of an earlier
    process, or null}. It says {"loaded": true}
    before it does so, for the model may end or hang there. The greeting is {"ready": true, ...} and what is known of
    the model's rows, or {"error": kind, "message": text} when the model cannot be loaded. A batch is [names, rows], or
    [names, rows, params, csv] where that says more; its answer is {"answers", "cpu_ms", "model_ms", "rss_mb"} or
    {"error": text}, never an end of the process, unless the model itself ends it. Once more is known of the rows, the
    next answer says so. Any other question is an object, {"verb", "arguments"}; its answer is {"value"} or
    {"error": text}. After the verb `PREDICT_TABLE_REQUEST` comes an Arrow stream; where the value is true the
    answers follow in the same form, else this model cannot answer tables.
    """
    with contextlib.suppress(process_messages.PeerClosed):
        order = process_messages.receive_message(end)
        probing, known = (order.get("probe"), order.get("known")) if isinstance(order, dict) else (False, None)
        try:
            model = load()
        except BaseException as error:  # noqa: BLE001 - it runs the model's own code, SystemExit included
            said = str(error) if isinstance(error, Exception) else describe_error(error)  # an exit's text is its code
            process_messages.send_message(end, {"error": type(error).__name__, "message": said})
            return
        independence = None
        if probing:
            process_messages.send_message(end, {"loaded": True})
            independence = probe_model(model)
        elif known:
            independence = IndependenceResult(RowIndependence(known[0]), str(known[1]), answered=1)
        elif model.batchable:
            independence = IndependenceResult(RowIndependence.UNPROVEN, _NOT_PROBED_REASON)
        gc.collect()
        gc.freeze()  # what is loaded now stays: no collection in between answers walks over it
        _serve(end, LiveRecheck(model, independence, probing=bool(probing)))


def _serve(end: socket.socket, watch: LiveRecheck) -> None:
    """Greet and answer; raises PeerClosed when the other side has closed."""
    process_messages.send_message(end, {"ready": True, **_proof_message(watch)})
    meter = ProcessMeter.open()
    changed = False
    while True:
        asked = process_messages.receive_message(end)
        if isinstance(asked, dict) and asked.get("verb") == PREDICT_TABLE_REQUEST:
            reply, answers_table = _table_reply(watch.model, process_messages.receive_bytes(end))
            process_messages.send_bytes(end, reply)
            if answers_table is not None:
                process_messages.send_bytes(end, answers_table)
            continue
        if isinstance(asked, dict):
            process_messages.send_bytes(end, _call_reply(watch.model, asked))
            continue
        answers, body = _answer(watch, asked, meter, _proof_message(watch) if changed else {})
        process_messages.send_bytes(end, body)
        if answers is not None:
            names, values, *options = cast("Any", asked)
            changed = watch.check_batch(_names(names), values, tuple(options), answers)


def _proof_message(watch: LiveRecheck) -> dict[str, object]:
    """Give what is known of the model's rows, as a part of a message."""
    independence = watch.independence
    message = {
        "batching": independence.batching.value,
        "why": independence.why,
        "answered": independence.answered,
        "problem": independence.problem,
    }
    return {"independence": message, "checked": watch.checked, "differed": watch.differed, "probing": watch.probes_next}


def _names(names: Any) -> ColumnNames:
    return None if names is None else tuple(names)


def _answer(
    watch: LiveRecheck, batch: Any, meter: ProcessMeter, more: dict[str, object]
) -> tuple[list[object] | None, bytes]:
    """Give the answers, if there are any, and the message; answers that are no JSON are the model's failure too."""
    began, cpu = meter.model_time(), time.process_time()
    try:
        names, values, *options = batch
        answers = watch.answer(_names(names), values, *options)
        cpu_ms = round((time.process_time() - cpu) * 1000.0, 4)  # as the log has them
        model_ms = round((meter.model_time() - began) * 1000.0, 4)
        if watch.probes_next:
            more = _proof_message(watch)
        cost = {"cpu_ms": cpu_ms, "model_ms": model_ms, "rss_mb": round(meter.resident_memory(), 2)}
        body = {"answers": answers, **cost, **more}
        return answers, json_codec.dumps(body)
    except BaseException as error:  # noqa: BLE001 - a model may raise anything, SystemExit included
        return None, json_codec.dumps({"error": describe_error(error)})


def _table_reply(model: Model, table: bytes) -> tuple[bytes, bytes | None]:
    """Answer a table; the reply, and the answers where there are any."""
    try:
        answers = model.predict_table(table)  # type: ignore[attr-defined] # asked only where `table_columns` names some
        return json_codec.dumps({"value": answers is not None}), answers
    except BaseException as error:  # noqa: BLE001 - a model may raise anything, SystemExit included
        return json_codec.dumps({"error": describe_error(error)}), None


def _call_reply(model: Model, asked: dict[str, Any]) -> bytes:
    """Call a method of the model that is no batch, and give the reply."""
    try:
        verb, arguments = asked["verb"], asked["arguments"]
        if verb not in _REMOTE_METHODS:
            raise ValueError(f"a model has no call {verb}")  # noqa: TRY301 - sent to the other side
        return json_codec.dumps({"value": getattr(model, verb)(*arguments)})
    except BaseException as error:  # noqa: BLE001 - a model may raise anything, SystemExit included
        return json_codec.dumps({"error": describe_error(error)})
