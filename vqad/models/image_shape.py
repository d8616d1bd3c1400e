"""Which images the networks take: three channels, sides divisible by 32."""

from vqad.errors import VqadError

SIDE_MULTIPLE = 32


def check_image_shape(shape: tuple[int, ...]) -> None:
    """Raises a VqadError for shapes but [n, h, w, 3] with h and w divisible by 32."""
    if len(shape) != 4:
        raise VqadError(
            f"image: shape {shape} has {len(shape)} axes, give [batch, height, width, 3]"
        )
    if shape[3] != 3:
        hint = "repeat a grey channel" if shape[3] < 3 else "keep red, green and blue"
        raise VqadError(f"image: {shape[3]} channels, but the networks take 3 (RGB); {hint}")
    check_image_size(shape[1:3])


def check_image_size(size: tuple[int, int], name: str = "image") -> None:
    """Refuses a (height, width) that is no positive multiple of 32, and names the nearest that are.

    The codes are 8x smaller than the image, and pooled twice more. Messages call the size ``name``.

    Raises:
      VqadError: a side is not divisible by 32.

    Examples:
      >>> check_image_size((640, 224))
      >>> check_image_size((630, 230))
      Traceback (most recent call last):
        ...
      vqad.errors.VqadError: image: 630 x 230 (height x width), but both sides must be divisible by
      32; the nearest sizes that work are 608 x 224 or 640 x 256
    """
    if all(side > 0 and side % SIDE_MULTIPLE == 0 for side in size):
        return
    below = [max(SIDE_MULTIPLE, side // SIDE_MULTIPLE * SIDE_MULTIPLE) for side in size]
    above = [max(SIDE_MULTIPLE, -(-side // SIDE_MULTIPLE) * SIDE_MULTIPLE) for side in size]
    nearest = " or ".join(dict.fromkeys(f"{h} x {w}" for h, w in (below, above)))
    raise VqadError(
        f"{name}: {size[0]} x {size[1]} (height x width), but both sides must be divisible by "
        f"{SIDE_MULTIPLE}; the nearest sizes that work are {nearest}"
    )
