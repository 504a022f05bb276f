# Every target makes .venv by itself and uses it again; PYTHON chooses the interpreter.
PYTHON ?= python3
BIN = .venv/bin

.PHONY: test demo clean

# ruff lint and format check, mypy, pytest
test: .venv/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python -m pytest

.venv/installed: setup.py constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check \
		--constraint constraints.txt --editable '.[trainer,analysis,dev]'
	touch $@

clean:
	rm -rf .venv demo build *.egg-info .mypy_cache .pytest_cache .ruff_cache
