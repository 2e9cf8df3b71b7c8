# Each goal does all of its own set-up: `make demo` and `make test` work on a fresh clone with only Python 3.11+.
PYTHON ?= python3
BIN := .venv/bin
ARGS ?=

.PHONY: setup demo test check bench clean
setup: .venv/.ready
.venv/.ready: requirements.lock pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install -qq --disable-pip-version-check --no-deps --require-hashes -r requirements.lock
	$(BIN)/python -m pip install -qq --disable-pip-version-check --no-deps --editable .
	@touch $@
demo: setup
	$(BIN)/surefoot demo $(ARGS)
test: check
	$(BIN)/python -m pytest $(ARGS)
check: setup
	$(BIN)/ruff format --check . && $(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
bench: setup
	$(BIN)/python -m bench $(ARGS)
clean:
	rm -rf .venv .surefoot
