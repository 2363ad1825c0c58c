# Everything a newcomer or CI calls. Needs Python >= 3.11 (with venv), make and a package index; nothing else.
PYTHON ?= python3
PORT   ?= 8000
VENV   := .venv
BIN    := $(VENV)/bin
PIP    := PIP_DISABLE_PIP_VERSION_CHECK=1 $(BIN)/python -m pip
RUN_STAMP := $(VENV)/.installed
DEV_STAMP := $(VENV)/.installed-dev

# Tests that start servers, fill disks, or measure time or memory run one after the other; the rest on all cores.
SERIAL := tests/api/auth tests/api/http tests/api/test_hooks.py tests/bench tests/cli tests/deploy tests/integration \
          tests/soak tests/store
# What the inner loop leaves out: thousands of drawn charts, real servers.
SLOW   := %/test_properties.py %/test_public_vignettes.py %/test_any_chart.py %/test_client.py %/test_crowd.py
QUICK  := service/logic/units.py service/logic/formulas.py tests/terminology tests/cds tests/contract/test_openapi.py \
          $(filter-out $(SLOW),$(wildcard tests/logic/test_*.py tests/fhir/test_*.py))

.PHONY: help install run test quick check bench soak format messages docs site image lock clean
help:  ## list these targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

$(RUN_STAMP): requirements.lock
	@$(PYTHON) -c 'import sys; sys.exit("Python 3.11 or newer is needed, found " + sys.version.split()[0] if sys.version_info < (3, 11) else 0)'
	@$(PYTHON) -c 'import ensurepip' 2>/dev/null || { echo "The venv module is missing: apt-get install python3-venv" >&2; exit 1; }
	@echo "Setting up $(VENV) (once) ..."
	@$(PYTHON) -m venv --clear $(VENV)
	@$(PIP) install -q --require-hashes --only-binary :all: -r requirements.lock
	@touch $@

$(DEV_STAMP): $(RUN_STAMP) requirements-dev.lock
	@echo "Installing the development tools (once) ..."
	@$(PIP) install -q --require-hashes --only-binary :all: -r requirements-dev.lock
	@touch $@

install: $(RUN_STAMP)  ## set up what the service and its command line need (once)

run: $(RUN_STAMP)  ## serve on http://127.0.0.1:8000 (PORT=…) in development mode
	@PORT=$(PORT) $(BIN)/python -m service serve

quick: $(DEV_STAMP)  ## the inner loop: vignettes, boundaries, gates, readers, terminology, the contract
	@$(BIN)/python -m pytest -n auto $(QUICK)

test: $(DEV_STAMP)  ## run the whole test suite
	@$(BIN)/python -m pytest -n auto --dist loadfile $(addprefix --ignore=,$(SERIAL))
	@$(BIN)/python -m pytest $(SERIAL)

check: $(DEV_STAMP)  ## format, lint, types, import contracts, validity of the contract and of the workflows
	@$(BIN)/python -m ruff format --check .
	@$(BIN)/python -m ruff check .
	@$(BIN)/python -m mypy
	@$(BIN)/lint-imports --no-logo
	@$(BIN)/python -m openapi_spec_validator openapi.yaml
	@$(BIN)/check-jsonschema -q --builtin-schema vendor.github-workflows .github/workflows/*.yml
	@$(BIN)/check-jsonschema -q --builtin-schema vendor.github-issue-forms $(filter-out %/config.yml,$(wildcard .github/ISSUE_TEMPLATE/*.yml))
	@$(BIN)/zizmor -q --offline .github

bench: $(DEV_STAMP)  ## CPU, latency, growth, replicas as ratios in one run, instructions where valgrind is (10 min)
	@$(BIN)/python -m bench.run

spark: $(DEV_STAMP)  ## install PySpark (460 MB, needs Java 17) and compare its engine with the built-in one
	@$(PIP) install -q --no-deps 'pyspark>=4.1' 'py4j>=0.10.9' 'universal-pathlib>=0.3' 'fsspec' 'pathlib-abc'
	@$(BIN)/python -m pytest tests/population/test_spark.py

soak: $(DEV_STAMP)  ## faults of every dependency, restarts under load, then MINUTES=4 of mixed load (9 min)
	@$(BIN)/python -m soak.run --minutes $(or $(MINUTES),4)

format: $(DEV_STAMP)  ## format and fix what can be fixed
	@$(BIN)/python -m ruff format .
	@$(BIN)/python -m ruff check --fix .

messages: $(DEV_STAMP)  ## collect the English messages and merge them into ru.po and fa.po
	@$(BIN)/pybabel -q extract -F tools/messages.cfg -k Message -k translate -k say --no-location --sort-output -o service/cds/languages/messages.pot service
	@for l in ru fa; do $(BIN)/pybabel -q update -N --ignore-obsolete --ignore-pot-creation-date -i service/cds/languages/messages.pot -o service/cds/languages/$$l.po -l $$l; done
	@rm service/cds/languages/messages.pot

docs: $(DEV_STAMP)  ## write docs/clinical.md and docs/governance/ from the knowledge
	@$(BIN)/python -m tools.clinical_page
	@$(BIN)/python -m tools.governance_page

site: $(DEV_STAMP)  ## build the documentation as a site with search, in build/site; served at /docs/guide
	@$(BIN)/python -m sphinx -q -W -b html docs build/site

image:  ## build the container image
	deploy/build-image.sh

VENDOR := service/api/pages/static/vendor
BUILD  := tools/vendor/node_modules/fhirclient
vendor:  ## take the JavaScript of others from npm by its lock file (needs npm)
	npm ci --prefix tools/vendor --omit=peer --ignore-scripts --no-audit --no-fund
	cp $(BUILD)/build/fhir-client.pure.min.js $(BUILD)/build/fhir-client.pure.min.js.LICENSE.txt $(VENDOR)
	cp $(BUILD)/LICENSE $(VENDOR)/fhir-client.LICENSE.txt
	rm -rf tools/vendor/node_modules

lock:  ## renew the lock files from pyproject.toml (needs uv)
	uv pip compile -q --universal --generate-hashes --no-annotate --python-version 3.11 pyproject.toml -o requirements.lock
	uv pip compile -q --universal --generate-hashes --no-annotate --python-version 3.11 pyproject.toml --group dev -c requirements.lock -o requirements-dev.lock
	uv pip compile -q --universal --generate-hashes --no-annotate --python-version 3.11 deploy/sbom.in -o deploy/sbom.lock

clean:  ## remove what was set up
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis
