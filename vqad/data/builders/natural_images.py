"""Pictures of anything, to train the first stage on."""

from vqad.data.builders.base import FilesBuilder, Record
from vqad.data.builders.files import Files


class NaturalImages(FilesBuilder):
    """The pictures of a folder or an archive, in whatever folders they lie; split `train`."""

    LAYOUT = "pictures (.jpg, .png, .bmp, .tif), in whatever folders"
    ARCHIVES = ("*.zip", "*.tar", "*.tar.*", "*.tgz")
    MANUAL_DOWNLOAD_INSTRUCTIONS = """\
    Give the path of a folder of pictures, or of an archive of one"""

    def layout_pattern(self) -> str:
        """All pictures."""
        return r"[^/]+/(?P<name>.+\.(?i:jpg|jpeg|png|bmp|tif|tiff))"

    def records(self, files: Files) -> list[Record]:
        """Every picture."""
        return [Record("train", name) for name in files.names]
