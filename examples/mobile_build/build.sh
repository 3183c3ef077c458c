#!/usr/bin/env bash
# Exports a model, holds it to the budget, says what changed since the last release, and packages it for the app.
#   build.sh TASK VERSION [LAST_RELEASE]      e.g. build.sh examples/digits.py:task 1.3.0 dist-1.2.0
# Exit code: 0 packaged; 1 not within the budget, or yesterday's app code will not work; 2 something given is wrong.
set -euo pipefail
task=$1 version=$2 last=${3:-}
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
name=${NAME:-model} license=${LICENSE:-Apache-2.0} out=${OUT:-out}

edgekit export "$task" -t arm-mobile -t tflite-int8 -t coreml-fp16 -o "$out" --quiet
edgekit check "$out" --budget "${BUDGET:-$here/budget.toml}"
if [ -n "$last" ]; then
    edgekit diff "$last" "$out"
fi
edgekit package "$out" --name "$name" --version "$version" --license "$license" --for android,ios,react-native,web \
    ${last:+--previous "$last"} ${SIGN:+--sign "$SIGN"} -o "dist-$version"
edgekit verify "dist-$version" ${PUBLIC_KEY:+--key "$PUBLIC_KEY"}
