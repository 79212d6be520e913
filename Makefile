# The words of this project. Each makes the virtual environment it needs by itself; only python3 (3.11 or newer) and make
# have to be there. Requirements are locked with hashes; `make lock` renews them and is the only word that needs `uv`.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(PYTHON) -m pip --python $(BIN)/python --disable-pip-version-check --quiet
JOBS ?= 4

.PHONY: demo demo-two test test-long check schema bench serve kills prove soak chaos chaos-ha registries clients lock clean

demo: $(VENV)/.run
	@$(BIN)/disburse demo

demo-two: $(VENV)/.run
	@$(BIN)/disburse demo-two $(ARGS)

serve: $(VENV)/.run
	@$(BIN)/disburse serve --sandbox $(ARGS)

bench: $(VENV)/.run
	@$(BIN)/disburse bench $(ARGS)

test: $(VENV)/.dev
	@PYTHONDONTWRITEBYTECODE= $(BIN)/python -m pytest -n $(JOBS) --dist worksteal --maxfail 1 $(ARGS)

# The few tests that take long: whole programs, killed on their way.
test-long: $(VENV)/.dev
	@PYTHONDONTWRITEBYTECODE= $(BIN)/python -m pytest -m long $(ARGS)

check: $(VENV)/.dev
	$(BIN)/ruff check src tests scripts docs
	$(BIN)/mypy

# Longer proofs, each with a word of its own.
schema: $(VENV)/.dev
	@DISBURSE_TEST_SCHEMA_EXAMPLES=200 $(BIN)/python -m pytest -s tests/api/test_rest_schema.py $(ARGS)

kills: $(VENV)/.dev
	@$(BIN)/python -m scripts.kills $(ARGS)

registries: $(VENV)/.dev
	@$(BIN)/python -m scripts.registries $(ARGS)

chaos: $(VENV)/.dev
	@$(BIN)/python -m scripts.chaos $(ARGS)

# As root on Debian: it installs patroni, etcd-server and postgresql-15 where they are missing.
chaos-ha: $(VENV)/.dev
	@$(BIN)/python -m scripts.chaos_ha $(ARGS)
# What has to hold before a change lands, in figures; and what a night has time for, which writes docs/evidence.md.
prove: $(VENV)/.dev
	@$(BIN)/python -m scripts.evidence --soon $(ARGS)

soak: $(VENV)/.dev
	@$(BIN)/python -m scripts.evidence --seeds 3000 --chaos 3000 --beside --write $(ARGS)

clients: $(VENV)/.dev
	@$(BIN)/python -m scripts.clients $(ARGS)

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or newer is needed; set PYTHON=..."; exit 1; }
	@$(PYTHON) -m venv $(VENV) 2>/dev/null || $(PYTHON) -m venv --clear --without-pip $(VENV)

$(VENV)/.run: requirements/build.txt requirements/run.txt pyproject.toml | $(VENV)/bin/python
	@echo "Installing what Disburse needs into $(VENV) ..."
	@$(PIP) install --require-hashes -r requirements/build.txt -r requirements/run.txt
	@$(PIP) install --no-deps --no-build-isolation --editable .
	@touch $@

$(VENV)/.dev: $(VENV)/.run requirements/dev.txt
	@$(PIP) install --require-hashes -r requirements/dev.txt
	@touch $@

# uv.lock records download addresses and stays out of the repository; the exported files hold names, versions and hashes.
lock:
	uv lock --quiet --upgrade
	uv export --quiet --no-emit-project --no-dev --no-annotate --no-header -o requirements/run.txt
	uv export --quiet --no-emit-project --all-groups --no-annotate --no-header -o requirements/dev.txt
	uv export --quiet --no-emit-project --only-group build --no-annotate --no-header -o requirements/build.txt

clean:
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache
