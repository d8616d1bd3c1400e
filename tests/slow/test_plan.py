import importlib.util
import subprocess
import sys

import jax
import jax.numpy as jnp
import pytest
from command_line import ROOT, TINY, environment

from vqad.cli import main
from vqad.commands.flags import load_config
from vqad.commands.plan import trainers_on
from vqad.config import model_from_config
from vqad.errors import VqadError
from vqad.plan.chips import CHIPS, HOP_SECONDS, Topology
from vqad.plan.compile import compile_step
from vqad.plan.hlo import Array, parse
from vqad.plan.report import Plan, describe, table
from vqad.plan.work import Collective, Work, total_bytes, work
from vqad.run_stage import make_trainer
from vqad.stages import PAPER
from vqad.training.initialization import variable_shapes

# Of ml_collections, which reads the file.
pytestmark = pytest.mark.filterwarnings("ignore:the load_module:DeprecationWarning")
DEMO = f"--config={ROOT / 'configs' / 'demo.py'}"

# Written by XLA for TPU v5e, shortened.
PROGRAM = """\
HloModule jit_f, is_scheduled=true

%add (x: f32[], y: f32[]) -> f32[] {
  %x = f32[]{:T(128)} parameter(0)
  %y = f32[]{:T(128)} parameter(1)
  ROOT %sum = f32[]{:T(128)} add(%x, %y)
}

%product (a: f32[4096,512], b: f32[512,512]) -> f32[4096,512] {
  %a = f32[4096,512]{1,0:T(8,128)S(1)} parameter(0)
  %b = f32[512,512]{1,0:T(8,128)} parameter(1)
  ROOT %convolution.1 = f32[4096,512]{1,0:T(8,128)S(1)} convolution(%a, %b), dim_labels=bf_io->bf, operand_precision={highest,highest}, metadata={op_name="jit(f)/while/body/dot_general"}
}

%body (arg: (s32[], f32[4096,512], f32[512,512], s32[])) -> (s32[], f32[4096,512], f32[512,512], s32[]) {
  %one = s32[]{:T(128)} constant(1)
  %arg = (s32[]{:T(128)}, f32[4096,512]{1,0:T(8,128)S(1)}, f32[512,512]{1,0:T(8,128)}, /*index=3*/s32[]{:T(128)}) parameter(0)
  %i = s32[]{:T(128)} get-tuple-element(%arg), index=0
  %left = f32[4096,512]{1,0:T(8,128)S(1)} get-tuple-element(%arg), index=1
  %right = f32[512,512]{1,0:T(8,128)} get-tuple-element(%arg), index=2
  %limit = s32[]{:T(128)} get-tuple-element(%arg), index=3
  %next = s32[]{:T(128)} add(%i, %one)
  %gathered = bf16[16,1024,512]{2,1,0:T(8,128)(2,1)S(1)} all-gather(%left), channel_id=1, replica_groups=mesh['axis_0'=4,'axis_1'=2] {'axis_0'}, dimensions={0}, use_global_device_ids=true
  %fusion.1 = f32[4096,512]{1,0:T(8,128)S(1)} fusion(%left, %right), kind=kOutput, calls=%product
  ROOT %out = (s32[]{:T(128)}, f32[4096,512]{1,0:T(8,128)S(1)}, f32[512,512]{1,0:T(8,128)}, s32[]{:T(128)}) tuple(%next, %fusion.1, %right, %limit)
}

%condition (arg.1: (s32[], f32[4096,512], f32[512,512], s32[])) -> pred[] {
  %arg.1 = (s32[]{:T(128)}, f32[4096,512]{1,0:T(8,128)S(1)}, f32[512,512]{1,0:T(8,128)}, s32[]{:T(128)}) parameter(0)
  %i.1 = s32[]{:T(128)} get-tuple-element(%arg.1), index=0
  %limit.1 = s32[]{:T(128)} get-tuple-element(%arg.1), index=3
  ROOT %lt = pred[]{:T(512)} compare(%i.1, %limit.1), direction=LT
}

ENTRY %main (p0: f32[4096,512], p1: f32[512,512], p2: f32[100,5]) -> f32[] {
  %p0 = f32[4096,512]{1,0:T(8,128)} parameter(0)
  %p1 = f32[512,512]{1,0:T(8,128)} parameter(1)
  %p2 = f32[100,5]{1,0:T(8,128)} parameter(2)
  %x.1 = f32[3,3,32,16]{2,3,1,0:T(8,128)S(1)} parameter(3)
  %y.1 = f32[]{:T(128)} parameter(4)
  %z.1 = bf16[256]{0:T(256)} parameter(5)
  %w.1 = f32[512,64]{1,0:T(8,128)S(1)} parameter(6)
  %v.1 = f32[2,8]{1,0:T(8,128)S(1)} parameter(7)
  %three = s32[]{:T(128)} constant(3)
  %ten = s32[]{:T(128)} constant(10)
  %start = s32[]{:T(128)} copy(%three)
  %copy-start = (f32[4096,512]{1,0:T(8,128)S(1)}, f32[4096,512]{1,0:T(8,128)}, u32[]{:S(2)}) copy-start(%p0)
  %copy-done = f32[4096,512]{1,0:T(8,128)S(1)} copy-done(%copy-start)
  %tuple = (s32[]{:T(128)}, f32[4096,512]{1,0:T(8,128)S(1)}, f32[512,512]{1,0:T(8,128)}, s32[]{:T(128)}) tuple(%start, %copy-done, %p1, %ten)
  %while.1 = (s32[]{:T(128)}, f32[4096,512]{1,0:T(8,128)S(1)}, f32[512,512]{1,0:T(8,128)}, s32[]{:T(128)}) while(%tuple), condition=%condition, body=%body
  %negate.1 = f32[100,5]{1,0:T(8,128)} negate(%p2)
  %all-reduce.1 = (f32[3,3,32,16]{2,3,1,0:T(8,128)S(1)}, f32[]{:T(128)}, /*index=2*/bf16[256]{0:T(256)}) all-reduce(%x.1, %y.1, %z.1), channel_id=4, replica_groups={{0,1,2,3,4,5,6,7}}, use_global_device_ids=true, to_apply=%add
  %scatter.1 = f32[128,64]{1,0:T(8,128)S(1)} reduce-scatter(%w.1), channel_id=5, replica_groups=[2,4]<=[8], dimensions={0}, to_apply=%add
  %gather-start = ((f32[2,8]{1,0:T(8,128)S(1)}), f32[16,8]{1,0:T(8,128)S(1)}) all-gather-start(%v.1), channel_id=6, replica_groups={}, dimensions={0}
  %gather-done = f32[16,8]{1,0:T(8,128)S(1)} all-gather-done(%gather-start)
  ROOT %element = f32[]{:T(128)} get-tuple-element(%all-reduce.1), index=1
}
"""  # noqa: E501


