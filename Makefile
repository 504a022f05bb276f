# Every target makes .venv by itself and uses it again; PYTHON chooses the interpreter.
PYTHON ?= python3
BIN = .venv/bin
INSTALL = $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt

# What `make demo` works on: made-up drawings, or with DATA=DIR the ndjson files in DIR.
DATA =
# How many of each category are made up.
MADE_UP = 1900
DRAWINGS = $(or $(DATA),demo/drawings)
# As many drawings of each category as the smallest file (a category) has, at most 22,800 in all, so
# that a demo takes minutes on any data; a fifth of them validate.
QUOTAS = awk '!/ total$$/ {files++; if (files == 1 || $$1 < least) least = $$1} END {if (files) { \
	n = int(22800 / files); if (least < n) n = least; v = int(n / 5); \
	printf "--train_per_category=%d --validation_per_category=%d", n - v, v}}'

.PHONY: test test-slow test-engines demo draw bench-pipeline bench-growth bench-trainer bench-serve bench-web results trials pretrained clean

# ruff lint and format check, mypy, pytest
test: .venv/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python -m pytest --numprocesses=auto --dist=loadfile

# Kills and failures at many more moments
test-slow: .venv/installed
	$(BIN)/python -m pytest -m slow --numprocesses=auto

# The pipeline on distributed engines, which are downloaded into .engines/ first; -rs: what is left out
test-engines: .venv/installed
	$(BIN)/python -m pytest -m engines -rs

# The whole way once, into demo/: drawings, data set, model, predictions, pictures
demo: .venv/installed-demo
	rm -rf demo
ifndef DATA
	$(BIN)/python -m pipeline.synthetic --output=demo/drawings --drawings_per_category=$(MADE_UP)
endif
	@quotas=$$(wc -l "$(DRAWINGS)"/*.ndjson 2>/dev/null | $(QUOTAS)); set -x; \
	$(BIN)/python -m pipeline.main --input="$(DRAWINGS)/*.ndjson" --output=demo/data $$quotas
	$(BIN)/python -m analysis.contact_sheet demo/data -o demo/drawings.png
	$(BIN)/python -m trainer.main --dataset=demo/data --run_dir=demo/run --experiment=small
	head -qn 1 "$(DRAWINGS)"/*.ndjson | head -n 6 | \
		$(BIN)/python -m trainer.predict --run_dir=demo/run -
	$(BIN)/python -m analysis.plot_histories demo/run -o demo/history.png,demo/history.svg
	$(BIN)/python -m analysis.summary demo/run
	$(BIN)/python -m analysis.report demo/run -o demo/report.html
	@printf '\nreport    demo/report.html: open it in a browser\n'
	@printf 'pictures  demo/drawings.png, demo/history.png, demo/history.svg\n'

# A page to draw on, http://127.0.0.1:8000; FLAGS=--run_dir=demo/run serves the demo's model
draw: .venv/installed-demo
	$(BIN)/python -m trainer.serve --open $(FLAGS)

# The benchmarks measure on the simplified ndjson files in DATA, with other sizes by FLAGS:
# make bench-pipeline DATA=DIR FLAGS=--drawings=100000; `python -m benchmarks.pipeline --help` lists them.
FLAGS =
INPUT = $(if $(DATA),--input="$(DATA)/*.ndjson",$(error say where the drawings are: make $@ DATA=DIR))

# Speed and memory of the pipeline beside the study's plain loop
bench-pipeline: .venv/installed
	$(BIN)/python -m benchmarks.pipeline $(INPUT) $(FLAGS)

# How the pipeline's cost grows with the number of drawings, repeated from those in DATA
bench-growth: .venv/installed
	$(BIN)/python -m benchmarks.growth $(INPUT) $(FLAGS)

# Accuracy and time of models trained on the drawings in DATA, into results/
results: .venv/installed
	$(BIN)/python -m benchmarks.results $(INPUT) $(FLAGS)

# What changes of the recipe are worth, at equal training time, on the drawings in DATA
trials: .venv/installed
	$(BIN)/python -m benchmarks.trials $(INPUT) $(FLAGS)

# The model that comes with the package, of all categories in DATA, into trainer/pretrained/
pretrained: .venv/installed
	$(BIN)/python -m benchmarks.pretrained $(INPUT) $(FLAGS)

# Speed and memory of the trainer beside the usual ways
bench-trainer: .venv/installed
	$(BIN)/python -m benchmarks.trainer $(INPUT) $(FLAGS)

# Answers a second, time to an answer and memory of the server, and how it takes malformed bodies
bench-serve: .venv/installed
	$(BIN)/python -m benchmarks.serve $(INPUT) $(FLAGS)

# Bitmaps, answers and time to an answer of the page without a server, in Chromium
bench-web: .venv/installed
	$(BIN)/python -m benchmarks.web $(INPUT) $(FLAGS)

# Enough for the demo
.venv/installed-demo: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(INSTALL) --editable '.[trainer,analysis]'
	touch $@

# For tests and benchmarks, too: their tools, and Google's clients
.venv/installed: .venv/installed-demo
	$(INSTALL) --editable '.[trainer,analysis,onnx,dev,gcp]'
	touch $@

clean:
	rm -rf .venv .engines bin demo build *.egg-info .mypy_cache .pytest_cache .ruff_cache
