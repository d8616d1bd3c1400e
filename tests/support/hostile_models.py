"""Hostile settings, checkpoints, PyTorch weights and exports; see `tests/support/hostile.py`."""

import io
import itertools
import json
import zipfile
from pathlib import Path

import numpy as np
from hypothesis import strategies as st
from mutations import (
    ODD,
    PICKLE,
    TEXTS,
    Link,
    Pipe,
    changed_bytes,
    changed_json,
    changed_tree,
    read_tree,
    write_tree,
)

ROOT = Path(__file__).parents[2]
CHOSEN = st.sampled_from


class Config:
    """Settings on the command line, and configurations that a file may give."""

    def __init__(self, folder):
        from vqad.config import base_config

        config = base_config("mvtec_ad/bottle")
        config.pictures = "pictures"
        sound = config.to_dict()
        fields = [
            f"{name}.{inner}" if isinstance(value, dict) else name
            for name, value in sound.items()
            for inner in (value if isinstance(value, dict) else [""])
        ]
        values = st.one_of(
            CHOSEN([str(odd) for odd in ODD]),
            CHOSEN(
                ["(1,2)", "()", "(32,", "'a'", "1e400", "tfds:a:b", "('stage2',)", "64,64", "8"]
            ),
            CHOSEN(["__import__('os').system('touch pwned')", "(" * 300, "9" * 5000]),
            st.text(max_size=10),
        )
        flags = st.tuples(
            st.one_of(CHOSEN(fields), CHOSEN(fields), CHOSEN([*TEXTS, "model", "stage1.x.y"])),
            values,
        ).map(lambda pair: f"--config.{pair[0]}={pair[1]}")
        files = CHOSEN(["stage1", "stage2", "small", "demo", "absent"])
        names = st.tuples(files, CHOSEN(["", "", ":ksdd2", ":folder", *(f":{t}" for t in TEXTS)]))
        files = names.map(lambda pair: f"--config={ROOT}/configs/{pair[0]}.py{pair[1]}")
        lines = st.tuples(files, st.lists(flags, min_size=1, max_size=4))
        self.samples = st.one_of(lines, changed_json(sound).filter(_is_config))
        line = [f"--config.{field}=x" for field in ("surface", "pictures")]
        self.sound = [sound, (f"--config={ROOT}/configs/stage1.py", [*line, "--config.seed=3"])]

    def lay(self, sample, work):
        pass  # it lies on the command line

    def read(self, sample, work, strict=False):
        from ml_collections import ConfigDict

        from vqad.commands.flags import load_config

        if isinstance(sample, tuple):
            config = load_config([sample[0], *sample[1]])
        else:
            config = ConfigDict(sample)
        self._use(config, work, strict)

    def _use(self, config, work, strict):
        from vqad.config import model_from_config, validate, where_data_is
        from vqad.stages import STAGES
        from vqad.training.resume import describe
        from vqad.training.sharding import Shardings

        validate(config)
        validate(config, training=False)
        model_from_config(config)
        for name in config.stages:
            json.dumps(describe(config, STAGES[name], str(work)))
            where_data_is(config, STAGES[name].source)
            settings = config[name]
            Shardings.over_devices(**config.mesh).check_divides(
                name, settings.batch_size, settings.accumulate_steps
            )


def _is_config(value):
    from ml_collections import ConfigDict

    try:
        return isinstance(value, dict) and bool(ConfigDict(value))
    except ValueError:  # a name that no field can have
        return False


