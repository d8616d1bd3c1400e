"""Measuring each link of a model, with networks and images whose figures are known."""

import importlib.util
import json

import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image
from scipy import ndimage
from small_model import noise, write_small_model

import vqad
from benchmarks.limits import __main__ as limits
from benchmarks.limits import picture, shapes
from benchmarks.limits.bands import WAVELENGTHS, band_power, measure_bands
from benchmarks.limits.ceilings import Detectors, halves, measure_ceilings
from benchmarks.limits.contrast import contrast_maps, mean_levels, measure_contrast, ring
from benchmarks.limits.drawn import AS_TRAINED, measure_drawn, settings
from benchmarks.limits.figures import effect_size, image_auroc, local_mean, pixel_figures
from benchmarks.limits.links import Links, in_batches
from benchmarks.limits.neighbours import distances
from benchmarks.limits.scores import measure_scores, standardise
from benchmarks.limits.surface import LabelledImages, read_test, subsample
from vqad.errors import VqadError
from vqad.models.dsr import Dsr, smooth

SIZE = (32, 32)
STAGE2 = {"min_strength": 0.2, "max_cells": 8}
KEYS = {
    "bands",
    "errors",
    "drawn",
    "ring",
    "good",
    "pixels",
    "ceilings",
    "scores",
    "combined",
    "neighbours",
}


def squares(good=6, defective=6, seed=0):
    """Grey noise with a bright square on the defective ones, which come last; and without it."""
    rng = np.random.default_rng(seed)
    n = good + defective
    images = rng.integers(90, 110, (n, *SIZE, 3), np.uint8)
    masks = np.zeros((n, *SIZE), np.uint8)
    for mask in masks[good:]:
        top, left = rng.integers(4, 20, 2)
        mask[top : top + 8, left : left + 8] = 1
    drawn = np.where(masks[..., None] > 0, images + 100, images).astype(np.uint8)
    class_ids = np.repeat([0, 1], [good, defective]).astype(np.int32)
    return LabelledImages(drawn, masks, class_ids, ("good", "square")), images


def test_bands_of_a_copy_have_no_error_and_those_of_a_blurred_image_rise_with_frequency():
    image = noise(4).astype(np.float32) / 255
    # "reflect" makes a blur diagonal in the DCT: each wave is damped, none turns into another.
    blurred = ndimage.gaussian_filter(image, (0, 1.5, 1.5, 0), mode="reflect")
    rows = measure_bands(image, {"copy": image, "blurred": blurred, "black": 0 * image}).rows
    assert list(rows) == [*WAVELENGTHS, "all"]
    relative = [rows[wave]["relative blurred"] for wave in WAVELENGTHS]
    assert relative[0] > 0.8 and relative[-1] < 1e-6
    assert all(np.diff(relative) < 0)
    for row in rows.values():
        assert row["relative copy"] == 0 and row["PSNR copy"] == np.inf
        assert row["relative black"] == 1
    error = np.square(blurred - image).mean()
    assert rows["all"]["PSNR blurred"] == pytest.approx(-10 * np.log10(error), abs=1e-4)


@pytest.mark.parametrize(("wavelength", "band"), [(2.1, 0), (4, 1), (8, 2), (16, 3), (64, 5)])
def test_a_wave_is_in_its_band_alone(wavelength, band):
    x = np.cos(2 * np.pi * round(128 / wavelength) / 128 * (np.arange(64) + 0.5))
    power = band_power(np.broadcast_to(x[None, :, None, None], (1, 64, 64, 1)))
    assert power.sum() == pytest.approx(0.5)
    assert power[band] == pytest.approx(0.5)


class OneDecoder(Dsr):
    """A DSR whose I_spc is what the general decoder draws, and whose detector subtracts."""

    def decode_specific(self, restored):
        upsampled = self.autoencoder.upsample_lo(restored.lo.values)
        return self.autoencoder.decode(upsampled, restored.hi.values)

    def detect(self, specific, general):
        difference = jnp.abs(specific - general).mean(-1)
        return jnp.stack([jnp.zeros_like(difference), difference], -1)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    return vqad.load(str(write_small_model(tmp_path_factory.mktemp("model"), lively=True)))


@pytest.fixture(scope="module")
def drawn(trained):
    fields = {name: getattr(trained.model, name) for name in Dsr.__dataclass_fields__}
    fields = {name: value for name, value in fields.items() if name not in ("parent", "name")}
    links = Links(OneDecoder(**fields), trained.variables, batch=8)
    images = noise(6)
    errors, detected = measure_drawn(links, images, 12, STAGE2)
    return links, images, errors.rows, detected.rows


