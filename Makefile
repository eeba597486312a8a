# One command each; `make demo` and `make test` do all the set-up from a fresh clone.
VENV ?= .venv
N ?= 1000
ARGS ?=
PY := $(VENV)/bin/python

.DEFAULT_GOAL := help
.PHONY: help setup demo test test-torch bench lint fuzz docs clean

help: ## this list
	@sed -n 's/^\([a-z-]*\):.*## /make \1\t/p' $(MAKEFILE_LIST) | expand -t 21
	@echo "VENV=$(VENV) is the environment, PYTHON=... makes it; ARGS=... is passed to demo and test."

setup: ## make the environment: system tools, virtual environment, packages
	@bash tools/setup.sh "$(VENV)"

demo: setup ## from float weights to checked Verilog, with a report
	$(PY) -m bitwright.demo $(ARGS)

test: setup ## all tests, as many at a time as there are processors
	$(PY) -m pytest -n auto --dist worksteal $(ARGS)

test-torch: setup ## fine-tuning, and Brevitas networks exported now (installs torch)
	@bash tools/setup.sh "$(VENV)" brevitas
	$(PY) -m pytest tests/test_train.py tests/test_brevitas.py $(ARGS)

bench: setup ## every benchmark in benchmarks/
	@bash tools/setup.sh "$(VENV)" bench
	@set -e; for file in benchmarks/bench_*.py; do echo "$$file"; $(PY) "$$file"; done

lint: setup ## style, formatting, types
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/pyright --pythonpath "$(PY)"

fuzz: setup ## N random programs through every engine (make fuzz N=1000)
	$(PY) -m bitwright.sim.fuzz --count $(N)

docs: setup ## the tables of docs/onnx.md, from the code
	$(PY) tools/onnx_page.py

clean: ## remove what was built; the environment stays
	rm -rf build dist ./*.egg-info demo-report .pytest_cache .ruff_cache .hypothesis
	find bitwright models hw codegen sim tests benchmarks -name __pycache__ -prune -exec rm -rf {} +
