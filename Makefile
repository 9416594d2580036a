# Everything that a fresh clone needs is set up in .venv by the targets themselves; nothing global, no root.

VENV   := .venv
BIN    := $(VENV)/bin
PIP    := $(BIN)/python -m pip --quiet --disable-pip-version-check
# The first Python that is new enough; PYTHON=... chooses another.
PYTHON ?= $(shell for python in python3.13 python3.12 python3.11 python3 python; do \
	$$python -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1 && echo $$python && break; done)
JOBS   ?= 2

.DEFAULT_GOAL := help
.PHONY: help run test spec check format quickstart bench bench-install soak fuzz clean

help: ## Show this list
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 20

run: $(VENV)/run.stamp ## Start the server with its defaults, data in ./data
	@exec $(BIN)/wardenmq serve --data-dir ./data

test: $(VENV)/dev.stamp ## Run all tests
	$(BIN)/python -m pytest -q -n $(JOBS) --dist worksteal

spec: | $(BIN)/python ## Print which statements of the MQTT standards the code and the tests name
	$(BIN)/python tests/spec/coverage.py

check: $(VENV)/dev.stamp ## Lint, check the format and the types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/basedpyright

format: $(VENV)/dev.stamp ## Format the code and sort the imports
	$(BIN)/ruff check --select I --fix .
	$(BIN)/ruff format .

quickstart: $(VENV)/dev.stamp ## Go through the README's steps on a server of their own
	PATH="$(CURDIR)/$(BIN):$$PATH" examples/quickstart.sh

bench: $(VENV)/dev.stamp ## Compare with mosquitto, aedes and amqtt, ten minutes; BENCH="--quick" takes six
	$(BIN)/python bench/compare.py $(BENCH)

bench-install: ## Fetch what bench compares with: mosquitto through apt-get (as root), aedes through npm
	@command -v mosquitto >/dev/null 2>&1 || test -x /usr/sbin/mosquitto || { \
		test "$$(id -u)" = 0 || { echo "Install mosquitto first, or run this as root." >&2; exit 1; }; \
		apt-get update && apt-get install --yes --no-install-recommends mosquitto; }
	@command -v npm >/dev/null 2>&1 && node -e 'process.exit(parseInt(process.versions.node) < 20 ? 1 : 0)' || { \
		echo "aedes needs node 20 or newer with npm; they were not found." >&2; exit 1; }
	npm install --prefix bench/.peers --no-save --no-audit --no-fund aedes@1.2.0

soak: $(VENV)/dev.stamp ## Let 5 of 100 subscribers never read, then 2,000 mixed clients come and go; ten minutes in all
	@status=0; $(BIN)/python bench/slow_consumer.py --seconds 20 || status=1; \
		$(BIN)/python bench/soak.py --seconds 480 $(SOAK) || status=1; exit $$status

fuzz: $(VENV)/dev.stamp ## Feed the decoders, the routing, the hot path, the importers and the API made-up input, some fifteen minutes
	$(BIN)/python -m pytest -q -n $(JOBS) --hypothesis-profile=fuzz tests/protocol tests/routing tests/engine/test_runs.py tests/listeners/test_proxy_protocol.py tests/store/importing/test_any_input.py \
		tests/store/test_file_rules.py tests/mgmt_api/test_hocon.py tests/mgmt_api/test_any_request.py

clean: ## Remove what the other targets made, ./data excepted
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(BIN)/python:
	@test -n "$(PYTHON)" || { echo "wardenmq needs Python 3.11 or newer; none was found (name one with PYTHON=...)." >&2; exit 1; }
	@$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); \
		echo "$(PYTHON) could not make a virtual environment; on Debian and Ubuntu, install python3-venv." >&2; exit 1; }

# uvloop makes the server faster but has no wheels for some platforms; without it asyncio's own loop is used.
$(VENV)/run.stamp: pyproject.toml | $(BIN)/python
	$(PIP) install --editable '.[fast]' || $(PIP) install --editable .
	@touch $@

$(VENV)/dev.stamp: pyproject.toml $(VENV)/run.stamp
	$(PIP) install --editable '.[test,lint]'
	@touch $@