def test_an_oracle_detects_all_that_is_drawn_and_nothing_else(drawn):
    # With the undisturbed codes, I_spc is I_gen wherever nothing was drawn.
    _, _, errors, detected = drawn
    assert list(errors) == list(detected) and len(detected) == 10  # too small for 32 cells
    assert detected[AS_TRAINED]["AUROC codes"] == 1
    assert detected[AS_TRAINED]["AP codes"] > 2 * detected[AS_TRAINED]["anomalous pixels"]
    # Restrictions that were never trained restore nothing, nor is the image I_gen.
    for name in ("restored", "I"):
        assert detected[AS_TRAINED][f"AP {name}"] < detected[AS_TRAINED]["AP codes"]


def test_errors_of_what_is_undisturbed_do_not_depend_on_the_anomaly(drawn):
    links, images, errors, _ = drawn
    order = np.resize(np.random.default_rng(0).permutation(6), 12)
    name, draws = next(iter(settings(12, SIZE, STAGE2)))
    seen = links.look(images[order])
    target = links.look_at_drawn(images[order], draws)["target"] > 0
    assert name == AS_TRAINED and 0 < target.mean() < 1
    image = images[order].astype(np.float32) / 255
    for ours, theirs in (("codes", "codes"), ("undisturbed", "I_spc")):
        error = np.square(seen[theirs] - image).mean(-1)
        for place, where in (("inside", target), ("outside", ~target)):
            expected = -10 * np.log10(error[where].mean())
            assert errors[AS_TRAINED][f"{ours} {place}"] == pytest.approx(expected, abs=1e-3)


def test_without_a_mask_nothing_is_disturbed(drawn):
    links, images, _, _ = drawn
    _, draws = next(iter(settings(6, SIZE, STAGE2)))
    found = links.look_at_drawn(images, draws.replace(mask=np.zeros_like(draws.mask)))
    assert not found["target"].any()
    assert np.allclose(found["maps"]["codes"], 0.5)  # a difference of nothing
    np.testing.assert_allclose(found["errors"]["restored"], found["errors"]["undisturbed"])
    np.testing.assert_allclose(found["errors"]["I_gen"], found["errors"]["codes"])
    assert (found["errors"]["I"] == 0).all()


def test_links_look_as_the_model_predicts(trained):
    images = noise(5)
    seen = Links(trained.model, trained.variables, 4).look(images)
    predicted = trained.predict_batch(images)
    names = {"I_gen": "general", "I_spc": "specific", "M_up": "mask"}
    for ours, theirs in names.items():
        np.testing.assert_allclose(seen[ours], predicted[theirs], atol=1e-5)
    window = trained.model.score_window
    scores = local_mean(seen["M"], window).max((1, 2))
    np.testing.assert_allclose(scores, predicted["score"], atol=1e-5)


def test_batches_have_one_size():
    sizes = []

    def double(a):
        sizes.append(len(a))
        return {"b": 2 * a}

    assert in_batches(double, 4, np.arange(10))["b"].tolist() == list(range(0, 20, 2))
    assert sizes == [4, 4, 4]


@pytest.mark.parametrize("size", [(128, 128), (64, 96)])
def test_masks_are_of_their_kind(size):
    masks = {
        "thin": shapes.thin_curves(6, size),
        "spots": shapes.small_spots(6, size),
        "coarse": shapes.perlin_masks_of(4, 6, size),
        "fine": shapes.perlin_masks_of(32, 6, size),
        "trained": shapes.trained_masks(8, 6, size),
    }
    for mask in masks.values():
        assert mask.shape == (6, *size, 1) and mask.any((1, 2, 3)).all()
        assert set(np.unique(mask)) == {0, 1}
    # A thin curve is gone where both neighbours must be in the mask, a region of few cells is not.
    thick = {
        name: ndimage.binary_erosion(m, np.ones((1, 5, 5, 1))).sum() for name, m in masks.items()
    }
    assert thick["thin"] == 0 < thick["coarse"]
    counts = {name: ndimage.label(m[0, ..., 0])[1] for name, m in masks.items()}
    assert counts["fine"] > 3 * counts["coarse"]
    assert not (shapes.thin_curves(6, size, seed=1) == masks["thin"]).all()


def test_a_bright_square_stands_out_where_it_is_drawn():
    part, without = squares()
    image, without = (images.astype(np.float32) / 255 for images in (part.images, without))
    maps = contrast_maps(image, without, without)
    around, good, pixels = (table.rows for table in measure_contrast(maps, part))
    assert pixels["|I - I_gen|"]["AUROC"] == pixels["|I - I_spc|"]["AP"] == 1
    assert pixels["|I_gen - I_spc|"]["AUROC"] == 0.5  # equal everywhere
    for rows in (around, good):
        for name in ("square", "all"):
            assert rows[name]["|I - local mean|"] > 5
            assert abs(rows[name]["|I_gen - local mean|"]) < 3
            assert np.isnan(rows[name]["|I_gen - I_spc|"])
    inside, around, elsewhere = mean_levels(maps["|I - I_gen|"], part)
    np.testing.assert_allclose(inside, 100 / 255, rtol=1e-5)
    assert elsewhere.shape == (6, 6) and not around.any() and not elsewhere.any()


