"""Run the program that is the first argument: `python -m tests.e2e.program CODE`."""

import sys

exec(compile(sys.argv[1], "<program>", "exec"), {"__name__": "__main__"})  # noqa: S102 - a program of our tests
