#!/usr/bin/env bash
# Starts the real server, fills it, and looks at every page with a browser: tests/pages/run.sh [SCREENSHOTS]
# PAGES_BINARY names a binary that is built already; CHROMIUM a browser.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
missing() {
  echo "tests/pages/run.sh: $1" >&2
  exit 1
}
out=$(realpath -m "${1:-${CARGO_TARGET_DIR:-target}/screenshots}")
command -v node >/dev/null || missing "node is missing: install Node 20 or newer (Debian: apt-get install nodejs npm)"
if [ -z "${CHROMIUM:-}" ]; then
  for name in chromium chromium-browser google-chrome-stable google-chrome; do
    CHROMIUM=$(command -v "$name") && break
  done
fi
[ -x "${CHROMIUM:-}" ] || missing "no Chromium found: install one (Debian: apt-get install chromium), or name it in CHROMIUM"
export CHROMIUM
if [ -z "${PAGES_BINARY:-}" ]; then
  cargo build --quiet --locked -p systole
  PAGES_BINARY=${CARGO_TARGET_DIR:-target}/debug/systole
fi
[ -x "$PAGES_BINARY" ] || missing "there is no program at $PAGES_BINARY"
binary=$(realpath "$PAGES_BINARY")
cd tests/pages
if ! cmp -s package-lock.json node_modules/.installed-from; then
  command -v npm >/dev/null || missing "npm is missing: install it (Debian: apt-get install npm)"
  npm ci --ignore-scripts --no-audit --no-fund
  cp package-lock.json node_modules/.installed-from
fi
exec node live.mjs --binary "$binary" --out "$out"
