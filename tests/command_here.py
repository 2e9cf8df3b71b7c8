"""Run a `surefoot` command in the process of a test, where its parts can be replaced."""

import sys

from surefoot.cli import main


def command_exit_code(*words: str) -> int:
    """Run `surefoot WORDS...` to its end; its exit code."""
    before, sys.argv = sys.argv, ["surefoot", *words]
    try:
        main()
    except SystemExit as ended:
        return int(ended.code or 0)
    finally:
        sys.argv = before
    raise AssertionError("main returns by SystemExit")
