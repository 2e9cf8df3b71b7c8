# Each goal does all of its own set-up: `make demo` and `make test` work on a fresh clone with only Python 3.11+.
PYTHON ?= python3
BIN := .venv/bin
ARGS ?=
# Threads of one library that spin for each other take the processors from the servers beside them.
export OMP_NUM_THREADS ?= 1

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
ifeq ($(ARGS),)
	@# Those of the whole stack beside all others: each half waits a lot, and a run has two processors.
	@$(BIN)/python -m pytest tests/e2e >.e2e.log 2>&1 & stack=$$!; \
	$(BIN)/python -m pytest --ignore=tests/e2e; code=$$?; \
	wait $$stack || code=$$?; cat .e2e.log; exit $$code
else
	$(BIN)/python -m pytest $(ARGS)
endif
check: setup
	$(BIN)/ruff format --check . && $(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
bench: setup
	$(BIN)/python -m bench $(ARGS)
clean:
	rm -rf .venv .surefoot
