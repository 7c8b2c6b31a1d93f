#!/usr/bin/env bash
# Makes a virtual environment with everything IBEX needs: ./setup.sh .venv
set -euo pipefail
venv=${1:?usage: setup.sh VENV}
started=$SECONDS
. "$(dirname "$0")/torch.sh"

say() { printf '\033[1m%s\033[0m\n' "$*"; }
fail() { printf 'setup: %s\n' "$*" >&2; exit 1; }

# A Python built without optimisation, as pyenv does unless told, takes half as long again as a
# distribution's: of all there are, the fastest.
fastest_python() {
  local name candidate
  for name in python3.11 python3.12 python3; do
    type -ap "$name" || true
  done | sort -u | while read -r candidate; do
    printf '%s %s\n' "$("$candidate" "$(dirname "$0")/python_speed.py" 2>/dev/null)" "$candidate"
  done | grep '^[01] ' | sort -k1,1n -k2,2n -k3,3g | head -1 | cut -d' ' -f4- || true
}

python=${PYTHON:-$(fastest_python)}
[ -n "$python" ] || fail "needs Python 3.11 or 3.12 (or set PYTHON=/path/to/python3.11)."
[ "$(uname -sm)" = "Linux x86_64" ] || fail "the servers' wheels are for Linux on x86_64; on other
  machines use docker-compose.yml."

if [ ! -x "$venv/bin/python" ]; then
  say "[1/3] Making $venv with $("$python" --version), $python"
  if ! "$python" -m venv "$venv" >/dev/null 2>&1; then
    # Debian keeps ensurepip in python3-venv; the environment itself does not need it.
    rm -rf "$venv"
    "$python" -m venv --without-pip "$venv" || fail "could not make a virtual environment."
  fi
else
  say "[1/3] Using $venv"
fi

say "[2/3] Getting uv, the package installer"
if [ ! -x "$venv/bin/uv" ]; then
  if command -v uv >/dev/null; then
    ln -s "$(command -v uv)" "$venv/bin/uv"
  elif [ -x "$venv/bin/pip" ]; then
    "$venv/bin/pip" install --quiet --disable-pip-version-check uv
  elif "$python" -m pip --version >/dev/null 2>&1; then
    "$python" -m pip --python "$venv/bin/python" install --quiet uv
  else
    fail "found neither pip nor uv. Install one of them:
  as root:     apt-get install python3-venv
  without:     the one-line installer at https://docs.astral.sh/uv/"
  fi
fi

say "[3/3] Installing the packages (about 0.9 GB to download the first time)"
uv=("$venv/bin/uv" pip install --python "$venv/bin/python" -r requirements.lock)
torch_options auto
"${uv[@]}" "${torch[@]}" || {
  say "That did not work; trying with what the package index holds"
  "${uv[@]}"
}
"$venv/bin/uv" pip install --quiet --python "$venv/bin/python" --no-deps --editable .
say "Set up in $((SECONDS - started)) s"
