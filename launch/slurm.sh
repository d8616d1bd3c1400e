#!/usr/bin/env bash
# A SLURM cluster, one task for each GPU; JAX finds the other tasks through SLURM.
#   sbatch --nodes=2 launch/slurm.sh --config=configs/stage1.py --workdir=/shared/runs/stage1 ...
#SBATCH --job-name=vqad
#SBATCH --ntasks-per-node=8
#SBATCH --gpus-per-node=8
#SBATCH --signal=TERM@120
#SBATCH --requeue
set -uo pipefail
srun python launch/main.py --distributed "$@"
code=$?
# 75: stopped by the signal, two minutes before the time is up, and saved. Queue it again.
if [[ $code == 75 ]]; then scontrol requeue "$SLURM_JOB_ID"; fi
exit "$code"
