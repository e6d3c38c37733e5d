#!/usr/bin/env bash
# Puts the pages of a report of experiments/mini.toml into docs/results.md and docs/results/: scripts/results.sh REPORT
# The pictures show scenes of our own and charts only; see pictures in experiments/mini.toml.
set -euo pipefail
cd "$(dirname "$0")/.."
rm -rf docs/results
mkdir docs/results
cp "$1"/pictures/* docs/results/
sed 's#](pictures/#](results/#' "$1/report.md" >docs/results.md
