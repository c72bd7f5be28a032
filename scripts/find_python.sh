#!/bin/sh
# Prints the first Python on the path that can carry rtsep: 3.11 or later, with venv and pip.
# PYTHON=/path/to/python in the environment is the only one tried when it is set.
set -eu

for candidate in ${PYTHON:-python3 python3.13 python3.12 python3.11 python3.14 python}; do
    if "$candidate" -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
        command -v "$candidate"
        exit 0
    fi
done
echo "rtsep needs Python 3.11 or later with venv and pip; on Debian: sudo apt-get install python3 python3-venv" >&2
exit 1