def test_collectives_of_a_fixed_program():
    found = work(parse(PROGRAM), devices=8).collectives
    told = [(one.kind, one.nbytes, one.group, one.times) for one in found]
    assert told == [
        ("all-gather", 16 * 1024 * 512 * 2, 4, 7),
        ("all-reduce", 4 * (3 * 3 * 32 * 16 + 1) + 2 * 256, 8, 1),
        ("reduce-scatter", 4 * 4 * 128 * 64, 4, 1),
        ("all-gather", 4 * 16 * 8, 8, 1),
    ]
    assert found[1].shapes == "f32[3,3,32,16] and 2 more"
    assert total_bytes(found[:1]) == 7 * found[0].nbytes


def test_work_of_a_fixed_program():
    # Seven turns, from 3 to 10, each reading the matrix that is not in the core's memory.
    product = 2 * 4096 * 512 * 512
    exchanged = ("all-reduce.1", "scatter.1", "gather-start", "gather-done")
    program = [one for one in parse(PROGRAM) if one.name not in exchanged]
    found = work(program, devices=8)
    assert (found.flops, found.products) == (7 * product, 6 * 7 * product)
    padded = 104 * 128 * 4  # 100 x 5 in tiles of 8 x 128
    scalars = 4 * 128  # numbers of loops, each in a tile of its own
    moved = 7 * 4 * 512 * 512 + 4 * 4096 * 512 + 2 * padded
    assert moved <= found.hbm_bytes <= moved + 50 * scalars
    assert found.unknown_loops == []


def test_a_loop_of_unknown_length_counts_once_and_is_named():
    text = PROGRAM.replace(
        "%ten = s32[]{:T(128)} constant(10)", "%ten = s32[]{:T(128)} negate(%three)"
    )
    found = work(parse(text), devices=8)
    assert found.unknown_loops == ["while.1"]
    assert found.collectives[0].times == 1


def test_loops_of_a_compiled_program():
    def function(a, b):
        def outer(c, _):
            return jax.lax.scan(lambda c, _: (c @ b, None), c, None, length=5)[0], None

        return jax.lax.scan(outer, a, None, length=3)[0]

    shapes = [jax.ShapeDtypeStruct(shape, jnp.float32) for shape in ((4, 6), (6, 6))]
    program = parse(jax.jit(function).lower(*shapes).compile().as_text())
    assert work(program, devices=1).flops == 15 * 2 * 4 * 6 * 6


