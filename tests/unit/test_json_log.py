"""Log lines are one JSON object each where the settings say so: those of the gateway, the controller and of flows."""

import io
import json
import logging
import logging.config
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from surefoot.cli.local.start_services import build_stack_environment
from surefoot.settings import Settings
from surefoot.telemetry.json_log import write_log_lines


@pytest.fixture
def root() -> Iterator[logging.Logger]:
    """The root logger, as it was before at the end."""
    logger = logging.getLogger()
    handlers, level = logger.handlers[:], logger.level
    yield logger
    logger.handlers[:] = handlers
    logger.setLevel(level)
    logging.captureWarnings(capture=False)


def test_a_record_is_one_line_whatever_it_holds(root: logging.Logger) -> None:
    """Line breaks, quotes and the traceback of an error stay within the object of their record."""
    stream = io.StringIO()
    write_log_lines("json", stream, force=True)
    logging.getLogger("surefoot.some").warning('two\nlines, "quoted": %s', "ü")
    logging.getLogger("surefoot.other").error("failed", exc_info=ValueError("no\nsuch row"))
    first, second = (json.loads(line) for line in stream.getvalue().splitlines())
    assert first["message"] == 'two\nlines, "quoted": ü'
    assert (first["level"], first["logger"], first["process"]) == ("warning", "surefoot.some", os.getpid())
    assert first["time"].endswith("Z")
    assert second["error"].endswith("ValueError: no\nsuch row")


def test_text_is_as_it_was(root: logging.Logger) -> None:
    """Without the setting a line is the time and the message."""
    stream = io.StringIO()
    write_log_lines("text", stream, force=True)
    logging.getLogger("surefoot.some").info("hello")
    assert stream.getvalue().endswith(" hello\n")


def test_flows_log_as_the_setting_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the environment of the stack Prefect formats the records of flow runs, and ours, as one object a line."""
    from prefect.logging.configuration import (  # noqa: PLC0415 - the other tests need no Prefect
        DEFAULT_LOGGING_SETTINGS_PATH,
        load_logging_config,
    )

    config = Settings(tmp_path, tmp_path, "http://m", "http://p", "http://g", "t", log_format="json")
    assert build_stack_environment(replace(config, log_format="text")).keys() < build_stack_environment(config).keys()
    for name, value in build_stack_environment(config).items():
        if name.startswith("PREFECT_LOGGING_"):
            monkeypatch.setenv(name, value)
    loaded = load_logging_config(DEFAULT_LOGGING_SETTINGS_PATH)
    chosen = loaded["formatters"][loaded["handlers"]["console"]["formatter"]]
    formatter = logging.config.DictConfigurator({"version": 1}).configure_formatter(chosen)
    record = logging.makeLogRecord(
        {"name": "prefect.flow_runs", "msg": "step %d\n", "args": (2,), "flow_run_name": "x"}
    )
    (line,) = formatter.format(record).splitlines()
    assert json.loads(line)["message"] == "step 2\n"
    assert json.loads(line)["flow_run_name"] == "x"
