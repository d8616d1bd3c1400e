"""What the scripts in launch/ run, with stand-ins for the clusters' commands."""

import os
import subprocess

import pytest
from command_line import ROOT

ARGS = ["--config=configs/demo.py", "--config.stages=('stage1',)"]
QUOTED = """'--config=configs/demo.py' '--config.stages=('\\''stage1'\\'',)'"""


@pytest.fixture
def run(tmp_path):
    """Runs a script; returns its exit code and what the stand-ins were called with."""
    log = tmp_path / "calls"
    for name in ("python", "srun", "scontrol", "gcloud", "xpk"):
        code = 75 if name == "srun" else 0
        stand_in = tmp_path / "bin" / name
        stand_in.parent.mkdir(exist_ok=True)
        stand_in.write_text(f'#!/bin/sh\nprintf "%s\\n" {name} "$@" >> {log}\nexit {code}\n')
        stand_in.chmod(0o755)

    def run(script, *args, **variables):
        path = f"{tmp_path / 'bin'}:{os.environ['PATH']}"
        line = [str(ROOT / "launch" / script), *args]
        done = subprocess.run(line, env={**os.environ, "PATH": path, **variables}, check=False)
        return done.returncode, log.read_text().splitlines() if log.exists() else []

    return run


def test_every_script_is_sound_bash():
    scripts = sorted((ROOT / "launch").glob("*.sh"))
    assert len(scripts) == 4
    for script in scripts:
        subprocess.run(["bash", "-n", str(script)], check=True)
        assert os.access(script, os.X_OK)


def test_slurm_starts_every_task_and_queues_a_stopped_run_again(run):
    code, calls = run("slurm.sh", *ARGS, SLURM_JOB_ID="7")
    assert code == 75
    train = ["srun", "python", "launch/main.py", "--distributed", *ARGS]
    assert calls == [*train, "scontrol", "requeue", "7"]


def test_every_worker_of_a_slice_runs_the_same_command(run):
    code, calls = run("tpu_vm.sh", *ARGS, TPU="pod", ZONE="zone")
    assert code == 0
    assert calls[:7] == ["gcloud", "compute", "tpus", "tpu-vm", "ssh", "pod", "--zone=zone"]
    assert calls[7] == "--worker=all"
    assert calls[8].endswith(f"python launch/main.py --distributed {QUOTED}")
    code, calls = run("tpu_vm.sh", "install", TPU="pod", ZONE="zone")
    assert code == 0
    assert calls[-1].rstrip().endswith('install ".[gcs]" "jax[tpu]"')
    assert run("tpu_vm.sh", *ARGS)[0] != 0


def test_xpk_gets_the_command(run):
    code, calls = run("gke_xpk.sh", *ARGS, CLUSTER="c", NAME="n", IMAGE="i", TPU="v5litepod-256")
    assert code == 0
    assert calls[:3] == ["xpk", "workload", "create"]
    assert calls[-1] == f"--command=python launch/main.py --distributed {QUOTED}"


def test_one_machine_needs_no_cluster(run):
    assert run("gpus.sh", *ARGS) == (0, ["python", "launch/main.py", *ARGS])
