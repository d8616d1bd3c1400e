#!/usr/bin/env bash
# TPU slices on Google Kubernetes Engine, through xpk (pip install xpk); the image has vqad[gcs] in it.
# --workdir is a bucket, or a folder that all hosts see.
#   CLUSTER=name NAME=stage1 IMAGE=gcr.io/project/vqad TPU=v5litepod-256 SLICES=1 \
#     launch/gke_xpk.sh --config=configs/stage1.py --workdir=gs://bucket/stage1 ...
set -euo pipefail
xpk workload create --cluster="${CLUSTER:?}" --workload="${NAME:?}" --docker-image="${IMAGE:?}" \
  --tpu-type="${TPU:?}" --num-slices="${SLICES:-1}" --max-restarts=100 \
  --command="python launch/main.py --distributed ${*@Q}"
