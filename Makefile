# make env | demo | test | test-arm | test-bundles | test-faults | lint | docs | clean. Everything lives in .venv; an environment that is active is not used.
# PYTHON=/path/to/python3.12 picks the interpreter, WORKERS=0 runs the tests in one process, FAST=1 leaves long tests out,
# ARGS=... is given to pytest.

WORKERS ?= 2
SEED ?= $(shell date +%s)
KILLS ?= 20
DISKS ?= 16
EXPORTS ?= 3
QUICK := not (arm or bundles or data or long or slow)
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.edgekit-installed

# the first interpreter that runs, is new enough and can make environments; a pyenv shim may be none of these
PROBE := import ensurepip, sys, venv; sys.exit("too old") if sys.version_info < (3, 11) else print(sys.executable)
PYTHON ?= $(firstword $(foreach name,python3.11 python3 python3.12 python3.13,$(shell $(name) -c '$(PROBE)' 2>/dev/null)))

unexport PYTHONHOME PYTHONPATH

.PHONY: env demo test test-arm test-bundles test-faults lint docs clean

env: $(STAMP)

$(STAMP): pyproject.toml constraints.txt runner/pyproject.toml
	@test -n '$(PYTHON)' || { echo 'edgekit needs Python 3.11 or newer with venv and ensurepip: make env PYTHON=...' >&2; exit 2; }
	test -x $(BIN)/python || '$(PYTHON)' -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade 'pip>=25.1'
	$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[imagenet]' --group dev
	@touch $@

demo: env
	$(BIN)/edgekit demo -o out/demo

# loadfile: tests of one file share their module's fixtures, so no net is exported twice; long files come first, as tests/conftest.py
# orders them; a failure is shown at once
test: env
	$(BIN)/python -m pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder --instafail $(if $(FAST),-m '$(QUICK)') $(ARGS)

# files of both runtimes on emulated ARM CPUs; the emulator and its packages are set up on first use, in .cache/
test-arm: env
	$(BIN)/python -m pytest -n $(WORKERS) --dist loadfile tests/arm -m 'arm or not arm' -rs --durations=0 $(ARGS)

# bundles in Gradle, aapt2, kotlinc, tsc, node and Chromium; what is not installed is skipped with the reason
test-bundles: env
	-$(BIN)/python -m pip install --quiet -c constraints.txt --group bundles
	$(BIN)/python -m pytest tests/package tests/report tests/device -m bundles -rs --durations=0 $(ARGS)

# damage, hostile text and tasks, full disks, little memory, other users, the network, and beside it kills, as tables; the seed is printed
FAULTS := tests/task_files/small.py:task -t x86-server -t arm-mobile -t tflite-int8 -t coreml-fp16 --seed $(SEED)
test-faults: env
	$(BIN)/python benchmarks/resume.py $(FAULTS) --kills $(KILLS) & kills=$$!; \
	$(BIN)/python benchmarks/faults.py $(FAULTS) --jobs 2 --disks $(DISKS) --exports $(EXPORTS); found=$$?; wait $$kills && exit $$found

lint: env
	$(BIN)/lint-imports --no-logo
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/codespell

# the pages of docs/ as a site in site/; a broken link or a name that is gone is an error
docs: env
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

clean:
	rm -rf $(VENV) out site dist build .coverage .coverage.* coverage.xml .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find edgekit runner tests examples -name __pycache__ -type d -prune -exec rm -rf {} +
