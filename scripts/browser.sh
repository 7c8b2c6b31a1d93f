#!/usr/bin/env bash
# Installs Debian's Chromium for the browser tests, when it is missing. The only step that needs root;
# without it those tests are skipped and say so.
set -euo pipefail
if command -v chromium >/dev/null || command -v chromium-browser >/dev/null; then exit 0; fi
if [ "$(id -u)" -ne 0 ] || ! command -v apt-get >/dev/null; then
  echo "browser: Chromium needs root and apt-get; the browser tests will be skipped." >&2
  exit 1
fi
echo "Installing Debian's Chromium for the browser tests"
apt-get update -qq
DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends chromium >/dev/null
