# Two commands do all the set-up: `make run` serves hookshelf here, `make test` checks it.
PYTHON ?= python3
PORT ?= 8000
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/pip install --quiet --disable-pip-version-check
# Compiled once, and not anew by every worker and every process that a test starts.
unexport PYTHONDONTWRITEBYTECODE
# Three at once, as many only wait; tests of one group share what they set up.
PYTEST := $(BIN)/pytest -q -n 3 --dist loadgroup --no-loadscope-reorder

STAGE ?= dev

.PHONY: run demo test test-slow test-all faults fuzz soak coverage lint simulate mutants package deploy smoke-aws screenshot bench pins clean

run: $(VENV)/run.done ## serve the app on 127.0.0.1:$(PORT), archive in ./archive/
	@exec $(BIN)/python -m hookshelf.local.serve --port $(PORT)

demo: $(VENV)/run.done ## fill an archive of its own with a month of webhooks; ARGS=--help
	@$(BIN)/python -m hookshelf.local.demo $(ARGS)

test: lint ## for every save: lint, types, and all tests but the slow and the heavy ones
	$(PYTEST) -m "not slow and not heavy"

test-slow: $(VENV)/test.done ## the slow ones that need nothing but Python and what pip installs
	$(PYTEST) -m "slow and not heavy"

test-all: lint ## everything, and 2,000 examples of each property
	$(PYTEST) --hypothesis-profile=thorough

faults: $(VENV)/test.done ## whatever fails, through every entry point, in one table
	$(PYTEST) tests/faults --fault-table -m "not heavy"

fuzz: $(VENV)/test.done ## whatever bytes, under atheris, ten minutes for each target; ARGS=-max_total_time=60
	$(PIP) 'atheris>=3,<4'
	@cd tests && for target in $$(ls fuzz/corpus); do \
		../$(BIN)/python -m fuzz $$target -max_total_time=600 $(ARGS) || exit 1; done

soak: $(VENV)/test.done ## senders, faults, compactor and readers for an hour; ARGS='--minutes 60 --rate 50'
	@PYTHONPATH=.:tests $(BIN)/python -m faults.soak $(ARGS)

coverage: $(VENV)/test.done ## which lines and branches no test runs, with the slow ones; build/coverage/index.html
	$(PIP) 'pytest-cov>=7,<8'
	$(PYTEST) -m "not heavy" --cov --cov-report=html $(ARGS)
	@$(BIN)/coverage report --include='app.py,chalicelib/*' --fail-under=100
	@$(BIN)/coverage report --include='hookshelf/reading/*' --fail-under=95
	@$(BIN)/coverage report --fail-under=90 | tail -1

lint: $(VENV)/test.done
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

simulate: $(VENV)/test.done ## ten thousand seeds of time, faults, kills and races; ARGS='--seed 4711', --help
	@PYTHONPATH=.:tests $(BIN)/python -m simulation $(ARGS)

mutants: $(VENV)/test.done ## change the code that lets in, checks and keeps, and see whether a test fails; ARGS='chalicelib.keys*'
	$(PIP) 'mutmut>=3.8.1,<4'
	$(BIN)/mutmut run $(ARGS)
	@$(BIN)/mutmut results

package: $(VENV)/run.done ## the zip and the template of every stage, in build/
	@$(BIN)/python -m hookshelf.deploy $(if $(ARCH),--arch $(ARCH)) $(if $(BUCKET),--bucket $(BUCKET)) $(ARGS)

deploy: $(VENV)/run.done ## hookshelf deploy --stage $(STAGE); BUCKET=name ARGS=--create-bucket the first time
	@$(BIN)/hookshelf deploy --stage $(STAGE) $(if $(BUCKET),--bucket $(BUCKET)) $(ARGS)

smoke-aws: $(VENV)/run.done ## check on AWS what only AWS can show, and remove it again; ARGS=--help
	@$(BIN)/python -m hookshelf.smoke $(ARGS)

screenshot: $(VENV)/test.done ## docs/browse.png anew, which a test says is stale; it needs a Chromium
	@PYTHONPATH=tests $(BIN)/python -m support.screenshot

bench: $(VENV)/test.done ## every bench, then the table of docs/proof.md and the charts; ARGS=--help
	@$(BIN)/python -m bench $(ARGS)

PINS := --quiet --upgrade --generate-hashes --strip-extras --no-emit-index-url --no-emit-find-links

pins: $(VENV)/test.done ## what ships anew from requirements*.in: the newest versions, with hashes
	$(BIN)/pip-compile $(PINS) --output-file=requirements.txt requirements.in
	$(BIN)/pip-compile $(PINS) --output-file=requirements-compactor.txt requirements-compactor.in

clean: ## remove the virtual environment, what was packaged and what was mutated; the archive stays
	rm -rf $(VENV) build mutants

$(VENV)/pyvenv.cfg:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "hookshelf needs Python 3.11 or newer. Try: make PYTHON=python3.13 run")'
	$(PYTHON) -m venv $(VENV)

$(VENV)/run.done: $(VENV)/pyvenv.cfg pyproject.toml requirements.in requirements.txt
	$(PIP) --require-hashes -r requirements.txt
	$(PIP) -e '.[cli,page]'
	@touch $@

$(VENV)/test.done: $(VENV)/pyvenv.cfg pyproject.toml requirements.in requirements.txt requirements-dev.txt
	$(PIP) --require-hashes -r requirements.txt
	$(PIP) -r requirements-dev.txt
	@touch $@ $(VENV)/run.done
