# make run    set everything up and serve http://127.0.0.1:8000/ with demo videos, and a worker
# make test   set everything up and pass every check and test
# make soak   every fault at full size, half an hour; writes its table into docs/reliability.md
# All work on a fresh machine and start in seconds the second time.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

# uv of this machine, or our own in .tools/ (see bin/setup).
PATH := $(CURDIR)/.tools/bin:$(PATH)
export PATH
PYTHON := .venv/bin/python
BIND ?= 127.0.0.1:8000
# Three on two cores: much of a test is waiting. In the order of the folders, the long ones first.
IN_PARALLEL := -n 3 --dist loadfile --no-loadscope-reorder

.PHONY: help run test soak check setup setup-dev soak lock clean

help:
	@grep -E '^# make ' Makefile | sed 's/^# //'

.venv/.installed: requirements.txt bin/setup
	@bin/setup requirements.txt .venv/.installed

.venv/.installed-dev: requirements-dev.txt bin/setup
	@bin/setup requirements-dev.txt .venv/.installed-dev

setup: .venv/.installed

setup-dev: .venv/.installed-dev
	@bin/setup-chromium

run: setup
	@DEBUG=on $(PYTHON) manage.py migrate --verbosity 0
	@DEBUG=on $(PYTHON) manage.py seed_demo
	@echo "Open http://$(BIND)/ (Ctrl+C ends it)"
	@exec env DEBUG=on BIND=$(BIND) $(PYTHON) manage.py run

check: setup-dev
	$(PYTHON) -m ruff check
	$(PYTHON) -m ruff format --check
	git ls-files -z -co --exclude-standard -- 'templates/*.html' | xargs -0 .venv/bin/djade --target-version 6.0 --check
	$(PYTHON) -m mypy
	$(PYTHON) manage.py makemigrations --check --dry-run
	DEBUG=off SECRET_KEY=$$($(PYTHON) -c 'import secrets; print(secrets.token_urlsafe(60))') $(PYTHON) manage.py check --deploy --fail-level WARNING
	$(PYTHON) manage.py vendor

test: check
	$(PYTHON) -m pytest $(IN_PARALLEL)

soak: setup-dev
	$(PYTHON) -m tests.faults.soak

# Needs uv: resolve the ranges of pyproject.toml anew, with hashes and without addresses.
lock:
	uv pip compile --quiet --upgrade --universal --generate-hashes --no-emit-index-url --python-version 3.13 pyproject.toml -o requirements.txt
	uv pip compile --quiet --upgrade --universal --generate-hashes --no-emit-index-url --python-version 3.13 pyproject.toml --group dev -o requirements-dev.txt

clean:
	rm -rf .venv .tools .mypy_cache .pytest_cache .ruff_cache
