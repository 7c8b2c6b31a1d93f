#!/usr/bin/env bash
# Resolves pyproject.toml and the dev group into requirements.lock: ./lock.sh .venv
set -euo pipefail
venv=${1:?usage: lock.sh VENV}
# The processor's build of PyTorch, whose needs are few: from a folder that pip knows, or PyTorch's
# own index.
links=$("$venv/bin/python" -m pip config get global.find-links 2>/dev/null || true)
if [ -n "$links" ]; then torch=(--find-links "$links"); else torch=(--torch-backend=cpu); fi
"$venv/bin/uv" pip compile --quiet pyproject.toml --group dev --python-version 3.11 \
  "${torch[@]}" --no-header --no-emit-find-links --no-emit-index-url \
  --annotation-style line --output-file requirements.lock
# The local version (+cpu) would tie the file to one index.
sed -i 's/^\(torch==[0-9.]*\)+[a-z0-9]*/\1/' requirements.lock
