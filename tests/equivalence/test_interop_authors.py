import re

import numpy as np
import pytest

from vqad.errors import VqadError
from vqad.interop.authors import TELLING, authors_to_variables, bgr_to_rgb, infer_sizes
from vqad.interop.authors_table import PARTS, table

SIZES = {
    "hiddens": 8,
    "residual_hiddens": 4,
    "residual_layers": 3,
    "code_dim": 6,
    "num_codes": 16,
    "restriction_width": 6,
    "object_bottleneck": 5,
    "unet_width": 2,
}


def make_files(parts=PARTS, sizes=SIZES):
    """State dicts in which every number occurs once."""
    files, start = {part: {} for part in parts}, 0
    for (part, name), entry in table(len(parts) == 6, **sizes).items():
        size = int(np.prod(entry.shape))
        numbers = np.arange(start, start + size, dtype=np.float32)
        files[part][name] = numbers.reshape(entry.shape)
        start += size
    return files


def leaves(tree):
    for value in tree.values():
        if isinstance(value, dict):
            yield from leaves(value)
        else:
            yield value


def test_every_number_arrives_once():
    files = make_files()
    given = np.concatenate([a.ravel() for tensors in files.values() for a in tensors.values()])
    arrived = np.concatenate([a.ravel() for a in leaves(authors_to_variables(files))])
    np.testing.assert_array_equal(np.sort(arrived), np.sort(given))


def test_layouts_and_names():
    files = make_files()
    variables = authors_to_variables(files)
    params, model = variables["params"], files["vq_model"]
    autoencoder = params["autoencoder"]
    conv = model["_encoder_b._conv_2.weight"]  # [out, in, height, width]
    assert autoencoder["encoder_hi"]["conv_2"]["kernel"][1, 3, 2, 5] == conv[5, 2, 1, 3]
    transposed = model["_decoder_b._conv_trans_1.weight"]  # [in, out, height, width]
    kernel = autoencoder["general_decoder"]["conv_transpose_1"]["kernel"]
    assert kernel[1, 3, 6, 2] == transposed[6, 2, 1, 3]
    residual = autoencoder["encoder_lo"]["residual_stack"]["layer_2"]["conv_2"]
    assert set(residual) == {"kernel"}
    np.testing.assert_array_equal(
        residual["kernel"][0, 0],
        model["_encoder_t._residual_stack._layers.2._block.3.weight"][:, :, 0, 0].T,
    )
    book = variables["codebook"]["autoencoder"]["quantizer_lo"]
    np.testing.assert_array_equal(book["codes"], model["_vq_vae_top._embedding.weight"])
    np.testing.assert_array_equal(book["ema_sum"], model["_vq_vae_top._ema_w"])
    np.testing.assert_array_equal(
        params["detector"]["up_3"]["conv_1"]["bias"],
        files["anomaly_det_module"]["unet.decoder.up1.1.bias"],
    )
    np.testing.assert_array_equal(
        params["restriction_hi"]["up_2"]["conv_1"]["bias"],
        files["subspace_restriction_hi"]["unet.decoder.up2.1.bias"],
    )


@pytest.mark.parametrize("layers", [1, 2, 5])
def test_sizes_are_read_off(layers):
    sizes = {
        "hiddens": 10,
        "residual_hiddens": 3,
        "residual_layers": layers,
        "code_dim": 4,
        "num_codes": 32,
        "restriction_width": 4,
        "object_bottleneck": 7,
        "unet_width": 3,
    }
    assert infer_sizes(make_files(sizes=sizes)) == sizes


def test_the_autoencoder_alone():
    files = make_files(["vq_model"])
    variables = authors_to_variables(files)
    assert set(variables["params"]) == {"autoencoder"}
    assert set(infer_sizes(files)) == {
        "hiddens",
        "residual_hiddens",
        "residual_layers",
        "code_dim",
        "num_codes",
    }
    flipped = bgr_to_rgb(variables)["params"]["autoencoder"]
    np.testing.assert_array_equal(
        flipped["encoder_hi"]["conv_1"]["kernel"],
        variables["params"]["autoencoder"]["encoder_hi"]["conv_1"]["kernel"][:, :, ::-1],
    )


