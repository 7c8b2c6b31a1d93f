#!/usr/bin/env bash
# Resolves pyproject.toml and the dev group into requirements.lock: ./lock.sh .venv
set -euo pipefail
venv=${1:?usage: lock.sh VENV}
. "$(dirname "$0")/torch.sh"

torch_options cpu
"$venv/bin/uv" pip compile --quiet pyproject.toml --group dev --python-version 3.11 \
  "${torch[@]}" --no-header --no-emit-find-links --no-emit-index-url \
  --no-annotate --output-file requirements.lock
# The local version (+cpu) would tie the file to one index.
sed -i 's/^\(torch==[0-9.]*\)+[a-z0-9]*/\1/' requirements.lock
