#!/bin/bash
# run_tests.sh PYTHON [PYTEST ARGUMENTS]: every test, those marked "realtime" alone and after the rest.
#
# Both parts always run. Fails with the first part's exit code that is not 0; that a part has no test, as happens
# when the arguments choose some, is a failure only if the other has none either.
set -uo pipefail

python=${1:?usage: run_tests.sh PYTHON [PYTEST ARGUMENTS]}
shift

# Small models that one process has exported serve the others too.
RTSEP_TEST_MODELS=$(mktemp -d)
export RTSEP_TEST_MODELS
trap 'rm -rf "$RTSEP_TEST_MODELS"' EXIT

# More workers than this only compete for memory: each loads torch and all else.
"$python" -m pytest -n logical --maxprocesses 4 --dist worksteal "$@" -m "not realtime"
crowd=$?
# Interrupted by whoever started it: the rest is not wanted either.
[[ $crowd -eq 2 ]] && exit 2
"$python" -m pytest "$@" -n 0 -m realtime
alone=$?

none=5
if [[ $crowd -eq $none && $alone -eq $none ]]; then exit $none; fi
if [[ $crowd -ne 0 && $crowd -ne $none ]]; then exit "$crowd"; fi
if [[ $alone -ne 0 && $alone -ne $none ]]; then exit "$alone"; fi
exit 0