class Checkpoint:
    """Workdirs and checkpoint folders."""

    def __init__(self, folder):
        import orbax.checkpoint as ocp

        from vqad import checkpoints
        from vqad.config import base_config
        from vqad.stages import STAGES
        from vqad.training.resume import describe

        self.config = base_config()
        self.config.pictures = "/pictures"  # the same from any folder
        rng = np.random.default_rng(0)
        layer = {"kernel": rng.normal(size=(3, 4)).astype(np.float32)}
        self.variables = {
            "params": {"autoencoder": {"conv": layer}},
            "codebook": {"autoencoder": {"codes": np.ones((4, 2), np.float32)}},
        }
        self.training = {"moments": [layer["kernel"] ** 2], "step": np.int32(2)}
        manager = checkpoints.open_manager(str(folder / "stage1"))
        metadata = describe(self.config, STAGES["stage1"], str(folder))
        for step in (1, 2):
            checkpoints.save(manager, step, self.variables, metadata, self.training)
        checkpoints.finish(manager)
        trees = [read_tree(folder)]
        # With the description of each array in a file of its own.
        plain = ocp.PyTreeCheckpointer(use_ocdbt=False)
        items = {"variables": self.variables, "training": self.training}
        for step, (item, tree) in itertools.product((1, 2), items.items()):
            plain.save(folder / "stage1" / str(step) / item, tree, force=True)
        self.sound = [*trees, read_tree(folder)]
        self.samples = CHOSEN(self.sound).flatmap(changed_tree)

    def lay(self, sample, work):
        write_tree(sample, work)

    def read(self, sample, work, strict=False):
        from vqad import checkpoints
        from vqad.errors import VqadError
        from vqad.stages import STAGES
        from vqad.training.resume import check_units, steps_done

        try:
            variables, metadata = checkpoints.load_weights(str(work))
            check_units(self.config, variables, metadata, "it")
            checkpoints.merge(self.variables, variables, "it")
        except VqadError:
            if strict:
                raise
        # And as a run goes on from it:
        checkpoints.set_aside_damaged(str(work / "stage1"))
        done = steps_done(self.config, STAGES["stage1"], str(work))
        if done is not None:
            checkpoints.load_training(str(work / "stage1"), done, self.training)
            checkpoints.finish(checkpoints.open_manager(str(work / "stage1")))


class Weights:
    """PyTorch checkpoints."""

    def __init__(self, folder):
        import torch

        from vqad.interop.authors_table import table

        table()  # or JAX would make the folder of its cache while a sample is read
        data = ROOT / "tests" / "data"
        whole = {path.name: path.read_bytes() for path in data.glob("*.pckl")}
        one = next(content for name, content in whole.items() if name.startswith("vq_model"))
        tensors = torch.load(io.BytesIO(one), weights_only=True)
        old = io.BytesIO()
        torch.save(tensors, old, _use_new_zipfile_serialization=False)
        files = [one, one, old.getvalue(), PICKLE, _compressed(one)]
        self.sound = [{"vq_model.pckl": one}, {"vq_model.pckl": old.getvalue()}, whole]
        self.samples = st.one_of(
            CHOSEN(files).flatmap(changed_bytes).map(lambda data: {"vq_model.pckl": data}),
            _changed_tensors(tensors).map(lambda state: {"vq_model.pckl": _saved(state)}),
            _changed_tensors(tensors).map(
                lambda state: {"vq_model.pckl": _saved({"state_dict": state})}
            ),
            changed_tree(whole),
        )

    def lay(self, sample, work):
        write_tree(sample, work / "src")

    def read(self, sample, work, strict=False):
        from vqad.interop.import_weights import import_weights

        files = list((work / "src").iterdir())
        import_weights(files[0] if len(files) == 1 else work / "src", work / "out")


def _compressed(data):
    """A zip whose members are packed, as PyTorch packs none."""
    packed = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as old, zipfile.ZipFile(packed, "w", 8) as new:
        for name in old.namelist():
            new.writestr(name, old.read(name))
    return packed.getvalue()


def _saved(value):
    import torch

    data = io.BytesIO()
    torch.save(value, data)
    return data.getvalue()


