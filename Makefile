# `make chat` and `make test` set up everything they need on a fresh machine.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: help chat test lint docs bench wheel clean
help:            ## what can be made
	@grep -E '^[a-z]+: .*##|^[a-z]+:  *##' $(MAKEFILE_LIST) | sed 's/:.*##/\t/'

$(BIN)/bb3: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable .
	@touch $@

$(VENV)/.dev: pyproject.toml $(BIN)/bb3
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	@touch $@

chat: $(BIN)/bb3  ## talk in the terminal
	@$(BIN)/bb3 chat $(ARGS)

test: $(VENV)/.dev  ## run the whole test suite
	$(BIN)/python -m pytest $(ARGS)

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
	$(BIN)/python -m pip install --quiet --disable-pip-version-check build
	$(BIN)/python -m build --wheel

clean:           ## remove what was made (not your data)
	rm -rf $(VENV) build dist .pytest_cache .mypy_cache .ruff_cache
