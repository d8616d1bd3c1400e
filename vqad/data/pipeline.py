"""One Grain pipeline from a source to batches, for training and for evaluation.

The elements of the pipeline are whole batches, a pure function of the seed and the batch's number:
that makes starting in the middle exact, and each process loads only its part.
"""

import math
import os
from collections.abc import Iterator

import grain
import numpy as np
from absl import flags

from vqad.data.decode import resize_image, resize_mask
from vqad.data.sources import Source
from vqad.errors import VqadError

Batch = dict[str, np.ndarray]

NUM_THREADS = min(8, os.cpu_count() or 1)
_ENDLESS = 2**40


def training_batches(
    source: Source,
    *,
    batch_size: int,
    image_size: tuple[int, int],
    seed: int,
    start_step: int = 0,
    random_crop: bool,
    labelled_share: float = 0.0,
    process_index: int = 0,
    process_count: int = 1,
    num_threads: int = NUM_THREADS,
    num_workers: int = 0,
) -> Iterator[Batch]:
    """Endless batches for training, in a fresh order each epoch.

    Batch `i` depends on `seed` and `i` alone, so the position to go on from is the number of steps
    done: starting with `start_step=i` goes on exactly where a run stopped. A process gets its
    contiguous part of each global batch. Fewer images than a batch holds are repeated within it.

    Args:
      source: Images; of their own sizes (`image_size=None`) for random crops.
      batch_size: Images in a global batch, a multiple of `process_count`.
      image_size: Height and width of what comes out.
      seed: Determines order, crops and mirroring.
      start_step: Number of the first batch.
      random_crop: Take a random part, from `image_size` pixels up to the largest of its aspect
        ratio, resize it to `image_size` and mirror it half of the time.
      labelled_share: Share of the images, in [0, 1), that are labelled defects, spread evenly over
        the batches, where the source has such.
      process_index: Which of the processes that share each batch this is.
      process_count: How many there are.
      num_threads: How many batches a process loads at once.
      num_workers: Processes that load, each with threads and a part of what `source` keeps in
        memory; 0 loads in this process.

    Yields:
      With n = batch_size / process_count: `image` uint8 [n, *image_size, 3]; with labelled defects
      also `mask` uint8 [n, *image_size] of 0 and 1 and `labelled` bool [n].

    Raises:
      VqadError: `batch_size` cannot be divided among the processes, or a picture cannot be read.
    """
    if batch_size < 1 or batch_size % process_count:
        what = f"cannot be divided among {process_count} processes"
        raise VqadError(f"batch_size {batch_size}: {what}; choose a multiple of {process_count}")
    local = batch_size // process_count
    share = labelled_share if source.num_labelled else 0.0
    num_good = len(source) - source.num_labelled
    good = _endless_order(num_good, seed)
    labelled = _endless_order(source.num_labelled, seed) if share else None

    def load(step: int) -> Batch:
        # Each image goes to its place at once, so that its memory serves for the next one.
        batch = {"image": np.empty((local, *image_size, 3), np.uint8)}
        if share:
            batch["mask"] = np.zeros((local, *image_size), np.uint8)
            batch["labelled"] = np.zeros(local, bool)
        for i in range(local):
            slot = process_index * local + i
            number = step * batch_size + slot
            before = math.floor(share * number)  # labelled ones among the images before this one
            is_labelled = math.floor(share * (number + 1)) > before
            index = num_good + labelled[before] if is_labelled else good[number - before]
            example = source[int(index)]
            image = example["image"]
            if random_crop:
                image = _random_view(image, image_size, np.random.default_rng((seed, step, slot)))
            batch["image"][i] = resize_image(image, image_size)
            if is_labelled:
                batch["mask"][i] = resize_mask(example["mask"], image_size)
                batch["labelled"][i] = True
        return batch

    batches = _loaded(grain.MapDataset.range(_ENDLESS)[start_step:].map(load), num_threads)
    if num_workers:
        if not flags.FLAGS.is_parsed():  # Grain's workers look at flags, though none is given
            flags.FLAGS.mark_as_parsed()
        options = grain.multiprocessing.MultiprocessingOptions(num_workers=num_workers)
        batches = batches.mp_prefetch(options)
    return iter(batches)


def _endless_order(count: int, seed: int) -> grain.MapDataset:
    """The numbers below `count` in a random order, in another one the next time, and so on."""
    return grain.MapDataset.range(count).seed(seed).shuffle().repeat()


def evaluation_batches(source: Source, batch_size: int) -> Iterator[Batch]:
    """Every image of a test split once, in order, in batches of n images.

    The last batch is filled up with copies of the last image that are not valid.

    Yields:
      `image` uint8 [n, h, w, 3], `mask` uint8 [n, h, w] of 0 and 1, `label`, `class_id` and `index`
      (into the source) int32 [n], `valid` and `has_mask` bool [n].
    """

    def load(step: int) -> Batch:
        wanted = step * batch_size + np.arange(batch_size)
        index = np.minimum(wanted, len(source) - 1).astype(np.int32)
        examples = [source[int(i)] for i in index]
        batch = {key: np.stack([example[key] for example in examples]) for key in examples[0]}
        return batch | {"index": index, "valid": wanted < len(source)}

    batches = grain.MapDataset.range(-(-len(source) // batch_size)).map(load)
    return iter(_loaded(batches, NUM_THREADS))


def _random_view(image: np.ndarray, size: tuple[int, int], rng: np.random.Generator) -> np.ndarray:
    """A random part of an image at `size`, mirrored half of the time.

    The part's height is uniform from `size` to the largest that fits with the wanted aspect ratio;
    of an image too small for that the largest part is taken, and enlarged.
    """
    (height, width), (image_height, image_width) = size, image.shape[:2]
    largest = min(image_height, image_width * height / width)
    part_height = rng.uniform(min(height, largest), largest)
    part_width = min(part_height * width / height, image_width)
    top = rng.uniform(0, image_height - part_height)
    left = rng.uniform(0, image_width - part_width)
    box = (left, top, left + part_width, top + part_height)
    view = resize_image(image, size, box)
    return view[:, ::-1] if rng.random() < 0.5 else view


def _loaded(batches: grain.MapDataset, num_threads: int) -> grain.IterDataset:
    ahead = grain.ReadOptions(num_threads=num_threads, prefetch_buffer_size=num_threads + 2)
    return batches.to_iter_dataset(ahead)
