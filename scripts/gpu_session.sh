#!/bin/sh
# On a machine with an NVIDIA GPU and a CUDA build of torch: the tests that need a GPU, the benchmark of decks,
# and how fast training goes. Run in the checkout's root:
#
#   OUT=results scripts/gpu_session.sh [PYTHON]
#
# Everything that it writes lies in $OUT. A part that fails does not stop the others; the exit code is the
# number of parts that failed.
set -u
PYTHON=${1:-python3}
: "${OUT:?OUT is the folder for what this writes}"
mkdir -p "$OUT"
# The caller's torch stays: a virtual environment that sees it gets what else is needed.
if ! "$PYTHON" -c "import torch, sys; sys.exit(not torch.cuda.is_available())"; then
    echo "gpu_session: $PYTHON has no torch that finds a CUDA device" >&2
    exit 2
fi
export PYTHONPATH=. OMP_NUM_THREADS=1
failed=0

part() {
    name=$1
    shift
    echo "== $name"
    if "$@" >"$OUT/$name.log" 2>&1; then
        tail -n 3 "$OUT/$name.log"
    else
        echo "   failed with exit code $?; $OUT/$name.log ends:"
        tail -n 15 "$OUT/$name.log"
        failed=$((failed + 1))
    fi
}

nvidia-smi >"$OUT/nvidia-smi.txt" 2>&1 || true
"$PYTHON" -m venv --system-site-packages "$OUT/.venv" >"$OUT/install.log" 2>&1 || PLAIN=1
if [ -z "${PLAIN:-}" ]; then
    PYTHON="$OUT/.venv/bin/python"
    # Without an index to ask, what is there has to do; parts that lack something say so.
    "$PYTHON" -m pip install numba soundfile soxr safetensors pydantic typer rich onnx pytest pytest-timeout \
        hypothesis psutil stempeg scipy onnxruntime-gpu >>"$OUT/install.log" 2>&1 || true
fi

part tests "$PYTHON" -m pytest -q -rs -p no:cacheprovider -k "cuda or gpu" \
    tests/backends tests/equivalence/test_streaming.py
part gpu_decks "$PYTHON" -m benchmarks.gpu_decks --json "$OUT/gpu_decks.json"
part training_speed "$PYTHON" -m benchmarks.training_speed --seconds 20 --json "$OUT/training_speed.json"

rm -rf "$OUT/.venv"
exit "$failed"
