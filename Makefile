# Every target sets up what it needs; nothing has to be run first.
SHELL := /bin/sh
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.ready
ARGS ?=

.PHONY: help setup demo test check unit bench docs lock clean
help:            ## this list
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | sort

setup: $(STAMP)  ## make .venv from the hashed lock

$(STAMP): requirements.lock bootstrap.lock pyproject.toml bootstrap.sh
	@sh bootstrap.sh $(VENV)
	@touch $@

demo: $(STAMP)   ## start everything, replay real events, stay up until interrupted (ARGS="--for 5m")
	@$(BIN)/lockgate demo $(ARGS)

test: check      ## everything: check, then the tests against the real parts
	@sh tests/run.sh

check: $(STAMP)  ## lint, types, layers, unit tests: under two minutes
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-cache
	@$(BIN)/pytest -q tests/unit

bench: $(STAMP)  ## benchmarks: ratios against a peer or a limit measured in the same run
	@$(BIN)/python -m benchmarks $(ARGS)

docs: $(STAMP)   ## write docs/reference.md anew from the code
	@$(BIN)/python docs/generate.py

lock: $(STAMP)   ## resolve pyproject.toml into requirements.lock and bootstrap.lock
	@$(BIN)/uv pip compile pyproject.toml --group dev --universal --generate-hashes --python-version 3.11 \
		--no-emit-index-url --no-annotate --custom-compile-command "make lock" -q -o requirements.lock $(ARGS)
	@$(BIN)/python -c "import re,pathlib; t=pathlib.Path('requirements.lock').read_text(); \
		b=re.split(r'\n(?=[a-z0-9])', t.split('make lock\n',1)[1]); \
		pathlib.Path('bootstrap.lock').write_text('# The installer and what builds source packages; made by: make lock\n' + \
		'\n'.join(e.rstrip() for e in b if re.match(r'(uv|setuptools|wheel|packaging)==', e)) + '\n')"

clean:           ## remove the virtual environment (data stays in .lockgate/)
	rm -rf $(VENV)
