#!/usr/bin/env bash
# A slice of TPU VMs: every worker runs the same command; JAX finds the others by itself.
#   TPU=name ZONE=us-central2-b launch/tpu_vm.sh --config=configs/stage1.py --workdir=gs://bucket/stage1 ...
# --workdir is a bucket, or a folder that all workers see.
# Once before: TPU=name ZONE=... launch/tpu_vm.sh install
set -euo pipefail
run='cd vqad && . .venv/bin/activate && python launch/main.py --distributed'
if [[ ${1:-} == install ]]; then
  shift
  run='cd vqad && python3 -m venv .venv && .venv/bin/pip install ".[gcs]" "jax[tpu]"'
  gcloud compute tpus tpu-vm scp --recurse --worker=all --zone="${ZONE:?}" . "${TPU:?}:vqad"
fi
gcloud compute tpus tpu-vm ssh "${TPU:?}" --zone="${ZONE:?}" --worker=all \
  --command="$run ${*@Q}"
