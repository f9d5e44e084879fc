# make setup | demo | test | lint | draw | medians | tables | figure1 ... figure5 | pictures | ablation | inputs | conditions | bench | memory | clean

PYTHON ?= python3
VENV := .venv
RUN := $(VENV)/bin/python
STAMP := $(VENV)/.installed
DEMO := demo

.PHONY: setup demo test lint draw medians tables figure1 figure2 figure3 figure4 figure5 pictures ablation inputs conditions bench memory clean

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

bench: $(STAMP)
	$(RUN) -m benchmarks.speed

memory: $(STAMP)
	$(RUN) -m benchmarks.memory

ablation: $(STAMP)
	$(RUN) -m studies.gate_updates

# Recovery of planted networks for four distributions of the inputs.
INPUTS := --task mlp_planted --mlist 1 2 5 10 20 --slist 5 10 20 50 100 --seedlist 0 1 2 --nmeasurements 10000 --save_results

inputs: $(foreach method,aiht gnhtp,$(foreach dist,normal uniform rademacher mnist,inputs-$(method)-$(dist)))
	$(RUN) make_figures.py --figure inputs

inputs-%: $(STAMP)
	$(RUN) runner.py --method $(word 1,$(subst -, ,$*)) --input_dist $(word 2,$(subst -, ,$*)) $(INPUTS)

conditions: $(STAMP)
	$(RUN) -m studies.conditions

# All figures from the logs that are shipped.
FIGURES := 1 2 3 4 5 baselines dst opponents recovery recovery2 gnhtp inputs

draw: $(FIGURES:%=draw-%)

draw-%: $(STAMP)
	$(RUN) make_figures.py --figure $* --logs_dir logs/reference

# Medians, where the paper draws means.
medians: $(foreach figure,1 2 3 4 5,medians-$(figure))

medians-%: $(STAMP)
	$(RUN) make_figures.py --figure $* --statistic median --logs_dir logs/reference

# The tables of the docs, from the same logs.
tables: $(STAMP)
	$(RUN) -m studies.tables

# The commands of each figure of the paper, into ./logs, then the figure. They resume if called again.
M1 := 1 2 5 10 20 50 100 200 500 1000
M2 := 2 5 10 20 50 100 200 500 1000
S1 := 1 2 5 10 20 50 100 200 500 1000
S2 := 10 20 50 100 200 500 1000
BOTH = $(RUN) runner.py --method aiht $(1) --seedlist 0 1 2 --save_results && $(RUN) runner.py --method pruning $(1) --seedlist 0 1 2 --save_results

figure1: $(STAMP)
	$(call BOTH,--task mlp_planted --mlist $(M1) --slist $(S1) --num_epochs 15)
	$(call BOTH,--task mlp_planted --mlist $(M2) --slist $(S2) --num_epochs 15 --num_layers 2)
	$(RUN) make_figures.py --figure 1

figure2: $(STAMP)
	$(call BOTH,--task mlp_planted --mlist $(M1) --slist $(S1) --num_epochs 100 --batch_size 5000 --output_dim 10)
	$(call BOTH,--task mlp_planted --mlist $(M2) --slist $(S2) --num_epochs 100 --batch_size 5000 --num_layers 2 --output_dim 10)
	$(RUN) make_figures.py --figure 2

figure3: $(STAMP)
	$(call BOTH,--task binary_mnist --mlist $(M1) --slist 1 2 5 10 20 50 100 200 --num_epochs 15 --batch_size 1000)
	$(call BOTH,--task mnist --mlist 10 20 50 100 200 500 1000 --slist 100 200 500 1000 2000 --num_epochs 50 --batch_size 5000)
	$(RUN) make_figures.py --figure 3

figure4: $(STAMP)
	$(call BOTH,--task inr_mnist --mlist 2 5 10 20 50 100 200 --slist 2 5 10 20 50 100 200 500 1000 --num_epochs 100)
	$(call BOTH,--task inr_mnist --mlist 2 5 10 20 50 100 200 --slist 2 5 10 20 50 100 200 500 1000 --num_epochs 100 --num_layers 2)
	$(RUN) make_figures.py --figure 4

figure5: $(STAMP)
	$(call BOTH,--task inr_cifar10 --mlist 1 2 5 10 20 50 100 200 --slist 5 10 20 50 100 200 500 1000 2000 --num_epochs 100)
	$(call BOTH,--task inr_cifar10 --mlist 1 2 5 10 20 50 100 200 --slist 5 10 20 50 100 200 500 1000 2000 --num_epochs 100 --num_layers 2)
	$(RUN) make_figures.py --figure 5

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
