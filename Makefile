# `make chat` and `make test` set up everything they need on a fresh machine.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

PIP := -m pip install --quiet --disable-pip-version-check --constraint constraints.txt

.PHONY: help chat test test-torch lint docs bench wheel clean
help:            ## what can be made
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST)

$(BIN)/bb3: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python $(PIP) --editable .
	@touch $@

$(VENV)/.dev: pyproject.toml constraints.txt | $(BIN)/bb3
	$(BIN)/python $(PIP) --editable '.[dev]'
	@touch $@

$(VENV)-torch/.dev: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)-torch
	$(VENV)-torch/bin/python $(PIP) torch
	$(VENV)-torch/bin/python $(PIP) --editable '.[torch,dev]'
	@touch $@

chat: $(BIN)/bb3  ## talk in the terminal
	@$(BIN)/bb3 chat $(ARGS)

test: $(VENV)/.dev  ## run the whole test suite
	$(BIN)/python -m pytest $(ARGS)

test-torch: $(VENV)-torch/.dev  ## run the tests of the networks, which need torch
	$(VENV)-torch/bin/python -m pytest tests/nets tests/checkpoints \
		tests/lm/test_r2c2.py tests/lm/test_network.py tests/benchmarks \
		tests/chat/test_golden_r2c2.py tests/cli/test_convert.py $(ARGS)

lint: $(VENV)/.dev  ## style, types and import contracts
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

docs: $(VENV)/.dev  ## write the generated parts of docs/ anew
	$(BIN)/python -m bb3.cli.docs

bench: $(BIN)/bb3  ## measure this machine; tables and benchmarks/results/*.json
	$(BIN)/python benchmarks/run.py $(ARGS)

wheel: $(VENV)/.dev  ## build dist/*.whl
	$(BIN)/python $(PIP) build
	$(BIN)/python -m build --wheel

clean:           ## remove what was made (not your data)
	rm -rf $(VENV) $(VENV)-torch build dist .pytest_cache .mypy_cache .ruff_cache
