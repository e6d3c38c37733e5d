#!/usr/bin/env bash
# Writes the generated files anew: the assembly of internal/kernel and its declarations.
set -euo pipefail
cd "$(dirname "$0")/../internal/kernel/_generate"
go run .
