"""Open a page to drop an image on.

It shows score, verdict, mask, I_gen and I_spc; nothing leaves this machine.
"""

import argparse
import logging
import os
import socket
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from vqad.commands.arguments import Parser, add, add_model, number
from vqad.errors import VqadError, printable, reason

if TYPE_CHECKING:
    import gradio
    import numpy as np

    from vqad.prediction.detector import Detector

logger = logging.getLogger(__name__)

KEPT = 3600  # seconds; Ctrl-C removes the pictures that are left in Gradio's folder
HEIGHT = 280
# Small pictures are enlarged.
STYLE = ".image-frame img { width: 100%; height: 100%; object-fit: contain; }"


def arguments(parser: Parser) -> None:
    add_model(parser)
    add(parser, "--host ADDRESS", "where to listen; that is this machine alone", "127.0.0.1")
    add(parser, "--port N", "port to listen on", 7860, type=number(int, 1, 65535))


def run(args: argparse.Namespace) -> None:
    """Serves the page until it is interrupted."""
    # Nothing is sent anywhere.
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
    try:
        import gradio
    except ImportError as error:
        raise VqadError(f"vqad demo needs Gradio ({error}); pip install 'vqad[demo]'") from error
    _check_free(args.host, args.port)
    import numpy as np

    from vqad.interop.load import load

    detector = load(args.model)
    logger.info("compiling")
    detector.reconstruct(np.zeros((*detector.image_size, 3), np.uint8))
    page = build_page(gradio, viewer(detector), os.path.abspath(args.model))
    page.launch(
        server_name=args.host,
        server_port=args.port,
        share=False,
        ssr_mode=False,
        quiet=True,
        prevent_thread_lock=True,
        footer_links=["api"],
        css=STYLE,
        # Fonts of the machine: the default ones would be fetched.
        theme=gradio.themes.Default(font="system-ui", font_mono="ui-monospace"),
    )
    print(f"http://{args.host}:{args.port} (Ctrl-C ends it)", flush=True)
    page.block_thread()


def _check_free(host: str, port: int) -> None:
    """Raises a VqadError if an address cannot be listened on, before the model is read."""
    try:
        kind, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][::4]
        with socket.socket(kind) as trial:
            trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            trial.bind(address)
    except OSError as error:
        raise VqadError(
            f"--host={host} --port={port}: cannot listen there ({reason(error)}); give "
            "another port or address"
        ) from error


def viewer(detector: "Detector") -> Callable[[str], tuple]:
    """A function of a picture's path to score, verdict, overlay, mask, I_gen and I_spc, uint8."""
    from vqad.data.decode import decode
    from vqad.prediction.pictures import overlay, to_uint8

    def view(path: str) -> tuple[float, str, "np.ndarray", ...]:
        picture = decode(path, value_range=detector.value_range)
        found, limits = detector.predict(picture), detector.thresholds
        if found.verdicts is not None:
            told = "defective" if found.verdicts else "good"
            verdict = f"{told} (the threshold is {limits.score:.6g})"
        elif limits is not None:
            verdict = "none: the thresholds are of predictions with --tile or of another size"
        else:
            verdict = "none without thresholds; vqad calibrate sets them"
        drawn = overlay(picture.image, found.masks, found.shown)
        pictures = drawn, to_uint8(found.masks), *detector.reconstruct(picture)
        return float(f"{found.scores:.6g}"), verdict, *pictures

    return view


def build_page(gradio: Any, view: Callable[[str], tuple], model: str) -> "gradio.Blocks":
    """Builds the page that shows what ``viewer`` returned finds, and calls the model so."""

    def shown(path: str | None) -> tuple:
        if path is None:
            return (None,) * 6
        try:
            return view(path)
        except VqadError as error:  # the browser's user knows nothing of where the file lies
            told = str(error).replace(path, os.path.basename(path))
            raise gradio.Error(printable(told), print_exception=False) from error

    def picture(label: str) -> "gradio.Image":
        options = {"format": "png", "interactive": False, "buttons": ["download", "fullscreen"]}
        return gradio.Image(label=label, height=HEIGHT, **options)

    with gradio.Blocks(title="vqad", analytics_enabled=False, delete_cache=(KEPT, KEPT)) as page:
        gradio.Markdown(f"# vqad\n`{printable(model)}`")
        with gradio.Row():
            given = gradio.Image(
                label="Image",
                type="filepath",
                image_mode=None,
                sources=["upload", "clipboard"],
                height=HEIGHT,
            )
            # Only vqad reads the file: Gradio would open it with all of Pillow's readers.
            given.preprocess = lambda payload: payload and payload.path
            overlaid = picture("Found: the map in red, outlined what is marked")
        with gradio.Row():
            score = gradio.Number(label="Score", interactive=False)
            verdict = gradio.Textbox(label="Verdict", interactive=False, scale=2)
        with gradio.Row():
            others = [picture(label) for label in ("Mask (M_up)", "I_gen", "I_spc")]
        outputs = [score, verdict, overlaid, *others]
        given.change(shown, given, outputs, api_name="look", show_progress="minimal")
    return page
