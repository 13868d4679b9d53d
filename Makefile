# Every target works by itself in a fresh clone: what needs the environment makes it first.
# `make` alone lists them. Settings go on the command line: make demo DEMO_STEPS=12 SEED=1

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

# Python 3.11 or newer that makes the virtual environment.
PYTHON ?= python3
# Where the virtual environment goes.
VENV ?= .venv
# Extras of setup.cfg that `make install` brings along.
EXTRAS ?= dev,viz,bench,weighting
# Optimiser steps per network in the demo. The shipped value fits into 6 minutes on 2 cores.
DEMO_STEPS ?= 520
# Seed of the demo's networks, order of images and augmentation; scenes and label mask stay the same.
SEED ?= 0
# Folder that the demo writes its runs, table and pictures to.
DEMO_OUT ?= runs/demo
# What the rows of the papers' tables may cost: costs (nothing is trained: measured costs beside the printed ones), smoke,
# short or full (docs/reproduce.md).
BUDGET ?= costs
# Number of seeds of each row; empty: the budget's.
SEEDS ?=
# Rows of a table, such as ROWS="mtpsl prototype"; empty: the budget's.
ROWS ?=
# Trainings of a table at a time.
JOBS ?= 1
# Device to measure latency and memory of a table's rows on, such as cpu or cuda; empty: they are not measured.
DEVICE ?=
# Folder of the tables' runs and report.
TABLES_OUT ?= runs/tables
# Processes that run the tests; each needs about 2 GB.
TEST_JOBS ?= 2
# More arguments for pytest, for example PYTEST_ARGS="-k depth -x".
PYTEST_ARGS ?=

COMMA := ,
BIN := $(VENV)/bin
# Says that the environment is complete; made again when a requirement changes.
STAMP := $(VENV)/.installed-$(subst $(COMMA),-,$(EXTRAS))
# What ruff looks at; the configuration is in pyproject.toml.
SOURCES := src data_modules tests benchmarks setup.py

.PHONY: help install demo list-tables reproduce-tables test fast-tests test-slow coverage lint format types docs wheel clean

help:  ## List the targets.
	@awk 'BEGIN {FS = ":.*## "} /^[a-z%-]+:.*## / {sub("%", "ID", $$1); printf "  make %-18s %s\n", $$1, $$2}' $(firstword $(MAKEFILE_LIST))
	@echo
	@echo "  Settings (make TARGET NAME=value), with their present values:"
	@printf '  %s\n' "PYTHON=$(PYTHON)" "VENV=$(VENV)" "EXTRAS=$(EXTRAS)" "DEMO_STEPS=$(DEMO_STEPS)" "SEED=$(SEED)" \
		"DEMO_OUT=$(DEMO_OUT)" "BUDGET=$(BUDGET)" "SEEDS=$(SEEDS)" "ROWS=$(ROWS)" "JOBS=$(JOBS)" "DEVICE=$(DEVICE)" \
		"TABLES_OUT=$(TABLES_OUT)" "TEST_JOBS=$(TEST_JOBS)" "PYTEST_ARGS=$(PYTEST_ARGS)"

install: $(STAMP)  ## Make the virtual environment and install mtdense into it, editable (done once).

$(STAMP): setup.cfg setup.py pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "mtdense needs Python 3.11 or newer, this is " + sys.version.split()[0] + ". Mend: make PYTHON=python3.12 ...")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --disable-pip-version-check -c constraints.txt -e ".[$(EXTRAS)]"
	@touch $@

demo: $(STAMP)  ## Train from partial labels, compare with single-task baselines, print the table, draw the pictures.
	$(BIN)/mtdense demo --steps $(DEMO_STEPS) --seed $(SEED) --out $(DEMO_OUT)

list-tables: $(STAMP)  ## List the papers' printed tables, and how many of their rows the suite has.
	$(BIN)/mtdense table list

# At costs nothing is trained.
TRAINED = $(filter-out costs,$(BUDGET))
TABLE_RUNS = --out $(TABLES_OUT) $(if $(TRAINED),--budget $(BUDGET)) $(if $(SEEDS),--seeds $(SEEDS)) \
	$(if $(ROWS),--rows $(ROWS))
TABLE_RUN = $(BIN)/mtdense table run
TABLE_SHOW = $(BIN)/mtdense table show
TABLE_TRAINED = $(TABLE_RUNS) --jobs $(JOBS)
TABLE_SHOWN = $(TABLE_RUNS) $(if $(DEVICE),--device $(DEVICE))

reproduce-table-%: $(STAMP)  ## Train what a paper's table lacks (by BUDGET), and show it: make reproduce-table-tif-3
	$(if $(TRAINED),$(TABLE_RUN) $* $(TABLE_TRAINED))
	$(TABLE_SHOW) $* $(TABLE_SHOWN)
	$(if $(TRAINED),$(TABLE_SHOW) $* $(TABLE_SHOWN) --format html --sheet --to $(TABLES_OUT)/report/$*.html)

reproduce-tables: $(STAMP)  ## The same for all tables, as pages to look at.
	$(if $(TRAINED),$(TABLE_RUN) all $(TABLE_TRAINED))
	$(TABLE_SHOW) all $(TABLE_SHOWN) --format html $(if $(TRAINED),--sheet) --to $(TABLES_OUT)/report

test: lint types fast-tests  ## Lint, check formatting and types, run the fast tests.

fast-tests: $(STAMP)  ## Run the fast tests alone.
	$(BIN)/python -m pytest -n $(TEST_JOBS) -m "not slow" $(PYTEST_ARGS)

coverage: $(STAMP)  ## The same with a coverage report, which takes a third longer.
	$(BIN)/python -m pytest -n $(TEST_JOBS) -m "not slow" --cov --cov-report=term $(PYTEST_ARGS)

test-slow: $(STAMP)  ## Run the slow tests: real training runs and the like.
	$(BIN)/python -m pytest -m slow $(PYTEST_ARGS)

lint: $(STAMP)  ## Check style and formatting, changing nothing.
	$(BIN)/ruff check $(wildcard $(SOURCES))
	$(BIN)/ruff format --check $(wildcard $(SOURCES))

format: $(STAMP)  ## Format the sources and mend what ruff can mend by itself.
	$(BIN)/ruff check --fix $(wildcard $(SOURCES))
	$(BIN)/ruff format $(wildcard $(SOURCES))

types: $(STAMP)  ## Check the types of both packages (strict).
	$(BIN)/mypy

# Warnings are errors: a page that no other names, a link that leads nowhere, a docstring that cannot be read.
docs: $(STAMP)  ## Build the documentation site into build/site.
	$(BIN)/sphinx-build -W --keep-going -q -b html -c docs/site . build/site

# setuptools copies from build/ what an earlier version left there, so it goes first.
wheel: $(STAMP)  ## Build the wheel and the source archive into dist/.
	rm -rf build dist
	$(BIN)/python -m build --no-isolation --outdir dist .

clean:  ## Remove build products and caches; keeps the environment and the runs.
	rm -rf build dist *.egg-info .coverage htmlcov .mypy_cache .pytest_cache .ruff_cache .hypothesis
	find $(wildcard src data_modules tests benchmarks) -name __pycache__ -type d -prune -exec rm -rf {} +
