# Two commands do all their own set-up on a machine that has Python 3.12 or 3.13: `make demo` and `make test`.

PYTHON ?= $(shell command -v python3.12 || command -v python3.13 || echo python3)
VENV := .venv
BIN := $(VENV)/bin
OUT ?= demo-output

.PHONY: demo demo-simulated test benchmark torture lint browser postgres docs screenshots clean

demo: $(VENV)/.core
	$(BIN)/deeptrader demo --out $(OUT)

demo-simulated: $(VENV)/.core
	$(BIN)/deeptrader demo --out $(OUT) --market simulated

# A worker for each core, at most four, and one thread of linear algebra in each.
test: $(VENV)/.dev browser postgres lint
	OPENBLAS_NUM_THREADS=1 OMP_NUM_THREADS=1 $(BIN)/pytest -n logical --maxprocesses 4 --dist loadfile

# How fast it is, in a few minutes: rewrites the table in docs/benchmarks.md, with date and machine.
benchmark: $(VENV)/.dev
	OPENBLAS_NUM_THREADS=1 OMP_NUM_THREADS=1 $(BIN)/python benchmarks/speed.py --write docs/benchmarks.md

# What a memory endures, for an hour: kills, a full disk, wrong clocks, garbage, readers beside a writer.
torture: $(VENV)/.dev postgres
	$(BIN)/python benchmarks/torture.py --postgres

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/python scripts/link_typing.py
	$(BIN)/pyright

# The documentation as a site, in build/site. Nothing is fetched.
docs: $(VENV)/.dev
	$(BIN)/python scripts/link_typing.py
	$(BIN)/python scripts/build_docs.py
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

# The page tests drive a real Chromium. Without one, and without the right to install one, they are skipped and say so.
browser:
	@command -v chromium >/dev/null 2>&1 || command -v google-chrome >/dev/null 2>&1 || \
	if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then \
		echo "Installing Chromium for the page tests" && apt-get update -qq && \
		DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends chromium >/dev/null; \
	else echo "No Chromium found: page tests will be skipped"; fi

# Tests of a journal in PostgreSQL start a server of their own. Without one they are skipped and say so.
postgres:
	@command -v initdb >/dev/null 2>&1 || ls /usr/lib/postgresql/*/bin/initdb >/dev/null 2>&1 || \
	if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then \
		echo "Installing PostgreSQL for the tests of the journal" && apt-get update -qq && \
		DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends postgresql >/dev/null; \
	else echo "No PostgreSQL found: its tests will be skipped"; fi

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 12) <= sys.version_info[:2] < (3, 14))' 2>/dev/null || \
	{ echo "DeepTrader needs Python 3.12 or 3.13; found $$($(PYTHON) --version 2>&1). Set PYTHON=/path/to/python3.12."; exit 2; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/.core: pyproject.toml constraints.txt | $(VENV)/bin/python
	@echo "Installing DeepTrader into $(VENV) (a minute or two, once)"
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e .
	@touch $@

$(VENV)/.dev: pyproject.toml constraints.txt | $(VENV)/bin/python
	@echo "Installing DeepTrader with its development tools into $(VENV) (a few minutes, once)"
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[dev]"
	@touch $@ $(VENV)/.core

# The pictures in docs/images, from the simulated market and a scripted model.
screenshots: $(VENV)/.dev browser
	$(BIN)/python scripts/screenshots.py

clean:
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .ruff_cache .hypothesis $(OUT)
