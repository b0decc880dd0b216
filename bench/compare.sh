#!/bin/bash
# uprez beside PyTorch, OpenVINO, ONNX Runtime and ncnn: makes their environment, then runs bench/compare.py in it.
# usage: bench/compare.sh [--env DIR | --python PYTHON] [options of bench/compare.py] UPREZ MODEL…
# --env DIR: where the environment is made once (default: $UPREZ_COMPARE_ENV or ~/.cache/uprez/compare); pip finds
# wheels as its own settings say. --python PYTHON: one that has the packages already.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
env=${UPREZ_COMPARE_ENV:-${XDG_CACHE_HOME:-$HOME/.cache}/uprez/compare}
python=
while [ $# -gt 1 ]; do
  case "$1" in
  --env) env=$2; shift 2 ;;
  --python) python=$2; shift 2 ;;
  *) break ;;
  esac
done
if [ -z "$python" ]; then
  python=$env/bin/python
  if [ ! -e "$env/complete" ]; then
    python3 -m venv "$env"
    "$python" -m pip install --quiet torch openvino onnxruntime ncnn numpy pillow matplotlib
    touch "$env/complete"
  fi
fi
exec "$python" "$here/compare.py" "$@"