def test_a_ring_is_around_its_mask_and_apart_from_it():
    mask = np.zeros((64, 64), np.uint8)
    mask[28:36, 28:36] = 1
    around = ring(mask)
    assert not (around & (mask > 0)).any()
    assert around[32, 39] and around[32, 41] and not around[32, 37] and not around[32, 42]


def test_effect_size_is_the_difference_in_pooled_deviations():
    rng = np.random.default_rng(0)
    a, b = rng.normal(3, 2, 20_000), rng.normal(1, 2, 10_000)
    assert effect_size(a, b) == pytest.approx(1, abs=0.03)
    assert effect_size(np.append(a, np.nan), b) == effect_size(a, b) == -effect_size(b, a)
    assert np.isnan(effect_size(a[:1], b))


def test_figures_of_unbounded_maps_are_those_of_their_order():
    rng = np.random.default_rng(0)
    masks = rng.integers(0, 2, (3, *SIZE))
    maps = np.where(masks, 0.3, 0.2).astype(np.float32) + rng.random((3, *SIZE), np.float32) / 4
    inside, outside = pixel_figures(maps, masks), pixel_figures(np.exp(9 * maps), masks)
    assert inside == pytest.approx(outside, abs=1e-3)
    ranks = maps[masks > 0][:, None] > maps[masks == 0]
    assert inside["pixel_auroc"] == pytest.approx(ranks.mean(), abs=1e-3)


def test_detectors_learn_what_their_pictures_show(trained):
    part, _ = squares(12, 12, seed=1)
    shown = np.repeat(part.masks[..., None], 3, -1).astype(np.float32)
    image = part.images.astype(np.float32) / 255
    hidden = np.full_like(image, 0.5)
    own = np.zeros(part.masks.shape, np.float32)
    pairs = {"shown": (hidden, shown), "hidden": (hidden, hidden)}
    wider = trained.model.clone(unet_width=8)  # one of width 4 learns it slowly
    rows = measure_ceilings(wider, pairs, own, part, steps=60).rows
    assert rows["shown"]["AP"] > 0.95 and rows["shown"]["AUROC"] == 1
    share = part.masks.mean()
    assert rows["hidden"]["AP"] < 5 * share and rows["the model"]["AUROC"] == 0.5
    halves_of = [rows["shown"][f"AP half {half}"] for half in (1, 2)]
    assert rows["shown"]["AP"] == pytest.approx(np.mean(halves_of))


def test_detectors_start_from_the_weights_that_they_are_given(trained):
    part, _ = squares()
    image = part.images.astype(np.float32) / 255
    own = {"params": trained.variables["params"]["detector"]}
    detectors = Detectors(trained.model, 1, own, learning_rate=1e-8)
    rows = np.arange(4)
    params = detectors.train((image, image), part.masks, np.arange(12))
    maps = (detectors.look(each, (image, image), rows) for each in (params, own))
    np.testing.assert_allclose(*maps, atol=1e-4)


def test_a_detector_is_not_evaluated_on_what_it_was_trained_on(trained, monkeypatch):
    rows_of = {"train": [], "look": []}

    def note(name, method):
        def noted(self, *args):
            rows_of[name].append(set(args[-1].tolist()))
            return method(self, *args)

        return noted

    for name in rows_of:
        monkeypatch.setattr(Detectors, name, note(name, getattr(Detectors, name)))
    part, _ = squares()
    image = part.images.astype(np.float32) / 255
    measure_ceilings(trained.model, {"I, I": (image, image)}, image[..., 0], part, steps=1)
    for training, evaluated in zip(rows_of["train"], rows_of["look"], strict=True):
        assert training | evaluated == set(range(12)) and not training & evaluated


def test_halves_share_every_kind():
    first, second = halves(np.array([0, 1, 0, 2, 1, 1, 0, 1, 2, 0]))
    assert sorted([*first, *second]) == list(range(10))
    for class_ids in ([0, 0, 1, 2], [0, 0, 0, 1, 1]):
        class_ids = np.array(class_ids)
        for half in halves(class_ids):
            assert set(class_ids[half] > 0) == {False, True}


