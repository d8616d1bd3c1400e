"""What a run keeps for the next start, and what it shows of its speed."""

import contextlib
import os
import subprocess

import jax
import jax.numpy as jnp
import pytest
from command_line import OPTIMIZED, command, environment

from vqad.training.profiling import Profile


def test_compiled_steps_are_kept_and_a_profile_is_left(tmp_path):
    env = environment(**OPTIMIZED)
    env.pop("JAX_COMPILATION_CACHE_DIR")
    line = command(
        tmp_path / "run",
        "--config.stages=('stage1',)",
        "--config.stage1.steps=6",
        "--config.profile_steps=2",
    )
    result = subprocess.run(line, env=env, capture_output=True, text=True, timeout=600)
    assert result.returncode == 0, result.stderr
    compiled = os.listdir(tmp_path / "run" / "compiled")
    assert any(name.startswith("jit_train_step") for name in compiled)
    profile = tmp_path / "run" / "profile" / "stage1"
    table = (profile / "table.txt").read_text()
    first, *rows = table.splitlines()
    assert first.endswith("ms  step")
    assert float(first.split()[0]) > 0
    assert len(rows) >= 5
    assert any("convolution" in row or "conv" in row for row in rows)
    assert table.strip() in result.stderr
    assert list(profile.glob("**/*.xplane.pb"))


def test_a_profile_longer_than_the_stage_ends_with_it(tmp_path):
    double = jax.jit(lambda x: x @ x)
    for stage in ("first", "second"):  # an unfinished trace would keep the second from starting
        profile = Profile(str(tmp_path / stage), 50)
        for number in range(1, 6):
            with profile.step(number):
                profile.wait_for(double(jnp.ones((64, 64))))
        assert not (tmp_path / stage / "table.txt").exists()
        profile.close()
        assert (tmp_path / stage / "table.txt").read_text().splitlines()[0].endswith("ms  step")


def test_a_failure_in_the_first_traced_step_is_not_hidden(tmp_path):
    profile = Profile(str(tmp_path), 2)
    with pytest.raises(KeyError, match="broken"), contextlib.closing(profile):
        for number in range(1, 5):
            with profile.step(number):
                profile.wait_for(jnp.ones(1) + number)
                if number == 3:
                    raise KeyError("broken")
    with profile.step(1):  # the trace has ended
        pass
    assert not (tmp_path / "table.txt").exists()
