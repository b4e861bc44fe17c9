# Two commands: `make demo` and `make test`. Both make .venv first, on a fresh machine.
PYTHON ?= $(shell command -v python3.11 || command -v python3.12 || command -v python3.13 || command -v python3.10 || echo python3)
BIN := .venv/bin

.PHONY: demo test test-slow lint clean

# torch and torchvision are asked for by name together: their releases belong to each other.
.venv/.installed: setup.cfg pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet torch torchvision
	$(BIN)/pip install --quiet --editable '.[dev]'
	touch $@

demo: .venv/.installed  ## train on synthetic hands, evaluate, write runs/demo/index.html
	$(BIN)/s2hand-train experiment=demo resume=never
	$(BIN)/s2hand-evaluate checkpoint=runs/demo/checkpoints/last.ckpt

test: .venv/.installed  ## the whole suite but the slow part
	$(BIN)/python -m pytest -m "not slow"

test-slow: .venv/.installed  ## studies and stress tests
	$(BIN)/python -m pytest -m slow

lint: .venv/.installed  ## style and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

clean:  ## everything that can be made again
	rm -rf .venv runs build dist src/*.egg-info