class Exports:
    """Files that `vqad export` writes as StableHLO and safetensors."""

    def __init__(self, folder):
        from small_model import write_small_model

        from vqad.interop.export import contents, safetensors, stablehlo
        from vqad.prediction.loading import load_folder

        trained = load_folder(str(write_small_model(folder / "weights")))
        text = json.dumps(contents.describe(trained))
        weights = safetensors.pack(trained, text)
        whole = stablehlo.build(trained)(text)
        with zipfile.ZipFile(io.BytesIO(whole)) as archive:
            members = {name: archive.read(name) for name in archive.namelist()}
        self.sound = [{"m.safetensors": weights}, {"m.stablehlo": whole}]
        texts = changed_json(json.loads(text)).map(json.dumps)
        headers = st.one_of(
            changed_json(_header(weights)).map(lambda header: _with_header(weights, header)),
            texts.map(lambda text: safetensors.pack(trained, text)),
            changed_bytes(weights),
            CHOSEN([PICKLE, b"", _with_header(weights, {})]),
        )
        archives = st.one_of(
            *[changed_bytes(data).map(_replacing(members, n)) for n, data in members.items()],
            headers.map(_replacing(members, "weights.safetensors")),
            texts.map(str.encode).map(_replacing(members, "metadata.json")),
            changed_tree(members).map(_archive),
            changed_bytes(whole),
            CHOSEN([_compressed(whole), PICKLE]),
        )
        self.samples = st.one_of(
            headers.map(lambda data: {"m.safetensors": data}),
            archives.map(lambda data: {"m.stablehlo": data}),
            CHOSEN([{"m.stablehlo": odd} for odd in (Pipe(), Link("loop"), Link("outside/file"))]),
        )

    def lay(self, sample, work):
        write_tree(sample, work)

    def read(self, sample, work, strict=False):
        import vqad

        for path in work.iterdir():
            vqad.load(path)


def _header(data):
    return json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])


def _with_header(data, header):
    """A safetensors file with another header."""
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + data[8 + int.from_bytes(data[:8], "little") :]


def _archive(members):
    """A zip whose checksums are right, of a folder's files."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, data in members.items():
            if isinstance(data, bytes):
                archive.writestr(zipfile.ZipInfo(name.replace("\0", "_")), data)
    return file.getvalue()


def _replacing(members, name):
    return lambda data: _archive({**members, name: data})


@st.composite
def _changed_tensors(draw, tensors):
    import torch

    odd = [
        torch.zeros(1).expand(10**6, 10**6),
        torch.zeros(3, 3).to_sparse(),
        torch.zeros(2, device="meta"),
        torch.zeros(0),
        torch.zeros((0, 0, 4, 4)),
        torch.zeros(()),
        torch.zeros(4).to(torch.float8_e4m3fn),
        torch.zeros(4, dtype=torch.complex64),
        torch.zeros(4, dtype=torch.bool),
        torch.quantize_per_tensor(torch.zeros(4), 1.0, 0, torch.qint8),
        torch.nn.Parameter(torch.zeros(4)),
        None,
        "x",
        {"a": torch.zeros(1)},
    ]
    tensors = dict(tensors)
    for _ in range(draw(st.integers(1, 3))):
        name = draw(CHOSEN(sorted(tensors) or ["x"]))
        how = draw(CHOSEN(["odd", "half", "delete", "delete all", "number", "add"]))
        big = torch.is_tensor(tensors.get(name)) and tensors[name].numel() > 10**6
        if how == "odd" or big:
            tensors[name] = draw(CHOSEN(odd))
        elif how == "half" and torch.is_tensor(tensors.get(name)):
            tensors[name] = tensors[name].to(draw(CHOSEN([torch.float16, torch.bfloat16])))
        elif how == "delete":
            tensors.pop(name, None)
        elif how == "delete all":
            part = draw(CHOSEN(["_residual_stack", "_vq_vae", "_encoder", "_decoder", "weight"]))
            tensors = {n: t for n, t in tensors.items() if part not in n}
        elif how == "number":
            number = draw(CHOSEN(["99999999999", "9" * 5000, "-1", "x", "٣"]))
            tensors[f"_encoder_b._residual_stack._layers.{number}._block.1.weight"] = torch.ones(1)
        else:
            tensors[draw(CHOSEN(TEXTS))] = torch.zeros(2)
    return tensors
