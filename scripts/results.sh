#!/usr/bin/env bash
# Puts the pages of a report of experiments/mini.toml into docs/results.md and docs/results/: scripts/results.sh REPORT
# The pictures show scenes of our own and charts only; see pictures in experiments/mini.toml.
set -euo pipefail
cd "$(dirname "$0")/.."
rm -rf docs/results
mkdir docs/results
cp "$1"/pictures/* docs/results/
# Commands name files as from the repository's root, whatever folder it was made in.
sed "s#](pictures/#](results/#; s#$PWD/##g; s#--out $1#--out report#" "$1/report.md" >docs/results.md
