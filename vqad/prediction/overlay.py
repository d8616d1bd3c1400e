"""What was found, drawn over the image."""

import numpy as np

COLOUR = (255, 40, 40)


def overlay(image: np.ndarray, values: np.ndarray, marked: np.ndarray) -> np.ndarray:
    """Reddens an image uint8 [h, w, 3] by its map float32 [h, w]; outlines marks bool [h, w]."""
    share = 0.6 * np.clip(values, 0, 1)[..., None]
    drawn = image * (1 - share) + np.array(COLOUR, np.float32) * share
    drawn[outline(marked)] = COLOUR
    return np.round(drawn).astype(np.uint8)


def outline(marked: np.ndarray) -> np.ndarray:
    """The pixels of a mask bool [h, w] that have a neighbour outside of it; bool [h, w]."""
    from scipy import ndimage

    return marked & ~ndimage.binary_erosion(marked)
