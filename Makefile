PYTHON ?= python3
BIN := .venv/bin

.PHONY: demo test test-fast lint golden docs site chaos fuzz scale bench bench-paper bench-gpu growth precision stars \
        distance-network official-gpu clean

demo: .venv/installed  ## the main job on phantoms, to a finished report
	$(BIN)/python run_benchmark.py run configs/demo.yaml --results results/demo

# A process a core; a file's tests stay in one process, which makes their fixtures once.
PYTEST := $(BIN)/python -m pytest --numprocesses logical --maxprocesses 8 --dist loadfile --no-loadscope-reorder

test: .venv/installed lint  ## everything that must hold
	$(PYTEST)

test-fast: .venv/installed lint  ## the same without what takes long: a first answer within seven minutes
	$(PYTEST) -m "not slow and not ray and not browser"

lint: .venv/installed
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/lint-imports

golden: .venv/installed  ## renews the golden numbers, once the versions of what moved are raised (CONTRIBUTING.md)
	PYTHONPATH=.:tests $(BIN)/python -m golden.compute

docs: .venv/installed  ## renews facts and line numbers in docs/methods, tables in docs/results, docs/networks.md, docs/audit.md
	$(BIN)/python docs/update_pages.py
	$(BIN)/python docs/update_results.py
	$(BIN)/python docs/update_networks.py
	$(BIN)/python docs/update_audit.py

site: .venv/installed  ## the documentation as a site: results/site/index.html
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict

chaos: .venv/installed  ## kills a run again and again, takes a node away: the records must be the same (about half an hour)
	$(BIN)/python tests/reliability/chaos.py

SEED := 1
SECONDS := 300
fuzz: .venv/installed  ## mutated experiments, scans, masks, lists and results folders: no traceback, no hang, no crash
	PYTHONPATH=.:tests $(BIN)/python -m reliability.fuzz --seed $(SEED) --seconds $(SECONDS)

scale: .venv/installed  ## what the driver costs at 100 and at 2,000 trials
	$(BIN)/python tests/reliability/scale.py

bench: .venv/installed  ## speed against a loop as the released codes have it, at half resolution, on an idle machine
	$(BIN)/python tests/speed/bench.py

bench-paper: .venv/installed  ## the same at the paper's sizes
	$(BIN)/python tests/speed/bench.py --paper

bench-gpu: .venv/installed  ## a step of every method on this machine's GPU, at the paper's sizes
	$(BIN)/python tests/speed/gpu.py

growth: .venv/installed  ## how time and memory grow with patch, cases, trials and workers: docs/figures/growth.png
	$(BIN)/python tests/speed/growth.py

precision: .venv/installed  ## what bf16 costs in Dice: three seeds each, on the LA folder
	$(BIN)/python tests/speed/precision.py

distance-network: .venv/installed  ## whether DTML's distance network survives its first steps, 20 seeds, on the LA folder
	$(BIN)/python tests/reliability/distance_network.py

MINUTES := 600
# bf16 is four times as fast as the file's fp32. With one trial at a time the first records come early.
official-gpu: .venv/installed  ## DTML's Table 3 at full size, bounds and paper's rows first; MINUTES=9 ends it then, to be resumed
	timeout $(MINUTES)m $(BIN)/python run_benchmark.py run configs/la/table3.yaml --results results/la_table3 \
	    --set training.precision=bf16 --set execution.order=as_listed --set execution.gpus_per_trial=1 \
	    --set 'methods=[dtml, dtc, ua_mt, sass, tcse, asdnet, double_uncertainty]' $(MORE) || test $$? = 124

stars: .venv/installed  ## how often stars and rings are false, on the two grids of docs/calibration.md (9 minutes of one core)
	$(BIN)/python -m reports.statistics.family_grid

.venv/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[test]'
	touch $@

clean:  ## results stay
	rm -rf .venv .pytest_cache .ruff_cache .import_linter_cache
