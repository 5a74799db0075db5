# Every target makes .venv and installs what it needs by itself; a second run installs nothing.
# Needed beforehand: Python 3.11 or newer with its venv module, make, gcc.

.DEFAULT_GOAL := help
.PHONY: help demo test test-long check bench clean
.DELETE_ON_ERROR:

VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/installed
JOBS ?= 2
SOURCES := backupcore drivers tests $(if $(wildcard benchmarks/*.py),benchmarks)
CANDIDATES := python3 python3.14 python3.13 python3.12 python3.11

help:  ## list the targets
	@sed -n 's/^\([a-z-]*\):.*  ## \(.*\)/make \1|\2/p' Makefile | column -t -s '|' 2>/dev/null \
	  || sed -n 's/^\([a-z-]*\):.*  ## /make \1: /p' Makefile

demo: $(STAMP)  ## back a volume up, change it, restore it, and show what it cost
	$(BIN)/python benchmarks/demo.py

test: $(STAMP)  ## run the tests, except the long ones and those of `make check`, with the coverage gate (JOBS=2)
	$(BIN)/pytest --ignore=tests/test_tidy.py -m 'not long' -n $(JOBS) --dist loadgroup --cov --cov-report=term:skip-covered

test-long: $(STAMP)  ## run the long tests: wider searches of the model, many more seeds
	$(BIN)/pytest -m long

check: $(STAMP)  ## lint, format, types, floors, house rules
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy $(SOURCES)
	$(BIN)/pyright
	$(BIN)/lint-imports
	$(BIN)/pytest -q tests/test_tidy.py

bench: $(STAMP)  ## measure in some minutes; results go to build/*.json
	@mkdir -p build
	$(BIN)/pytest benchmarks --benchmark-json=build/benchmark.json
	$(BIN)/python -m benchmarks.limit --size 1GiB --rounds 5 --json build/limit.json
	$(BIN)/python -m benchmarks.churn --size 1GiB --rounds 5 --chunk-size 32KiB --json build/churn.json

clean:  ## remove .venv and everything that was built or cached
	rm -rf $(VENV) build dist .coverage .benchmarks .hypothesis .import_linter_cache \
	  .mypy_cache .pytest_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# The newest Python of the candidates that can make a virtual environment.
define make_venv
set -eu; best=; best_version=0; without_venv=; \
for name in $(CANDIDATES); do \
  version=$$($$name -c 'import sys; print("%d%02d" % sys.version_info[:2])' 2>/dev/null) || continue; \
  [ "$$version" -ge 311 ] || continue; \
  $$name -c 'import ensurepip, venv' 2>/dev/null || { without_venv=$$name; continue; }; \
  if [ "$$version" -gt "$$best_version" ]; then best=$$name; best_version=$$version; fi; \
done; \
if [ -z "$$best" ] && [ -n "$$without_venv" ]; then \
  echo "error: $$without_venv has no venv module: install it, on Debian and Ubuntu:" >&2; \
  echo "       apt-get install $$($$without_venv -c 'import sys; print("python%d.%d-venv" % sys.version_info[:2])')" >&2; \
  exit 1; \
elif [ -z "$$best" ]; then \
  echo "error: no Python 3.11 or newer among: $(CANDIDATES)" >&2; exit 1; \
fi; \
echo "making $(VENV) with $$best"; \
$$best -m venv --clear $(VENV)
endef

$(STAMP): pyproject.toml $(wildcard backupcore/chunk/native/*.[ch]) backupcore/chunk/native/build.py
	@$(BIN)/python -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null \
	  && $(BIN)/python -m pip --version >/dev/null 2>&1 || { $(make_venv); }
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	@touch $@
