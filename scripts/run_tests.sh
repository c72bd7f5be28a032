#!/bin/bash
# run_tests.sh PYTHON [PYTEST ARGUMENTS]: every test, in three parts, from the most crowded to one alone.
#
# First what only computes, on all processors; then what is marked "realtime", two at a time, as it mostly waits;
# last what is marked "alone" as well. All parts always run. Fails with the first exit code that is not 0; that a
# part has no test, as happens when the arguments choose some, is a failure only if no other has one either.
set -uo pipefail

python=${1:?usage: run_tests.sh PYTHON [PYTEST ARGUMENTS]}
shift

# Small models that one process has exported serve the others too.
RTSEP_TEST_MODELS=$(mktemp -d)
export RTSEP_TEST_MODELS
trap 'rm -rf "$RTSEP_TEST_MODELS"' EXIT

readonly interrupted=2 none=5
failed=0 ran=0

part() { # MARKS [PYTEST ARGUMENTS]
    local marks=$1 code
    shift
    "$python" -m pytest "$@" -m "$marks"
    code=$?
    # By whoever started it: the rest is not wanted either.
    [[ $code -eq $interrupted ]] && exit $interrupted
    [[ $code -ne $none ]] && ran=1
    [[ $code -ne 0 && $code -ne $none && $failed -eq 0 ]] && failed=$code
}

# More workers than this only compete for memory: each loads torch and all else.
part "not realtime" -n logical --maxprocesses 4 --dist worksteal "$@"
part "realtime and not alone" -n logical --maxprocesses 2 --dist loadfile "$@"
part "realtime and alone" "$@" -n 0

[[ $ran -eq 0 ]] && exit $none
exit $failed
