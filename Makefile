# make setup | demo | test | lint | extend | draw | medians | wide | tables | figure1 ... figure5 | figure-baselines, ... of FIGURES |
#      pictures | ablation | inputs | conditions | yardsticks | bench | memory | clean

PYTHON ?= python3
VENV := .venv
RUN := $(VENV)/bin/python
STAMP := $(VENV)/.installed
DEMO := demo

.PHONY: setup demo test lint extend draw medians wide tables figure1 figure2 figure3 figure4 figure5 pictures ablation inputs conditions yardsticks bench memory clean

setup: $(STAMP)

$(STAMP): requirements.txt requirements-dev.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || { echo "make: Python 3.10 or newer is needed; name one with make PYTHON=..."; exit 1; }
	$(PYTHON) -m venv $(VENV) || { echo "make: this Python cannot make a virtual environment; on Debian install python3-venv"; exit 1; }
	$(RUN) -m pip install --quiet --disable-pip-version-check -r requirements-dev.txt
	@touch $(STAMP)

DEMO_GRID := --task mlp_planted --mlist 1 2 5 10 --slist 5 10 20 50 --seedlist 0 1 2 --nmeasurements 5000 --save_results --logs_dir $(DEMO)/logs

demo: $(STAMP)
	$(RUN) runner.py --method aiht $(DEMO_GRID)
	$(RUN) runner.py --method pruning $(DEMO_GRID)
	$(RUN) make_figures.py --statistic exact --logs_dir $(DEMO)/logs --figures_dir $(DEMO)/figures

test: $(STAMP)
	$(RUN) -m pytest -q -n 2 --dist loadfile

lint: $(STAMP)
	$(RUN) -m ruff check .
	$(RUN) -m mypy

# The examples of docs/extending.md, each in a copy of the project: lint and the whole suite must pass. About 8 minutes.
extend: $(STAMP)
	$(RUN) -m tests.extend

bench: $(STAMP)
	$(RUN) -m benchmarks.speed

memory: $(STAMP)
	$(RUN) -m benchmarks.memory

ablation: $(STAMP)
	$(RUN) -m studies.gate_updates

conditions: $(STAMP)
	$(RUN) -m studies.conditions

FIGURES := 1 2 3 4 5 obs3 obs4 obs5 baselines dst opponents recovery recovery2 gnhtp inputs

# Says what the figure costs, then runs its commands, into ./logs, and draws it. They resume if called again.
$(FIGURES:%=figure-%): figure-%: $(STAMP)
	$(RUN) make_figures.py --figure $* --commands | sed "s|^python|$(RUN)|" | sh -e
	$(RUN) make_figures.py --figure $*

figure1 figure2 figure3 figure4 figure5: figure%: figure-%
inputs: figure-inputs

# All figures from the logs that are shipped.
draw: $(FIGURES:%=draw-%)

draw-%: $(STAMP)
	$(RUN) make_figures.py --figure $* --logs_dir logs/reference

# Medians, where the paper draws means.
medians: $(foreach figure,1 2 3 4 5,medians-$(figure))

medians-%: $(STAMP)
	$(RUN) make_figures.py --figure $* --statistic median --logs_dir logs/reference

# Figures 1 and 2 with colours up to 170 dB, where exact fits stand out.
wide: wide-1 wide-2

wide-%: $(STAMP)
	$(RUN) make_figures.py --figure $* --top 170 --logs_dir logs/reference

# The tables of the docs, from the same logs.
tables: $(STAMP)
	$(RUN) -m studies.tables

# Linear models, trees and transforms beside every method on real data: what the shipped logs lack, and all figures.
yardsticks: $(STAMP)
	$(RUN) -m studies.yardsticks --logs_dir logs/reference --figures_dir figures/reference

# The images of Figures 4 and 5 as networks of some of their cells give them back; their logs have names of their own.
PICTURES4 := --task inr_mnist --mlist 5 20 100 --slist 20 100 500 --save_results --save_models
PICTURES5 := --task inr_cifar10 --mlist 5 20 --slist 20 100 500 --save_results --save_models

pictures: $(STAMP)
	$(RUN) runner.py --method aiht --num_epochs 100 $(PICTURES4)
	$(RUN) runner.py --method pruning --num_epochs 100 $(PICTURES4)
	$(RUN) runner.py --method gnhtp $(PICTURES4)
	$(RUN) runner.py --method aiht --num_epochs 100 $(PICTURES5)
	$(RUN) runner.py --method pruning --num_epochs 100 $(PICTURES5)
	$(RUN) runner.py --method gnhtp $(PICTURES5)
	$(RUN) -m studies.pictures
	$(RUN) -m studies.pictures --errors

clean:
	rm -rf $(VENV) $(DEMO) .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
