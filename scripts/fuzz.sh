#!/usr/bin/env bash
# Runs every fuzz test of the repository one after the other, each for the given time: scripts/fuzz.sh [10m] [package pattern]
set -euo pipefail
cd "$(dirname "$0")/.."
duration=${1:-10m}
pattern=${2:-./...}
for package in $(go list "$pattern"); do
  for target in $(go test -list '^Fuzz' "$package" | grep '^Fuzz' || true); do
    printf '%s %s\n' "$package" "$target"
    go test -run '^$' -fuzz "^$target\$" -fuzztime "$duration" -fuzzminimizetime 20x "$package" >/tmp/pacl-fuzz.log 2>&1 && continue
    # At its end go test now and then takes its own deadline for a failure; a real one leaves the input that fails.
    if grep -q '^ *context deadline exceeded$' /tmp/pacl-fuzz.log && ! grep -q 'Failing input written' /tmp/pacl-fuzz.log; then
      echo "  ended at its deadline"
      continue
    fi
    cat /tmp/pacl-fuzz.log
    exit 1
  done
done
