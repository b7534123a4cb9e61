# make demo    train SID and its rivals on the embedded digits and write a report
# make test    the tests, on all cores, against the installed package, warnings are errors; one process: make test ARGS='-n 0'
# make soak    random settings, damage, kills and foreign models for an hour: make soak SECONDS=300 SEED=7
# make lint    ruff and mypy --strict
# make docs    the documentation, warnings are errors
# make wheel-check  every extra from the built wheel, in an environment of its own; minutes
# make bench   memory and time of a training step, against backpropagation
# make clean   remove the virtual environment and everything built
#
# Everything lives in .venv; a stamp file in it records each finished installation, so a second call is instant.

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
PIP    := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt
TORCH  := $(shell sed -n 's/^torch==//p' constraints.txt)
SOURCE := $(shell find src -type f -not -name '*.pyc') README.md pyproject.toml constraints.txt
DEMO   := runs/demo
BENCH  ?= benchmarks/results
SECONDS ?= 3600
SEED   ?= 0

.PHONY: demo test soak lint docs wheel-check bench clean check-python check-torch
.DELETE_ON_ERROR:

demo: $(VENV)/.demo check-torch
	@if [ -d $(DEMO) ]; then rm -rf $(DEMO)-previous && mv $(DEMO) $(DEMO)-previous; fi
	$(BIN)/torchsid train digits digits-bp digits-bp-plain --out $(DEMO)
	@echo "The report: $(DEMO)/report.html"

test: $(VENV)/.dev check-torch
	$(BIN)/python -m pytest --numprocesses logical --maxprocesses 8 --dist worksteal $(ARGS)

soak: $(VENV)/.dev check-torch
	$(BIN)/python -m tests.fuzz.soak --seconds $(SECONDS) --seed $(SEED) --json $(BENCH)/soak.json

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

docs: $(VENV)/.docs
	$(BIN)/python -m sphinx -W --keep-going -b html docs docs/_build/html

wheel-check: $(VENV)/.dev check-torch
	$(PIP) twine
	$(BIN)/python -m tests.wheel $(ARGS)

bench: $(VENV)/.demo check-torch
	$(BIN)/torchsid bench step --json $(BENCH)/step.json
	$(BIN)/torchsid bench step --model resnet-18 vgg-11 vit-tiny --json $(BENCH)/trunks.json --figure $(BENCH)/trunks.svg --trace
	$(BIN)/torchsid bench memory --json $(BENCH)/memory.json
	$(BIN)/torchsid bench memory --model mlp --blocks 8 256 --json $(BENCH)/memory-depth.json

clean:
	rm -rf $(VENV) build dist docs/_build docs/_generated .mypy_cache .ruff_cache .pytest_cache .hypothesis .coverage
	find src tests -type d -name __pycache__ -prune -exec rm -rf {} +

# The installations. The package itself is built and installed (never "-e"), again whenever a source has changed.
$(VENV)/.demo: EXTRAS := files,jxl,report
$(VENV)/.dev:  EXTRAS := files,jxl,report,tensorboard,mlflow,dev
$(VENV)/.docs: EXTRAS := report,sklearn,onnx,docs
$(VENV)/.demo $(VENV)/.dev $(VENV)/.docs: $(VENV)/.torch $(SOURCE)
	$(PIP) --no-build-isolation '.[$(EXTRAS)]'
	@touch $@

$(VENV)/.torch: constraints.txt | check-python
	$(PYTHON) -m venv $(VENV)
	$(PIP) torch==$(TORCH) hatchling
	@touch $@

check-python:
	@command -v $(PYTHON) >/dev/null || \
	  { echo "$(PYTHON) not found; on Debian and Ubuntu: sudo apt install python3 python3-venv" >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "$(PYTHON) is older than 3.11; name a newer one: make PYTHON=python3.11" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || \
	  { echo "$(PYTHON) cannot make virtual environments; on Debian and Ubuntu: sudo apt install python3-venv" >&2; exit 1; }

check-torch: | $(VENV)/.torch
	@found=$$($(BIN)/python -c 'from importlib.metadata import version; print(version("torch").partition("+")[0])'); \
	  [ "$$found" = "$(TORCH)" ] || \
	  { echo "torch $$found is installed instead of $(TORCH); run: make clean" >&2; exit 1; }
