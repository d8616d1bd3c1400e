"""A state that is split over devices, and meshes."""

import dataclasses

import jax
import numpy as np
import pytest
from tiny import Run

from vqad.errors import VqadError
from vqad.stages import STAGES
from vqad.training.sharding import Shardings


def parts(tree):
    """Of each array the share that one device holds, largest arrays first."""
    arrays = sorted(jax.tree.leaves(tree), key=lambda a: -a.size)
    return [a.addressable_shards[0].data.size / a.size for a in arrays]


@pytest.fixture(scope="module")
def one():
    return Run(STAGES["stage1"], 1, 3, double=True)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("split", "of_params", "of_optimizer"),
    [("optimizer", 1, 1 / 4), ("parameters", 1 / 2, 1 / 2)],
)
def test_a_split_state_gives_the_same_numbers(one, split, of_params, of_optimizer):
    shardings = dataclasses.replace(Shardings.over_devices(4, 2, split), min_size=0)
    run = Run(STAGES["stage1"], 8, 3, shardings=shardings, double=True)
    assert parts(run.state.params)[0] == of_params
    assert parts(run.state.opt_state)[0] == of_optimizer
    for a, b in zip(one.metrics, run.metrics, strict=True):
        for key in a:
            np.testing.assert_allclose(a[key], b[key], rtol=1e-10, err_msg=key)


def test_small_arrays_and_odd_sides_are_not_split():
    shardings = Shardings.over_devices(4, 2, "parameters")
    large, small = np.zeros((3, 128, 128), np.float32), np.zeros((64, 64), np.float32)
    odd = np.zeros((3, 3, 2049), np.float32)
    where = shardings.of_params({"large": large, "small": small, "odd": odd})
    specs = {name: sharding.spec for name, sharding in where.items()}
    none = jax.P()
    assert specs == {"large": jax.P(None, "model", None), "small": none, "odd": none}
    assert all(s.spec == none for s in jax.tree.leaves(shardings.of_params({"a": small})))


def test_meshes_must_fit_the_devices():
    assert Shardings.over_devices(model=4).mesh.shape == {"data": 2, "model": 4}
    with pytest.raises(VqadError, match=r"config\.mesh: 3 x 2 .* for 8 devices"):
        Shardings.over_devices(3, 2)
    with pytest.raises(VqadError, match=r"config\.mesh: -1 x 3 .* for 8 devices"):
        Shardings.over_devices(-1, 3)


@dataclasses.dataclass
class Device:
    id: int
    process_index: int


def test_devices_of_a_process_lie_side_by_side(monkeypatch):
    monkeypatch.setattr("vqad.training.sharding.Mesh", lambda devices, names: devices)
    mixed = [Device(i, process) for i, process in enumerate((1, 0, 1, 0))]
    mesh = Shardings.over_devices(2, 2, devices=mixed).mesh
    assert mesh.shape == (2, 2)
    assert [device.id for device in mesh.flat] == [1, 3, 0, 2]
