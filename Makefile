# make demo | make test | make test-all: each creates .venv on its first call and installs what constraints.txt pins.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
DONE := $(VENV)/.installed
DICOM ?=

# DeepSpeed and torch must agree that this is a CPU run, also where a GPU is present.
export DS_ACCELERATOR ?= cpu

.PHONY: demo test test-all lint

demo: $(DONE)
	$(BIN)/radnet demo $(if $(DICOM),--dicom "$(DICOM)")

test: $(DONE)
	$(BIN)/python -m pytest -m "not slow and not gpu"

test-all: $(DONE)
	$(BIN)/python -m pytest

lint: $(DONE)
	$(BIN)/ruff check . && $(BIN)/ruff format --check .

# The mark is written last, so that an interrupted installation starts again. It follows what decides the packages.
$(DONE): setup.py pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit("radnet needs Python 3.11 or newer, this is " + sys.version.split()[0] + "; try make PYTHON=python3.11" if sys.version_info < (3, 11) else 0)'
	@echo "installing into $(VENV) (a few minutes, about 3 GB)"
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[all,test]'
	@touch $@
