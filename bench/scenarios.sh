#!/bin/sh
# The same upscaling done in every way this machine has, in one table: see scenarios.py, which has the
# options. usage: bench/scenarios.sh UPREZ MODEL=WxH … [--out DIR] …
exec python3 "$(dirname "$0")/scenarios.py" "$@"
