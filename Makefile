# make run opens the dashboard, make test runs the tests, make check the quality tools.
PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin
# Threads that spin while they wait make a shared two-core machine several times slower.
export OMP_WAIT_POLICY ?= PASSIVE

.PHONY: run test check clean

run: $(VENV)/installed
	$(BIN)/genptq dashboard

# One process per core, one thread each: the tests gain more from processes than from threads.
test: $(VENV)/installed-dev
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --dist loadfile --no-loadscope-reorder

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
