# One command opens the dashboard (make run), one passes the tests (make test).
PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin
# Threads that spin while they wait slow a shared two-core machine several times.
export OMP_WAIT_POLICY ?= PASSIVE

.PHONY: run test check clean

run: $(VENV)/installed
	$(BIN)/genptq dashboard

# One process a core, one thread each: torch gains less from threads than the suite from processes.
test: $(VENV)/installed-dev
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --dist loadfile

check: $(VENV)/installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

$(VENV)/installed: requirements.txt pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet -r requirements.txt
	$(BIN)/python -m pip install --quiet --no-deps -e .
	touch $@

$(VENV)/installed-dev: requirements.txt requirements-dev.txt $(VENV)/installed
	$(BIN)/python -m pip install --quiet -r requirements-dev.txt
	touch $@

clean:
	rm -rf $(VENV)
