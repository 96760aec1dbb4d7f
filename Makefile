# Two commands do all the set-up: `make run` serves hookshelf here, `make test` checks it.
PYTHON ?= python3
PORT ?= 8000
VENV := .venv
BIN := $(VENV)/bin

STAGE ?= dev
ARCH ?= arm64

.PHONY: run test test-all lint package deploy smoke-aws bench clean

run: $(VENV)/run.done ## serve the app on 127.0.0.1:$(PORT), archive in ./archive/
	@exec $(BIN)/python -m hookshelf.local.serve --port $(PORT)

test: lint ## lint, types, and all but the slowest tests; four at once, as many only wait
	$(BIN)/pytest -q -n 4 --dist loadgroup -m "not slow"

test-all: lint ## everything, the slow suites too
	$(BIN)/pytest -q -n 4 --dist loadgroup

lint: $(VENV)/test.done
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

package: $(VENV)/run.done ## the zip and the template of every stage, in build/
	@$(BIN)/python -m hookshelf.deploy.package --arch $(ARCH)

deploy: $(VENV)/run.done ## hookshelf deploy --stage $(STAGE); BUCKET=name ARGS=--create-bucket the first time
	@$(BIN)/hookshelf deploy --stage $(STAGE) $(if $(BUCKET),--bucket $(BUCKET)) $(ARGS)

smoke-aws: $(VENV)/run.done ## check on AWS what only AWS can show, and remove it again; ARGS=--help
	@$(BIN)/python -m hookshelf.smoke $(ARGS)

bench: $(VENV)/test.done ## what receiving costs beside its peers, at most 40 minutes; ARGS=--help
	@$(BIN)/python -m bench.receive $(ARGS)

clean: ## remove the virtual environment and what was packaged; the archive stays
	rm -rf $(VENV) build

$(VENV)/pyvenv.cfg:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "hookshelf needs Python 3.11 or newer. Try: make PYTHON=python3.13 run")'
	$(PYTHON) -m venv $(VENV)

$(VENV)/run.done: $(VENV)/pyvenv.cfg pyproject.toml requirements.txt
	$(BIN)/pip install --quiet --disable-pip-version-check -e '.[cli]'
	@touch $@

$(VENV)/test.done: $(VENV)/pyvenv.cfg pyproject.toml requirements.txt requirements-dev.txt
	$(BIN)/pip install --quiet --disable-pip-version-check -r requirements-dev.txt
	@touch $@ $(VENV)/run.done
