# Every target makes .venv by itself and uses it again; PYTHON chooses the interpreter.
PYTHON ?= python3
BIN = .venv/bin

# What `make demo` works on: made-up drawings, or with DATA=DIR the ndjson files in DIR.
DATA =
DRAWINGS = $(or $(DATA),demo/drawings)
# As many drawings of each category as the smallest file (a category) has, at most 22,800 in all, so
# that a demo takes minutes on any data; a fifth of them validate.
QUOTAS = awk '!/ total$$/ {files++; if (files == 1 || $$1 < least) least = $$1} END {if (files) { \
	n = int(22800 / files); if (least < n) n = least; v = int(n / 5); \
	printf "--train_per_category=%d --validation_per_category=%d", n - v, v}}'

.PHONY: test demo bench-pipeline bench-trainer clean

# ruff lint and format check, mypy, pytest
test: .venv/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python -m pytest --numprocesses=auto --dist=loadfile

# The whole way once, into demo/: drawings, data set, model, predictions, pictures
demo: .venv/installed
	rm -rf demo
ifndef DATA
	$(BIN)/python -m pipeline.synthetic --output=demo/drawings --drawings_per_category=1900
endif
	@quotas=$$(wc -l "$(DRAWINGS)"/*.ndjson 2>/dev/null | $(QUOTAS)); set -x; \
	$(BIN)/python -m pipeline.main --input="$(DRAWINGS)/*.ndjson" --output=demo/data $$quotas
	$(BIN)/python -m analysis.contact_sheet --dataset=demo/data --output=demo/drawings.png
	$(BIN)/python -m trainer.main --dataset=demo/data --run_dir=demo/run --experiment=demo --epochs=6
	head -qn 1 "$(DRAWINGS)"/*.ndjson | head -n 6 | \
		$(BIN)/python -m trainer.predict --run_dir=demo/run -
	$(BIN)/python -m analysis.plot_histories --run_dir=demo/run --output=demo/history.png,demo/history.svg
	$(BIN)/python -m analysis.summary --dataset=demo/data --run_dir=demo/run
	$(BIN)/python -m analysis.report --run_dir=demo/run --output=demo/report.html
	@printf '\nreport    demo/report.html: open it in a browser\n'
	@printf 'pictures  demo/drawings.png, demo/history.png, demo/history.svg\n'

# Speed and memory of the pipeline beside the study's plain loop, on the drawings in DATA
bench-pipeline: .venv/installed
	$(BIN)/python -m pipeline.benchmark --input="$(DATA)/*.ndjson"

# Speed and memory of the trainer beside the usual ways, on the drawings in DATA
bench-trainer: .venv/installed
	$(BIN)/python -m trainer.benchmark --input="$(DATA)/*.ndjson"

.venv/installed: setup.py constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check \
		--constraint constraints.txt --editable '.[trainer,analysis,dev]'
	touch $@

clean:
	rm -rf .venv demo build *.egg-info .mypy_cache .pytest_cache .ruff_cache
