# Each goal does all of its own set-up: `make demo` and `make test` work on a fresh clone with only Python 3.11+.
PYTHON ?= python3
BIN := .venv/bin
ARGS ?=
# What serves the demo's model: gateway, haproxy or alias. A variable of the environment with this name is another program's.
ifneq ($(origin ENGINE),command line)
ENGINE := gateway
endif
ifneq ($(filter demo,$(MAKECMDGOALS)),)
ifeq ($(filter $(ENGINE),gateway haproxy alias),)
$(error there is no demo with engine '$(ENGINE)': choose one of gateway, haproxy, alias)
endif
endif
# Threads of one library that spin for each other take the processors from the servers beside them.
export OMP_NUM_THREADS ?= 1
# Hundreds of processes import the same modules: without compiled files each of them compiles all of these again.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: setup demo needs test check bench fault docs wheel clean
setup: .venv/.ready
.venv/.ready: requirements.lock pyproject.toml
	@PYTHON="$(PYTHON)" .ci/need python
	@echo "installing $$(grep -c '^[a-z].*==' requirements.lock) packages into .venv: about a minute and a half"
	@$(PYTHON) -m venv .venv
	@$(BIN)/python -m pip install -qq --disable-pip-version-check --no-deps --require-hashes -r requirements.lock
	@$(BIN)/python -m pip install -qq --disable-pip-version-check --no-deps --editable .
	@$(BIN)/python -m compileall -q -j 0 surefoot flows tasks tests bench
	@touch $@
demo: setup
	@.ci/need openssh
ifeq ($(ENGINE),haproxy)
	@.ci/need haproxy
endif
	$(BIN)/surefoot demo --engine $(ENGINE) $(ARGS)
needs: # before anything that takes time
	@.ci/need browser $(ARGS)
	@.ci/need haproxy $(ARGS)
	@.ci/need openssh
	@.ci/need prometheus $(ARGS)
ifeq ($(ARGS),)
test: needs setup
	@.ci/tests
else
test: needs check
	$(BIN)/python -m pytest $(ARGS)
endif
check: setup
	$(BIN)/ruff format --check . && $(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/vulture
bench: setup
	$(BIN)/python -m bench $(ARGS)
fault: setup # hours: damage, kills during rollbacks, starts under pressure, every test that kills or waits thirty times
	@.ci/need browser
	@.ci/need haproxy
	@.ci/need openssh
	SUREFOOT_SWEEPS=all $(BIN)/python -m pytest tests/property tests/unit tests/integration/test_emergency.py
	SUREFOOT_SWEEPS=all $(BIN)/python -m pytest -m sweep tests/e2e tests/integration tests/fault
	$(BIN)/surefoot demo --engine haproxy && $(BIN)/surefoot demo --engine alias
	$(BIN)/python -m bench.damage && $(BIN)/python -m bench.rollback_kills
	$(BIN)/python -m bench.starts && $(BIN)/python -m bench.steady $(ARGS)
docs: setup # the site, in dist/docs
	$(BIN)/sphinx-build -q -W --keep-going -b html docs dist/docs
	@echo "open dist/docs/index.html"
wheel: setup
	$(BIN)/python -m pip wheel -q --disable-pip-version-check --no-deps --wheel-dir dist .
clean:
	rm -rf .venv .surefoot dist
