"""Write log lines of a process as JSON, one object a line."""

import datetime as dt
import json
import logging
import sys
from typing import TextIO

_TEXT = "%(asctime)s %(message)s"
_FLOW_FIELDS = ("flow_name", "flow_run_name", "flow_run_id", "task_run_name", "task_run_id")
"""What Prefect's loggers of runs add to a record."""


class JsonLineFormatter(logging.Formatter):
    """Formats a record as one JSON object.

    Law: a record is one line, whatever its message or the error that it tells of holds.
    """

    def __init__(self, *_: object, **__: object) -> None:
        """Take the arguments of a configuration of logging, and need none of them."""
        super().__init__()

    def format(self, record: logging.LogRecord) -> str:
        """The record as one line: time in UTC, level, logger, message, process, and the error where there is one."""
        at = dt.datetime.fromtimestamp(record.created, dt.UTC).isoformat(timespec="milliseconds")
        told: dict[str, object] = {
            "time": at.replace("+00:00", "Z"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            "process": record.process,
            "thread": record.threadName,
        }
        for name in _FLOW_FIELDS:
            if (value := getattr(record, name, None)) is not None:
                told[name] = str(value)
        if record.exc_info:
            told["error"] = self.formatException(record.exc_info)
        return json.dumps(told, ensure_ascii=False)


def write_log_lines(log_format: str, stream: TextIO | None = None, *, force: bool = False) -> None:
    """Write what this process logs from level INFO on.

    Args:
        log_format: "text" or "json".
        stream: Where to; standard error without it.
        force: Whether handlers that are there already are replaced.
    """
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(JsonLineFormatter() if log_format == "json" else logging.Formatter(_TEXT))
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=force)
    logging.getLogger("httpx").setLevel(logging.WARNING)
    if log_format == "json":
        logging.captureWarnings(capture=True)