@pytest.mark.parametrize(
    "settings",
    [
        {"window_strides": (2, 1), "padding": "SAME"},
        {"window_strides": (1, 1), "padding": ((2, 2), (1, 3)), "lhs_dilation": (2, 2)},
        {"window_strides": (1, 2), "padding": "VALID", "rhs_dilation": (2, 1)},
        {"window_strides": (1, 1), "padding": "SAME", "feature_group_count": 2},
    ],
)
def test_multiplications_of_convolutions_and_their_gradients(settings):
    groups = settings.get("feature_group_count", 1)
    image, kernel = jnp.ones((2, 9, 8, 4)), jnp.ones((3, 4, 4 // groups, 6))

    def convolve(image, kernel):
        numbers = ("NHWC", "HWIO", "NHWC")
        return jax.lax.conv_general_dilated(image, kernel, dimension_numbers=numbers, **settings)

    # Of ones, each product adds one.
    expected = 2 * int(convolve(image, kernel).sum())
    _, pullback = jax.vjp(convolve, image, kernel)
    result = jax.eval_shape(convolve, image, kernel)
    programs = [jax.jit(convolve).lower(image, kernel)]
    for of in (0, 1):
        programs.append(jax.jit(lambda g, of=of: pullback(g)[of]).lower(result))
    for lowered in programs:
        program = parse(lowered.compile().as_text())
        assert work(program, devices=1).flops == expected


@pytest.mark.parametrize("stage", PAPER.values(), ids=lambda stage: stage.name)
def test_a_train_step_only_sums_over_devices(stage):
    flags = [flag for flag in TINY if "num_codes" not in flag]
    config = load_config([DEMO, *flags, "--config.image_size=(32,32)"])
    with config.unlocked():
        config[stage.name].batch_size = 8
    labelled = stage.source == "surface"
    trainer = make_trainer(config, stage, model_from_config(config), labelled)
    compiled = compile_step(trainer)
    found = work(parse(compiled.as_text()), devices=8).collectives
    assert {one.kind for one in found} == {"all-reduce"}
    assert {(one.group, one.times) for one in found} == {(8, 1)}
    variables = variable_shapes(model_from_config(config), stage)
    trained = [variables["params"][name] for name in stage.trains]
    gradients = sum(4 * a.size for a in jax.tree.leaves(trained))
    # The gradients of biases in front of a norm are zeros, which need no sum.
    biases = sum(4 * a.size for a in jax.tree.leaves(trained) if a.ndim == 1)
    zeros = 0 if stage.name == "stage1" else biases
    # Beside them scalars and, of stage 1, what the codebooks move by: about their variables' size.
    statistics = sum(4 * a.size for a in jax.tree.leaves(variables["codebook"]))
    beside = 1.25 * statistics if stage.ema_update else 400
    assert gradients - zeros < total_bytes(found) <= gradients + beside


def test_roofline():
    topology = Topology.parse("v5e:2x4")
    reduced = Collective("all-reduce", (Array("f32", (25_000_000,)),), 8)
    # A ring of 8: twice 7/8 of 100 MB through two links of 50 GB/s, and twice 1 + 3 hops.
    seconds = 2 * (7 / 8 * 1e8 / 1e11 + 4 * HOP_SECONDS)
    assert topology.exchange_seconds("all-reduce", 10**8, 8) == pytest.approx(seconds)
    gathered = Collective("all-gather", reduced.arrays, 8, times=3)
    assert topology.exchange_seconds("all-gather", 10**8, 8) == pytest.approx(seconds / 2)
    assert topology.exchange_seconds("all-reduce", 10**8, 1) == 0
    # To a neighbour: 100 MB through one link.
    sent = topology.exchange_seconds("collective-permute", 10**8, 2)
    assert sent == pytest.approx(1e8 / 5e10 + HOP_SECONDS)
    done = Work(10**12, 394 * 10**9, 8190 * 10**6, [reduced, gathered])
    found = Plan("stage2", topology, 8, 1, {}, done)
    assert list(found.seconds.values()) == pytest.approx([2e-3, 10e-3, 2.5 * seconds])
    assert found.step == pytest.approx(10e-3 + 2.5 * seconds)


def test_report_and_weak_scaling():
    plans = []
    for name in ("v5e:2x4", "v5e:16x16", "v4:2x2x4"):
        topology = Topology.parse(name)
        reduced = Collective("all-reduce", (Array("f32", (25_000_000,)),), topology.chips)
        done = Work(10**12, 197 * 10**10, 10**9, [reduced])
        images = 2 * topology.chips
        memory = {"state and batch": 2**30, "temporary": 2**29, "program": 0}
        plans.append(Plan("stage2", topology, images, 1000, memory, done))
    text = describe(plans[0])
    assert "1.50 of 16.00 GiB" in text
    assert "bound by matrix units" in text
    assert "1 x a step: f32[25000000]" in text
    rows = [row.strip("| ").split(" | ") for row in table(plans).splitlines()[2:]]
    efficiency = plans[0].step / plans[1].step
    assert [row[-1] for row in rows] == ["-", f"{efficiency:.1%}", "-"]
    assert float(rows[1][7]) == pytest.approx(10 + 2 * (255 / 256 + 30e-3), abs=0.01)
    assert rows[1][6] == "1 all-reduce, 100.0 MB"


def test_padding_to_tiles():
    assert (
        Array("f32", (4, 256, 256, 3), "0,2,3,1:T(8,128)").padded_bytes == 256 * 3 * 256 * 128 * 4
    )
    assert Array("bf16", (16, 32), "1,0:T(8,128)(2,1)S(1)").padded_bytes == 16 * 128 * 2
    assert Array("pred", (), ":T(512)").padded_bytes == 1
    assert Array("s4", (6,), "").nbytes == 6


@pytest.mark.parametrize(
    ("topology", "told"),
    [
        ("v9:2x2", "v4, v5e, v5p, v6e"),
        ("v5e", "v5e:2x4"),
        ("v5e:two", "v5e:2x4"),
        ("v5e:2x2x4", "v5e:2x4"),
        ("v4:4x4", "v4:2x2x4"),
        ("v5e:2x4,v3:2x2", "--topology=v3:2x2"),
    ],
)
def test_no_such_slice(topology, told, capsys):
    assert main(["plan", DEMO, f"--topology={topology}"]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: --topology=")
    assert told in error
    assert error.count("\n") == 1


def test_sides_count_chips():
    assert Topology.parse("v4:2x2x4").chips == 16
    assert Topology.parse("v5e:16x16").chips == 256
    assert all(chip.dimensions in (2, 3) for chip in CHIPS.values())


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        (
            ["--config.stage2.batch=8"],
            "--config.stage2.batch=8: the configuration has no such field",
        ),
        (["--images_per_chip=0"], "--images-per-chip=0: must be at least 1"),
        ([], "pip install 'vqad[tpu]'"),
    ],
)
def test_bad_input_and_no_libtpu_are_told_in_a_line(flags, told, capsys, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert main(["plan", DEMO, "--topology=v5e:2x4", *flags]) == 2
    error = capsys.readouterr().err
    assert told in error
    assert error.count("\n") == 1


def test_other_arguments_are_refused(capsys):
    assert main(["plan", DEMO, "--topology=v5e:2x4", "--chips=8"]) == 2
    assert "error: unrecognized arguments: --chips=8" in capsys.readouterr().err
    assert main(["plan", DEMO, "--topology=v5e:2x4", "more"]) == 2
    assert "error: unrecognized arguments: more" in capsys.readouterr().err
    assert main(["doctor", "folder", "--config.seed=1"]) == 2
    assert "unrecognized arguments: --config.seed=1" in capsys.readouterr().err


def test_batches_on_a_slice(monkeypatch):
    monkeypatch.setattr("vqad.plan.compile.chips_of", lambda topology: jax.devices())
    topology, config = Topology.parse("v5e:2x4"), load_config([DEMO])
    trainers = trainers_on(topology, config, 2, labelled=True)
    assert {each.settings["batch_size"] for each in trainers.values()} == {16}
    assert [each.labelled for each in trainers.values()] == [False, True, True]
    own = trainers_on(topology, config, None, labelled=False)
    assert [each.settings["batch_size"] for each in own.values()] == [16, 8, 8]
    assert not any(each.labelled for each in own.values())
    config = load_config([DEMO, "--config.stage1.accumulate_steps=5"])
    with pytest.raises(VqadError, match="--images-per-chip=2: 16 is not divisible"):
        trainers_on(topology, config, 2, labelled=False)


def test_compiles_for_tpus():
    pytest.importorskip("libtpu", reason="needs libtpu: pip install '.[tpu]'")
    flags = [*TINY, "--config.image_size=(32,32)", "--config.stages=('stage1',)"]
    command = [sys.executable, "-m", "vqad", "plan", DEMO, *flags, "--topology=v5e:2x2,v4:2x2x1"]
    env = environment(JAX_PLATFORMS="")
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("all-reduce of") == 2
    assert all(f"| {name} |" in done.stdout for name in ("v5e:2x2", "v4:2x2x1"))
    command[-1] = "--topology=v5e:3x5"
    refused = subprocess.run(command, env=env, capture_output=True, text=True, timeout=600)
    assert refused.returncode == 2
    assert refused.stderr.startswith("error: --topology=v5e:3x5: ")
