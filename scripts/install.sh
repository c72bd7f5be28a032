#!/bin/bash
# install.sh VENV EXTRA: puts rtsep, editable, with the pinned packages of one extra into a virtual environment.
set -euo pipefail

venv=${1:?usage: install.sh VENV EXTRA}
extra=${2:?usage: install.sh VENV EXTRA}
python=$venv/bin/python

if [[ ! -x $python ]]; then
    "$(sh scripts/find_python.sh)" -m venv "$venv"
fi

export PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_INPUT=1
pip=("$python" -m pip install --quiet --quiet -c constraints.txt)
echo "Installing rtsep[$extra] into $venv (the first time takes some minutes)"
# The build tools come first and pinned: a build environment of pip's own would take whatever is newest. Some
# dependencies come as sources, and the setuptools of an older venv cannot build wheels of them.
"${pip[@]}" hatchling editables setuptools
"${pip[@]}" --no-build-isolation -e ".[$extra]"
