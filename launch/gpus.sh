#!/usr/bin/env bash
# One machine with several GPUs: one process uses all of them.
#   launch/gpus.sh --config=configs/stage2.py --workdir=runs/stage2 ...
# GPUS=0,1 uses some. A batch size must be divisible by their number.
set -euo pipefail
if [[ -n ${GPUS:-} ]]; then export CUDA_VISIBLE_DEVICES=$GPUS; fi
exec python launch/main.py "$@"
