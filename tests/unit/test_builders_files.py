import io
import re
import stat
import tarfile
import zipfile

import numpy as np
import pytest
from raw_data import write_mvtec

from vqad.data.builders.files import open_files
from vqad.errors import VqadError

PATTERN = r"(?:[^/]+/){1,2}(?P<name>(?:train|test)/\d+\.txt)"
LAYOUT = "train/<number>.txt"


def write(root):
    for name in ("train/1.txt", "train/2.txt", "test/3.txt", "train/notes.md", "train/.4.txt"):
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)


def pack(path, files):
    """A zip or a tar of (name, bytes) pairs; bytes None makes a link."""
    if path.suffix == ".zip":
        with zipfile.ZipFile(path, "w") as archive:
            for name, data in files:
                info = zipfile.ZipInfo(name)
                info.external_attr = (0o644 if data is not None else stat.S_IFLNK | 0o777) << 16
                archive.writestr(info, data if data is not None else "/etc/passwd")
        return path
    with tarfile.open(path, "w:xz" if path.suffix == ".xz" else "w") as archive:
        for name, data in files:
            info = tarfile.TarInfo(name)
            if data is None:
                info.type, info.linkname = tarfile.SYMTYPE, "/etc/passwd"
            info.size = len(data or b"")
            archive.addfile(info, io.BytesIO(data or b""))
    return path


def contents(path, scratch, **options):
    files = open_files(path, PATTERN, LAYOUT, scratch, **options)
    return {name: files.read(name).decode("latin-1") for name in files.names}


EXPECTED = {name: name for name in ("test/3.txt", "train/1.txt", "train/2.txt")}


@pytest.mark.parametrize("inside", [".", "wrapping"])
def test_folder_itself_or_one_that_holds_it(inside, tmp_path):
    write(tmp_path / "raw" / inside)
    assert contents(tmp_path / "raw", tmp_path / "scratch") == EXPECTED
    assert not (tmp_path / "scratch").exists()


@pytest.mark.parametrize("name", ["raw.zip", "raw.tar", "raw.tar.xz"])
@pytest.mark.parametrize("prefix", ["", "wrapping/"])
def test_archive_itself_or_a_folder_that_holds_it(name, prefix, tmp_path):
    (tmp_path / "scratch").mkdir()
    files = [(prefix + file, file.encode()) for file in (*EXPECTED, "train/notes.md")]
    path = pack(tmp_path / name, [*files, (f"__MACOSX/{prefix}train/1.txt", b"other")])
    assert contents(path, tmp_path / "scratch") == EXPECTED
    assert contents(tmp_path, tmp_path / "scratch", archives=["RAW*"]) == EXPECTED
    assert len(list((tmp_path / "scratch").iterdir())) == 3


@pytest.mark.parametrize("kind", ["zip", "tar"])
@pytest.mark.parametrize(
    ("member", "data", "reason"),
    [
        ("train/5.txt", None, "is a link"),
        ("../train/5.txt", b"", "leads out"),
        ("train/../../5.txt", b"", "leads out"),
        ("/train/5.txt", b"", "leads out"),
        ("train\\..\\..\\5.txt", b"", "leads out"),
        ("C:/train/5.txt", b"", "leads out"),
    ],
)
def test_members_that_lead_out_are_refused(kind, member, data, reason, tmp_path):
    (tmp_path / "scratch").mkdir()
    path = pack(tmp_path / f"raw.{kind}", [("train/1.txt", b"1"), (member, data)])
    with pytest.raises(VqadError, match=rf"raw\.{kind}: member .*5.txt' {reason}"):
        contents(path, tmp_path / "scratch")
    assert not (tmp_path / "5.txt").exists()


def test_links_out_of_a_folder_are_refused_those_within_are_read(tmp_path):
    write(tmp_path / "raw")
    (tmp_path / "raw/test/5.txt").symlink_to(tmp_path / "raw/train/1.txt")
    found = contents(tmp_path / "raw", tmp_path / "scratch")
    assert found == EXPECTED | {"test/5.txt": "train/1.txt"}
    (tmp_path / "secret.txt").write_text("secret")
    (tmp_path / "raw/test/6.txt").symlink_to("../../secret.txt")
    with pytest.raises(VqadError, match=r"6\.txt: a link that leads out of .*raw; put the files"):
        contents(tmp_path / "raw", tmp_path / "scratch")
    (tmp_path / "raw/test/6.txt").unlink()
    (tmp_path / "raw/more").symlink_to(tmp_path)
    with pytest.raises(VqadError, match="more: a link that leads out"):
        contents(tmp_path / "raw", tmp_path / "scratch")


def test_what_cannot_be_used_is_told_in_one_line(tmp_path):
    def message(path, **options):
        with pytest.raises(VqadError) as error:
            contents(path, tmp_path, **options)
        assert "\n" not in str(error.value)
        return str(error.value)

    assert "none: no such file or folder; check" in message(tmp_path / "none")
    (tmp_path / "raw.zip").write_bytes(b"<html>not found</html>")
    assert "raw.zip: neither a zip nor a tar, or not" in message(tmp_path / "raw.zip")
    (tmp_path / "other.zip").write_bytes(b"")
    names = message(tmp_path, archives=["*.zip"])
    assert f"{tmp_path}: holds other.zip and raw.zip; give the path of one" in names
    layout = message(tmp_path, archives=["ksdd*.zip"])
    assert "not in the layout expected; give a folder with train/<number>.txt, or an arch" in layout
    write(tmp_path / "one")
    write(tmp_path / "two")
    assert "holds the data twice, in" in message(tmp_path)


@pytest.mark.parametrize("name", ["raw.zip", "raw.tar.xz"])
def test_damaged_archives_are_refused(name, tmp_path):
    (tmp_path / "scratch").mkdir()
    noise = np.random.default_rng(0).bytes(200_000)
    whole = pack(path := tmp_path / name, [(file, noise[::-1]) for file in EXPECTED]).read_bytes()
    path.write_bytes(whole[:150_000] + bytes(100) + whole[150_100:])
    problem = "(Bad CRC-32" if name == "raw.zip" else "cannot be read"
    with pytest.raises(VqadError, match=rf"{name}: damaged.*{re.escape(problem)}"):
        contents(path, tmp_path / "scratch")
    path.write_bytes(whole[:180_000])
    problem = "neither a zip nor a tar" if name == "raw.zip" else "damaged"
    with pytest.raises(VqadError, match=f"{name}: {problem}"):
        contents(path, tmp_path / "scratch")


def test_category_is_never_taken_for_another(tmp_path):
    write_mvtec(tmp_path / "mvtec")
    pattern = r"(?:[^/]+/){0,2}cable/(?P<name>(?:train|test)/[^/]+/[^/]+\.png)"
    with pytest.raises(VqadError, match="not in the layout"):
        open_files(tmp_path / "mvtec", pattern, LAYOUT, tmp_path)