def test_everything_wrong_is_listed_in_one_line():
    files = make_files()
    del files["vq_model"]["_encoder_b._conv_2.bias"]
    del files["upsample_module"]["unet.decoder.db3.3.weight"]
    files["image_recon_module"]["extra.weight"] = np.zeros(3, np.float32)
    files["anomaly_det_module"]["unet.encoder.block1.0.bias"] = np.zeros(9, np.float32)
    files["subspace_restriction_lo"]["unet.decoder.fin_out.0.bias"] = np.zeros(6, np.int32)
    with pytest.raises(VqadError) as caught:
        authors_to_variables(files)
    message = str(caught.value)
    assert "\n" not in message
    for part in (
        "missing: vq_model: _encoder_b._conv_2.bias, upsample_module: unet.decoder.db3.3.weight;",
        "left over: image_recon_module: extra.weight;",
        "wrong shape: anomaly_det_module: unet.encoder.block1.0.bias is [9], not [2];",
        "subspace_restriction_lo: unet.decoder.fin_out.0.bias is int32",
    ):
        assert part in message


@pytest.mark.parametrize("part", PARTS)
def test_each_tensor_is_needed_and_checked(part):
    files = make_files()
    for name in list(files[part]):
        kept = files[part].pop(name)
        label = re.escape(f"{part}: {name}")
        with pytest.raises(VqadError, match=rf"missing: .*{label}[,.;]"):
            authors_to_variables(files)
        # A tensor that tells a size makes all others of that size the wrong ones.
        told = "" if (part, name) in TELLING.values() else f"{label} is "
        files[part][name] = np.concatenate([kept, kept])
        with pytest.raises(VqadError, match=rf"wrong shape: .*{told}"):
            authors_to_variables(files)
        files[part][name] = kept
    authors_to_variables(files)


@pytest.mark.parametrize("parts", [list(PARTS)[1:], list(PARTS)[:2], [*PARTS, "other"]])
def test_parts_must_be_complete(parts):
    files = {part: {} for part in parts}
    with pytest.raises(VqadError, match="give vq_model alone or all of"):
        authors_to_variables(files)


def test_rgb_conversion_reverses_image_channels_only():
    variables = authors_to_variables(make_files())
    flipped = bgr_to_rgb(variables)
    before, after = variables["params"], flipped["params"]

    def kernel(tree, *path):
        for key in path:
            tree = tree[key]
        return tree["kernel"]

    for path, order in (
        (("autoencoder", "encoder_hi", "conv_1"), [2, 1, 0]),
        (("detector", "encoder_1", "conv_1"), [2, 1, 0, 5, 4, 3]),
        (("upsampler", "encoder_1", "conv_1"), [2, 1, 0, 5, 4, 3, 6, 7]),
    ):
        np.testing.assert_array_equal(
            kernel(after, *path), kernel(before, *path)[:, :, order], err_msg=str(path)
        )
    for path in (
        ("autoencoder", "general_decoder", "conv_transpose_2"),
        ("object_decoder", "conv_transpose_4"),
    ):
        np.testing.assert_array_equal(kernel(after, *path), kernel(before, *path)[..., ::-1])
    pairs = zip(leaves(before), leaves(after), strict=True)
    changed = sum(not np.array_equal(a, b) for a, b in pairs)
    assert changed == 7  # five kernels, two biases
    for a, b in zip(leaves(variables["codebook"]), leaves(flipped["codebook"]), strict=True):
        np.testing.assert_array_equal(a, b)
    for a, b in zip(leaves(before), leaves(bgr_to_rgb(flipped)["params"]), strict=True):
        np.testing.assert_array_equal(a, b)
