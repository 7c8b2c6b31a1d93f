# The front door: `make help`. CI calls these targets and nothing else.
SHELL := /bin/bash
.DEFAULT_GOAL := help
.PHONY: help setup demo up down status logs test test-fast browser lint format proto db-migrate db-check e2e-smoke-p3 bench-hotpath bench-peers bench-recall bench-embed bench-conflicts bench-lake bench-memory bench-pipeline bench-redaction bench-retrieval bench-usefulness soak lock clean

VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

help:  ## List every target
	@grep -hE '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  %-15s %s\n", $$1, $$2}'

setup: $(STAMP)  ## Make .venv and install everything (no root, no Docker)

$(STAMP): requirements.lock pyproject.toml scripts/setup.sh
	@scripts/setup.sh $(VENV)
	@touch $@

demo: setup  ## Start everything and watch it learn
	@$(BIN)/ibex demo

up: setup  ## Start the whole stack and wait until it is ready
	@$(BIN)/ibex up

down: setup  ## Stop everything that 'make up' or 'make demo' started
	@$(BIN)/ibex down

status: setup  ## Show every process, its address and its health
	@$(BIN)/ibex status

logs: setup  ## Follow all logs (NAME=proxy for one)
	@$(BIN)/ibex logs $(NAME) --follow

test: setup  ## Run every test, on real servers (with CI=true it installs Chromium first)
	@if [ "$$CI" = true ]; then scripts/browser.sh || true; fi
	@$(BIN)/pytest

test-fast: setup  ## Run the unit tests
	@$(BIN)/pytest tests/unit

browser:  ## Install Debian's Chromium for the browser tests (needs root)
	@scripts/browser.sh

lint: setup  ## Check style, types and who imports whom
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy .
	@$(BIN)/lint-imports

format: setup  ## Format the code
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

$(BIN)/python:
	@$(MAKE) --no-print-directory setup

# Needs an environment and not what set-up would change in one: it may belong to another working tree.
proto: | $(BIN)/python  ## Generate ibex/rpc/messages from hotpath/proto
	@PATH=$(abspath $(BIN)):$$PATH python -m grpc_tools.protoc -I hotpath/proto \
	  --python_betterproto2_out=ibex/rpc/messages \
	  --python_betterproto2_opt=client_generation=none hotpath/proto/ibex/v1/*.proto

db-migrate: setup  ## Apply the migrations to the configured database
	@$(BIN)/ibex db migrate

db-check: setup  ## Fail when the models and the database differ
	@$(BIN)/ibex db check

e2e-smoke-p3: setup  ## End to end: a fact is learned, stored and injected; ends with one JSON line
	@$(BIN)/ibex smoke

bench-embed: setup  ## The embedding service against PyTorch (ARGS="--data FILE": recall too; fails when a bound is missed)
	@$(BIN)/python -m bench.embed $(ARGS)

bench-hotpath: setup  ## What the proxy adds, memory off and on (ARGS="--peer NAME=URL", --quick, …)
	@$(BIN)/python -m bench.hotpath $(ARGS)

bench-usefulness: setup  ## Are the memories found that answers rest on? About a minute (ARGS="--rounds 20")
	@$(BIN)/python -m bench.usefulness $(ARGS)

bench-peers: setup  ## IBEX beside LiteLLM and Portkey, which it installs into folders of their own
	@$(BIN)/python -m bench.peers.run $(ARGS)

bench-recall: setup  ## The assembler alone: 1,000 to 100,000 memories, 1 to 50 at once, index and SQL
	@$(BIN)/python -m bench.recall $(ARGS)

bench-memory: setup  ## Writes, searches up to a million memories, hot lists, sizes (ARGS="--agents 50 --approximate")
	@$(BIN)/python -m bench.memory $(ARGS)

bench-lake: setup  ## Archives, a million turns by SQL, compaction, exports, snapshots of 100,000 memories (ARGS=--quick)
	@$(BIN)/python -m bench.lake $(ARGS)

bench-pipeline: setup  ## From a session's end to its memories; 200 at once, and what requests feel of it (ARGS=--quick)
	@$(BIN)/python -m bench.pipeline $(ARGS)

bench-redaction: setup  ## What redaction finds of personal data and secrets, and what by mistake
	@$(BIN)/python -m bench.redaction $(ARGS)

bench-retrieval: setup  ## Is the evidence found? DATA=locomo.json (ARGS="--model URL" adds extracted facts)
	@$(BIN)/python -m bench.retrieval "$(DATA)" $(ARGS)

bench-conflicts: setup  ## Pairs of statements: what they become, by rules (ARGS=--ask: and by the model)
	@$(BIN)/python -m bench.conflicts $(ARGS)

soak: setup  ## Ten minutes of requests: does any process grow? (ARGS="--minutes 30")
	@$(BIN)/python -m bench.hotpath soak $(ARGS)

lock:  ## Resolve pyproject.toml anew into requirements.lock
	@scripts/lock.sh $(VENV)

clean: setup  ## Stop the stack and delete its data
	@$(BIN)/ibex down --purge