def test_standardised_scores_overlook_a_place_that_is_always_bright():
    rng = np.random.default_rng(0)
    maps, good = (rng.random((n, *SIZE), np.float32) / 10 for n in (20, 30))
    for array in (maps, good):
        array[:, 8:12, 8:12] += 0.7 + rng.random((len(array), 1, 1), np.float32) / 10
    defective = np.arange(20) >= 10
    maps[defective, 20:24, 20:24] += 0.4
    both = ({"M": array, "M_up": array} for array in (maps, good))
    rows, combined = (table.rows for table in measure_scores(*both, defective, 3))
    assert rows["M standardised"]["3 x 3"] == 1 > rows["M"]["3 x 3"]
    assert rows["M"]["3 x 3"] == image_auroc(local_mean(maps, 3).max((1, 2)), defective)
    own = combined["the model's score, M, 3 x 3"]
    assert own["AUROC"] == rows["M"]["3 x 3"] and own["from"] < own["AUROC"] < own["to"]
    assert combined["M_up, 3 x 3"]["AUROC"] == own["AUROC"]  # the same map
    assert combined["M and M_up standardised, all windows"]["AUROC"] == 1
    assert np.isfinite(standardise(maps, np.zeros_like(good))).all()


def test_local_means_are_those_of_the_models_score():
    maps = np.random.default_rng(0).random((2, *SIZE), np.float32)
    for window in (1, 3, 21):
        np.testing.assert_allclose(local_mean(maps, window), smooth(maps, window), atol=1e-6)


def test_subsampling_keeps_the_shares():
    class_ids = np.repeat([0, 1, 2], [40, 20, 20])
    for most, counts in ((8, [4, 2, 2]), (0, [40, 20, 20]), (500, [40, 20, 20])):
        assert np.bincount(class_ids[subsample(class_ids, most)]).tolist() == counts


def write_surface(folder, part):
    for number, (image, mask) in enumerate(zip(part.images, part.masks, strict=True)):
        kind = "square" if mask.any() else "good"
        for split in ("train", "test") if kind == "good" else ("test",):
            path = folder / split / kind / f"{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            # No image of training is one of testing.
            Image.fromarray(image if split == "test" else image[::-1]).save(path)
        if kind == "square":
            path = folder / "ground_truth/square" / f"{number}_mask.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(255 * mask).save(path)
    return str(folder)


def test_the_command_writes_all_tables(tmp_path, capsys):
    config = {"calibration": {"held_out": 0.5}, "image_size": list(SIZE), "stage2": STAGE2}
    model = write_small_model(tmp_path / "model", lively=True, config=config)
    surface = write_surface(tmp_path / "surface", squares(8, 5)[0])
    options = ["--images", "9", "--drawn", "4", "--steps", "2", "--batch", "4"]
    limits.main([str(model), surface, *options])
    written = json.loads((tmp_path / "model_limits/limits.json").read_text())
    assert set(written["tables"]) == KEYS
    assert written["about"]["good images held aside"] == "4, not trained on"
    assert sum(written["about"][f"{kind} test images"] for kind in ("good", "defective")) == 9
    text = (tmp_path / "model_limits/limits.md").read_text()
    printed = capsys.readouterr().out
    drawing = tmp_path / "model_limits/limits.png"
    assert drawing.exists() == (importlib.util.find_spec("matplotlib") is not None)
    for key, table in written["tables"].items():
        assert f"## {key}: {table['title']}" in text and f"## {key}: {table['title']}" in printed


def test_without_steps_no_detector_is_retrained(trained):
    part, _ = squares(4, 4)
    found = limits.measure(trained, part, part.images[:4], drawn=4, steps=0, batch=4)
    assert {table.key for table in found} == KEYS - {"ceilings"}


def test_a_picture_without_all_tables_has_fewer_panels():
    pytest.importorskip("matplotlib", reason="needs Matplotlib: pip install -e '.[notebooks]'")
    image = noise(2) / 255
    table = measure_bands(image, {"I_gen": image / 2})
    whole, empty = (picture.draw(tables, "a title") for tables in ({"bands": table}, {}))
    assert whole.startswith(b"\x89PNG") and len(empty) < len(whole)


def test_distances_are_those_to_the_nearest_good_feature():
    rng = np.random.default_rng(0)
    good, maps = (rng.normal(size=(n, 4, 4, 3)).astype(np.float32) for n in (5, 9))
    bank = good.reshape(-1, 3)
    apart = (maps[..., None, :] - bank) / (bank.std(0) + 1e-6)
    expected = np.linalg.norm(apart, axis=-1).min(-1)
    np.testing.assert_allclose(distances(maps, good), expected, rtol=1e-3, atol=1e-3)


def test_too_few_images_are_refused(tmp_path):
    surface = write_surface(tmp_path, squares(3, 3)[0])
    assert len(read_test(surface, SIZE, 4).images) == 4
    with pytest.raises(VqadError, match="1 good and 1 defective test images are measured, too few"):
        read_test(surface, SIZE, 2)
