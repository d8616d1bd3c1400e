"""What is compiled while a stage trains: all of it before its second step."""

import jax
import pytest
from tiny import tiny_config

from vqad.run import run
from vqad.training.progress import Progress

COMPILED = "/jax/core/compile/backend_compile_duration"


@pytest.fixture
def compiled():
    """Whatever JAX compiles, while the test adds names of what happens to the same list."""
    events = []

    def listen(event, seconds, **about):
        if event == COMPILED:
            events.append(about.get("fun_name", "unnamed"))

    jax.monitoring.register_event_duration_secs_listener(listen)
    yield events
    jax.monitoring.unregister_event_duration_listener(listen)


def test_nothing_is_compiled_after_the_first_step_of_a_stage(tmp_path, monkeypatch, compiled):
    def note(name):
        original = getattr(Progress, name)

        def method(self, *args):
            compiled.append(f"{self.stage} {name}")
            return original(self, *args)

        monkeypatch.setattr(Progress, name, method)

    note("compiled")
    note("close")
    jax.clear_caches()
    config = tiny_config()
    config.pictures, config.surface = "tfds:surface_demo/pictures", "tfds:surface_demo/tiles"
    config.stages = ("stage1", "stage2")
    config.mesh.update(data=4, model=2, split="optimizer")
    config.log.update(every_steps=2, images_every_steps=3)
    config.checkpoint.every_steps = 4
    run(config, str(tmp_path / "run"))
    for stage in config.stages:
        first, last = (compiled.index(f"{stage} {name}") for name in ("compiled", "close"))
        assert compiled[first + 1 : last] == []
    # The listener heard what was compiled before that.
    assert "jit(train_step)" in compiled[: compiled.index("stage1 compiled")]
