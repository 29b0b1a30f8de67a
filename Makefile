# make demo: set up and run the main job.  make test: set up and run the tests.  make check: what CI runs.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet
TORCH := $(shell grep '^torch==' constraints.txt)
PYTEST_ARGS ?= -n 2 --dist worksteal

.PHONY: demo test check format lint types imports zoo zoo-surgery bench bench-check bench-sweep bench-lr accuracy programs lab test-oldest clean

demo: $(VENV)/.core
	$(BIN)/gainstage tour

test: $(VENV)/.dev $(VENV)/.zoo
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest $(PYTEST_ARGS)

check: format lint types imports test

format: $(VENV)/.dev
	$(BIN)/ruff format --check src tests benchmarks examples

lint: $(VENV)/.dev
	$(BIN)/ruff check src tests benchmarks examples

types: $(VENV)/.dev
	$(BIN)/pyright

imports: $(VENV)/.dev
	$(BIN)/lint-imports

# Every network of the zoo recorded: what it cost, what it saw, what it changed. About half an hour.
zoo: $(VENV)/.dev $(VENV)/.zoo
	cd tests && OMP_NUM_THREADS=1 ../$(BIN)/python -m zoo.survey $(ZOO_ARGS)

# Norm surgery on every network of the zoo: folded, recalibrated, replaced, and trained for a step. A quarter of an hour.
zoo-surgery: $(VENV)/.dev $(VENV)/.zoo
	cd tests && OMP_NUM_THREADS=1 ../$(BIN)/python -m zoo.surgery $(ZOO_ARGS)

bench: $(VENV)/.dev
	$(BIN)/python benchmarks/record.py
	$(BIN)/python benchmarks/growth.py
	$(BIN)/python benchmarks/orthogonal.py
	$(BIN)/python benchmarks/recalibrate.py
	$(BIN)/python benchmarks/norm_layers.py

# What a check without a trial costs on the networks of the zoo, in bare passes; a quarter of an hour.
bench-check: $(VENV)/.dev $(VENV)/.zoo
	$(BIN)/python benchmarks/check_cost.py $(BENCH_ARGS)

# A grid of small networks against loops and a pool over them; about ten minutes on two idle cores.
bench-sweep: $(VENV)/.dev
	$(BIN)/python benchmarks/sweep.py $(BENCH_ARGS)
	$(BIN)/python benchmarks/sweep_overhead.py
	$(BIN)/python benchmarks/sweep_gpu.py

# Suggested learning rates against exhaustive sweeps, which are run first (half an hour), beside two finders that are
# installed for it; and the cost of a largest eigenvalue on small networks of the zoo.
bench-lr: $(VENV)/.dev $(VENV)/.zoo
	$(PIP) install -c constraints.txt torch-lr-finder lightning
	PYTHONPATH=tests $(BIN)/python benchmarks/learning_rate.py sweeps/lr --set development --fit
	PYTHONPATH=tests $(BIN)/python benchmarks/learning_rate.py sweeps/lr --set test
	PYTHONPATH=tests $(BIN)/python benchmarks/curvature.py

# How often the rules are right: networks with injected faults and their healthy twins, all trained (about forty minutes
# on two idle cores), then checked. Into docs/accuracy.md and the package. What ACCURACY_STORE holds is not trained again,
# so that after a change of a rule only the checks run; --split development leaves the test split alone.
ACCURACY_STORE ?= accuracy-store
ACCURACY_ARGS ?= --jobs 2 --zoo --publish
accuracy: $(VENV)/.dev $(VENV)/.zoo
	OMP_NUM_THREADS=1 PYTHONPATH=benchmarks:tests $(BIN)/python -m accuracy $(ACCURACY_STORE) $(ACCURACY_ARGS)

# What is said of programs with bugs as users report them, and of the same without, without a trial and with one: a
# quarter of an hour. Into docs/programs.md. A run that was stopped goes on with what PROGRAMS_STORE holds.
PROGRAMS_STORE ?= programs-store
programs: $(VENV)/.dev
	OMP_NUM_THREADS=1 PYTHONPATH=benchmarks $(BIN)/python -m programs $(PROGRAMS_STORE) --jobs 2 --publish

# Every claim of the lab at its quick preset, a quarter of an hour on two idle cores; its verdicts go into the package
# and docs/verdicts.md. LAB_STORE must be a new folder, or that of a run which was stopped.
LAB_STORE ?= gainstage-lab
lab: $(VENV)/.core
	$(BIN)/gainstage lab run --all --store $(LAB_STORE)
	$(BIN)/python benchmarks/publish_verdicts.py $(LAB_STORE)

# The oldest torch that pyproject.toml admits, in an environment of its own (several GB on Linux: its
# only builds there carry CUDA). Needs Python 3.10 as PYTHON.
test-oldest:
	$(PYTHON) -m venv .venv-oldest
	.venv-oldest/bin/python -m pip install --quiet torch==2.4.1 'numpy<2.3'
	.venv-oldest/bin/python -m pip install --quiet -e '.[test]'
	OMP_NUM_THREADS=1 .venv-oldest/bin/python -m pytest $(PYTEST_ARGS)

# torch first, from the constraints file: any other order lets a dependency pull gigabytes of CUDA libraries.
$(VENV)/.torch: constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "installing $(TORCH)"
	$(PIP) install $(TORCH)
	@touch $@

$(VENV)/.core: $(VENV)/.torch pyproject.toml
	@echo "installing gainstage[lab]"
	$(PIP) install -c constraints.txt -e '.[lab]'
	@touch $@

$(VENV)/.dev: $(VENV)/.core
	@echo "installing gainstage[dev]"
	$(PIP) install -c constraints.txt -e '.[dev]'
	@touch $@

# Networks to record. A machine that cannot have them tests the others; on CI no more than a few may be missing.
$(VENV)/.zoo: $(VENV)/.dev
	@echo "installing gainstage[zoo]"
	$(PIP) install -c constraints.txt -e '.[zoo]' || echo "the zoo's packages could not be installed"
	@touch $@

clean:
	rm -rf $(VENV) .venv-oldest build dist .pytest_cache .ruff_cache .hypothesis tour.html
