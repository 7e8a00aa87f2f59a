# gpt2-lite: every command a reader or CI types. `make` lists them.
PYTHON ?= python3
VENV := .venv
PY := $(VENV)/bin/python
READY := $(VENV)/.ready
COLAB := build/colab-venv
CPU_TORCH := https://download.pytorch.org/whl/cpu

.DEFAULT_GOAL := help
.PHONY: help course test test-parts test-reruns test-dist lab notebooks figures test-colab test-t4 lm-eval gpu hub wheel address clean

help:  ## list these commands
	@sed -n 's/^\([a-z0-9-]*\):.*## /  make \1|/p' $(MAKEFILE_LIST) | awk -F'|' '{printf "%-20s %s\n", $$1, $$2}'

course: $(READY)  ## run every notebook in a copy under build/, a line for each
	@$(PY) -m gpt2lite fetch || echo "fetch did not finish: the notebooks say what they do without"
	@$(PY) .ci/notebooks.py course

test: $(READY)  ## lint, unit tests, and every notebook through nbval
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	OMP_NUM_THREADS=1 $(PY) -m pytest -q -n 2 --dist loadfile --nbval-lax --nbval-current-env --nbval-cell-timeout=180 notebooks tests

test-parts: $(READY)  ## run the notebooks with every part written: all right, and all wrong
	$(PY) -m pytest -q -m long tests/test_parts.py

test-reruns: $(READY)  ## run their cells twice, interrupted, and at other dials (hours; ONLY=01_architecture: one)
	$(PY) -m pytest -q -m long tests/test_reruns.py tests/test_interrupts.py --durations=0 $(if $(ONLY),-k "$(ONLY)")

test-dist: $(READY)  ## kill and stop processes that train together, and see the run go on (half an hour)
	$(PY) -m pytest -q -s -m "long or not long" tests/test_distributed.py tests/test_prepare.py --durations=0

lab: $(READY)  ## open JupyterLab on your own copy of the notebooks, in my_notebooks/
	@$(PY) .ci/lab.py
	@$(PY) -m jupyter lab --ServerApp.root_dir="$(CURDIR)/my_notebooks"

notebooks: $(READY)  ## run the notebooks in place (lite profile) and store clean outputs
	@$(PY) .ci/notebooks.py store

figures: $(READY)  ## draw images/ again
	@$(PY) -m gpt2lite.course.figures

test-colab: $(COLAB)/.ready  ## run the notebooks with the versions that Colab has
	@GPT2LITE_PROFILE=lite PYDEVD_DISABLE_FILE_VALIDATION=1 $(COLAB)/bin/python .ci/notebooks.py course --build build/colab

test-t4: $(READY)  ## run the notebooks, and the tests that ask for a device, on a stand-in for Colab's T4
	PYTHONPATH=tests $(PY) -m pytest -q -p t4 --nbval-lax --nbval-current-env --nbval-cell-timeout=180 tests/test_device.py tests/test_cli.py tests/test_gpu.py tests/test_t4.py notebooks

lm-eval: $(READY)  ## compare our scores with lm-evaluation-harness's own, on the course's 20 questions
	@$(PY) -m pip install -qq -c constraints.txt -e ".[dev,lm-eval]"
	@$(PY) .ci/harness.py

gpu: $(READY)  ## measure on this machine's GPU, 25 minutes at most; again to go on (notebooks/recorded/gpu.json)
	@$(PY) benchmarks/gpu.py $(if $(PEER),--peer $(PEER))

hub: $(READY)  ## measure OpenAI's weights, where the hub answers (notebooks/recorded/hub.json)
	@$(PY) benchmarks/hub.py

wheel: $(READY)  ## build the package into dist/, to upload where the repository can't be reached
	@rm -rf build/lib && $(PY) -m pip wheel -q --no-deps --wheel-dir dist . && ls dist/gpt2lite-*.whl

address:  ## make address REPO=owner/name: write the repository's address everywhere
	@$(PYTHON) .ci/address.py "$(REPO)"

clean:  ## remove what the commands made (.venv, build, caches)
	rm -rf $(VENV) build *.egg-info .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# Set-up happens once, and again when what it depends on changes.
$(READY): pyproject.toml constraints.txt .ci/check_python.py
	@$(PYTHON) .ci/check_python.py
	@echo "Setting up $(VENV): PyTorch, Jupyter and the course's package, once (about two minutes, 2 GB)"
	@$(PYTHON) -m venv --clear $(VENV)
	@index=$$($(PY) .ci/check_python.py --torch-index $(CPU_TORCH)); \
	$(PY) -m pip install -qq -c constraints.txt $$index torch
	@$(PY) -m pip install -qq -c constraints.txt -e ".[dev]"
	@touch $@

# Colab's own versions; its torch is a CUDA build, so the tested one stands in for it. The package comes without its
# dependencies, as the notebooks' first cell installs it.
$(COLAB)/.ready: .ci/colab.txt pyproject.toml constraints.txt .ci/check_python.py
	@$(PYTHON) .ci/check_python.py
	@echo "Setting up $(COLAB) with Colab's versions, once (about two minutes, 2 GB)"
	@$(PYTHON) -m venv --clear $(COLAB)
	@index=$$($(COLAB)/bin/python .ci/check_python.py --torch-index $(CPU_TORCH)); \
	grep '^torch==' constraints.txt | $(COLAB)/bin/python -m pip install -qq $$index -r /dev/stdin
	@$(COLAB)/bin/python -m pip install -qq -r .ci/colab.txt
	@$(COLAB)/bin/python -m pip install -qq --no-deps .
	@$(COLAB)/bin/python .ci/stand_in_colab.py
	@touch $@
