# Every target makes .venv by itself and uses it again; PYTHON chooses the interpreter.
PYTHON ?= python3
BIN = .venv/bin

# What `make demo` works on: made-up drawings, or with DATA=DIR the ndjson files in DIR.
DATA =
DRAWINGS = $(or $(DATA),demo/drawings)
# About 18,000 training and 4,800 validation drawings, however many files (categories) there are.
PER_CATEGORY = $(shell ls "$(DRAWINGS)"/*.ndjson 2>/dev/null | wc -l | \
	awk '{n = $$1 ? $$1 : 1; printf "--train_per_category=%d --validation_per_category=%d", 18000 / n, 4800 / n}')

.PHONY: test demo clean

# ruff lint and format check, mypy, pytest
test: .venv/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python -m pytest

# The whole way once, into demo/: drawings, data set, model, predictions, pictures
demo: .venv/installed
	rm -rf demo
ifndef DATA
	$(BIN)/python -m pipeline.synthetic --output=demo/drawings --drawings_per_category=1900
endif
	$(BIN)/python -m pipeline.main --input="$(DRAWINGS)/*.ndjson" --output=demo/data $(PER_CATEGORY)
	$(BIN)/python -m analysis.contact_sheet --dataset=demo/data --output=demo/drawings.png
	$(BIN)/python -m trainer.main --dataset=demo/data --run_dir=demo/run --experiment=demo --epochs=6
	head -qn 1 "$(DRAWINGS)"/*.ndjson | head -n 6 | $(BIN)/python -m trainer.predict --run_dir=demo/run -
	$(BIN)/python -m analysis.plot_histories --run_dir=demo/run --output=demo/history.png,demo/history.svg
	$(BIN)/python -m analysis.summary --dataset=demo/data --run_dir=demo/run

.venv/installed: setup.py constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check \
		--constraint constraints.txt --editable '.[trainer,analysis,dev]'
	touch $@

clean:
	rm -rf .venv demo build *.egg-info .mypy_cache .pytest_cache .ruff_cache
