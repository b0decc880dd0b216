#!/bin/bash
# Go or no-go on an NVIDIA GPU, within 170 s: is the engine right on this card, and how fast is it. Stops at the
# first thing that is wrong. docs/cuda.md says how to report the result.
#
# usage: tests/gpu/go.sh [--pack FOLDER | --build FOLDER] [--models FOLDER] [--out FOLDER] [--seconds N]
#   --pack      made by tests/gpu/pack.sh: programs, networks, a clip
#   --build     a build with CUDA that has bench/gpu, bench/network, bench/probe and bench/probe.fatbin (default
#               build-gpu/lib, which is made where it is missing)
#   --models    real checkpoints, taken by their usual names instead of weights from a seed
#   --out       default build-gpu/out, or $OUT
#   --seconds   no step begins, and none goes on, after so many (170)
#   --rehearse  tiny pictures and long limits, for the emulated driver
# Writes FOLDER/go.json (a JSON object a line, each at once), FOLDER/smi.csv and FOLDER/log. Exit 0: all is right.
. "$(dirname "$0")/steps.sh"
stop_at_red=1
begin 170 "$@"
big=1280x720 n=60 middle="64x48 640x360" quick='' odd=129x65 nets="general small1 plain light" small="small1 plain light"
[ -z "$rehearse" ] || { big=48x32 n=2 middle=40x24 quick=quick odd=33x17 nets="tiny1 tiny2" small=$nets; }
model=$(net "${nets%% *}")
lines() { for m in $1; do for s in $2; do printf "'%s nv12 %s' " "$(net "$m")" "$s"; done; done; }
rate="ours \"\$bin/gpu\" device '$model' nv12 $big cuda $n"

step machine 10 facts
step networks 15 "make_nets $nets"
step probe 20 'ours "$bin/probe" "$fatbin"'
step probe_rates 20 "ours \"\$bin/probe\" \"\$fatbin\" rates $quick"
step check_small 15 "checks $(lines "$small" $odd)"
step check_general 15 "checks $(lines "${nets%% *}" "$middle")"
step rate 15 "$rate"
step rate_again 10 "$rate"
step rate_no_graph 8 "UPREZ_CUDA_DEBUG=no-graph $rate"
step rate_no_overlap 8 "UPREZ_CUDA_DEBUG=no-overlap $rate"
step floors 20 'has_torch; python3 "$root/tests/gpu/torch_rate.py" floors'
end_all
