# make run          set everything up and serve http://127.0.0.1:8000/ with demo videos, and a worker
# make test         set everything up and pass every check and test
# make check        of these what reads the code: ruff, djade, mypy, Django's own checks
# make soak         every fault at full size, half an hour; writes its table into docs/reliability.md
# make bench        what it costs beside its peers, an hour alone on the machine; writes docs/performance.md
# make setup        the packages that the site runs with
# make setup-dev    and those of the checks and tests
# make setup-test   and what tests drive: Chromium, nginx, Caddy, systemd-analyze
# make setup-bench  and the packages and peers of the benchmarks
# make lock         resolve the packages anew (needs uv)
# make clean        take all that was installed in here away again
# All work on a fresh machine and start in seconds the second time.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

# uv of this machine, or our own in .tools/ (see bin/setup).
PATH := $(CURDIR)/.tools/bin:$(PATH)
export PATH
PYTHON := .venv/bin/python
BIND ?= 127.0.0.1:8000
# Two for each core of a small machine: much of a test is waiting. In the order of tests/conftest.py,
# the long ones first.
IN_PARALLEL := -n 4 --dist loadfile --no-loadscope-reorder
# What a site of real people has at least, behind one proxy (docs/first-day.md): it passes every check.
REAL_SITE := DEBUG=off ALLOWED_HOSTS=video.example TRUSTED_PROXIES=1 ADMIN_PATH=control-room/

.PHONY: help run test soak bench check setup setup-dev setup-test setup-bench lock clean

help:
	@grep -E '^# make ' Makefile | sed 's/^# //'

.venv/.installed: requirements.txt bin/setup
	@bin/setup requirements.txt .venv/.installed

.venv/.installed-dev: requirements-dev.txt bin/setup
	@bin/setup requirements-dev.txt .venv/.installed-dev

.venv/.installed-bench: requirements-bench.txt bin/setup
	@bin/setup requirements-bench.txt .venv/.installed-bench

setup: .venv/.installed

setup-dev: .venv/.installed-dev

setup-test: setup-dev
	@bin/setup-chromium
	@bin/setup-proxies
	@bin/setup-systemd

setup-bench: .venv/.installed-bench
	@bin/setup-bench

# Where OTEL_EXPORTER_OTLP_ENDPOINT is set for other programs of this shell, the site would refuse to
# start without packages that requirements.txt does not have. OTEL_SDK_DISABLED=false make run traces.
run: setup
	@exec env OTEL_SDK_DISABLED=$${OTEL_SDK_DISABLED:-true} DEBUG=on BIND=$(BIND) $(PYTHON) manage.py run --demo

check: setup-dev
	$(PYTHON) -m ruff check
	$(PYTHON) -m ruff format --check
	git ls-files -z -co --exclude-standard -- 'templates/*.html' | xargs -0 .venv/bin/djade --target-version 6.0 --check
	$(PYTHON) -m mypy
	$(PYTHON) manage.py makemigrations --check --dry-run
	folder=$$(mktemp -d); trap 'rm -rf "$$folder"' EXIT; \
	  env -i $(REAL_SITE) SECRET_KEY=$$($(PYTHON) -c 'import secrets; print(secrets.token_urlsafe(60))') DATA_DIR=$$folder \
	  $(PYTHON) manage.py check --deploy --fail-level WARNING
	$(PYTHON) manage.py vendor

test: check setup-test
	$(PYTHON) -m pytest $(IN_PARALLEL)

soak: setup-test
	$(PYTHON) -m tests.faults.soak

bench: setup-bench
	$(PYTHON) -m bench.run

# The ranges of pyproject.toml, with hashes and without addresses.
lock:
	uv pip compile --quiet --upgrade --universal --generate-hashes --no-emit-index-url --python-version 3.13 pyproject.toml -o requirements.txt
	uv pip compile --quiet --upgrade --universal --generate-hashes --no-emit-index-url --python-version 3.13 pyproject.toml --group dev -o requirements-dev.txt
	uv pip compile --quiet --upgrade --universal --generate-hashes --no-emit-index-url --python-version 3.13 pyproject.toml --group dev --group bench -o requirements-bench.txt

clean:
	rm -rf .venv .tools .mypy_cache .pytest_cache .ruff_cache
