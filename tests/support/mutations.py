"""Sound input changed a little, as Hypothesis strategies: bytes, JSON, folders.

A folder is a dict of names to what is there: bytes, None for an empty folder, a `Link` or a `Pipe`.
"""

import copy
import json
import os
import pickle
from typing import NamedTuple

from hypothesis import strategies as st

NUMBERS = (0, -1, 1, 2, 0.5, 1e308, float("nan"), float("inf"), 2**31, 2**63, -(2**63), 10**30)
TEXTS = ("", "..", "../outside/x", "/dev/zero", "\0", "\ud800", "a\nb", "x" * 5000, "١٢", "nan")
ODD = (None, True, False, *NUMBERS, *TEXTS, [], {}, [[]], [{}], {"": None}, [1e9] * 3, [2**40] * 2)

_place = st.one_of(st.integers(0, 80), st.integers(0, 2**20))
_payload = st.one_of(
    st.binary(min_size=1, max_size=8),
    st.sampled_from(
        [
            b"\0" * 8,
            b"\xff" * 8,
            b"\x7f\xff\xff\xff",
            b"\0\1\0\0",
            b"99999999999",
            b"\n",
            b'"',
            b"{",
        ]
    ),
)
_edit = st.one_of(
    st.tuples(st.just("flip"), _place, st.integers(0, 7)),
    st.tuples(st.just("set"), _place, _payload),
    st.tuples(st.just("insert"), _place, _payload),
    st.tuples(st.just("cut"), _place, st.just(0)),
    st.tuples(st.just("drop"), _place, st.integers(1, 64)),
    st.tuples(st.just("repeat"), _place, st.integers(1, 2000)),
)


class Link(NamedTuple):
    """A symbolic link; a target that starts with ``outside`` is in the folder of that name."""

    target: str


class Pipe(NamedTuple):
    """A named pipe, on which a reader waits for ever."""


class Evil:
    """Unpickled, it would write a file."""

    def __reduce__(self):
        return os.system, ("touch pwned",)


PICKLE = pickle.dumps(Evil())


def edited(data, edits):
    """Bytes with some of them changed."""
    data = bytearray(data)
    for what, place, how in edits:
        at = place % max(len(data), 1)
        if what == "flip" and data:
            data[at] ^= 1 << how
        elif what == "set":
            data[at : at + len(how)] = how
        elif what == "insert":
            data[at:at] = how
        elif what == "cut":
            del data[at:]
        elif what == "drop":
            del data[at : at + how]
        elif what == "repeat":
            data[at:at] = data[at : at + 16] * (how // 16 + 1)
    return bytes(data)


def changed_bytes(data):
    """Bytes with up to four changes."""
    return st.lists(_edit, min_size=1, max_size=4).map(lambda edits: edited(data, edits))


def _places(value, path=()):
    yield path
    items = value.items() if isinstance(value, dict) else ()
    for key, inner in enumerate(value) if isinstance(value, list) else items:
        yield from _places(inner, (*path, key))


def _lists(value):
    """A copy whose tuples are lists, to be changed."""
    if isinstance(value, dict):
        return {key: _lists(inner) for key, inner in value.items()}
    return [_lists(inner) for inner in value] if isinstance(value, list | tuple) else value


@st.composite
def changed_json(draw, value, odd=ODD):
    """A JSON value with up to three of its parts replaced, taken out, or added."""
    value = _lists(value)
    for _ in range(draw(st.integers(1, 3))):
        *path, last = draw(st.sampled_from([p for p in _places(value) if p] or [(None,)]))
        new = copy.deepcopy(draw(st.sampled_from(odd)))
        if last is None:
            return new
        part = value
        for key in path:
            part = part[key]
        how = draw(st.sampled_from(["set", "set", "set", "delete", "add", "whole"]))
        if how == "set":
            part[last] = new
        elif how == "delete":
            del part[last]
        elif how == "add" and isinstance(part, dict):
            part[draw(st.sampled_from(["x", "", "0", "../x", "params", "model"]))] = new
        elif how == "whole" and draw(st.integers(0, 9)) == 0:
            return new
    return value


def changed_file(data):
    """A file's bytes changed; a JSON file also as JSON."""
    try:
        value = json.loads(data)
    except (ValueError, RecursionError):
        return changed_bytes(data)
    as_json = changed_json(value).map(lambda v: json.dumps(v).encode())
    return st.one_of(as_json, as_json, as_json, changed_bytes(data), st.just(b"[" * 100_000))


@st.composite
def changed_tree(draw, tree):
    """A folder with up to three of its files changed, replaced, moved or taken away."""
    tree = dict(tree)
    for _ in range(draw(st.integers(1, 3))):
        name = draw(st.sampled_from(sorted(tree) or ["x"]))
        found = tree.pop(name, b"")
        how = draw(st.sampled_from(["change"] * 6 + ["other", "odd name", "delete", "parent"]))
        if how == "change" and isinstance(found, bytes):
            tree[name] = draw(changed_file(found))
        elif how == "other":
            odd = [b"", None, PICKLE, b"{}", Pipe(), Link("outside"), Link("loop")]
            tree[name] = draw(st.sampled_from([*odd, Link("outside/file"), *tree.values()]))
        elif how == "odd name":
            base = draw(st.sampled_from(["999999999999999999999", "-1", "03", "a b\n", "7", "x_7"]))
            folder, _, last = name.rpartition("/")
            parts = [part for part in (folder, base + os.path.splitext(last)[1]) if part]
            tree["/".join(parts)] = found
        elif how == "parent":  # a file in place of the folder
            folder = name.rpartition("/")[0] or name
            tree = {n: v for n, v in tree.items() if not f"{n}/".startswith(f"{folder}/")}
            tree[folder] = draw(st.sampled_from([b"", PICKLE, None, Link("outside")]))
    return tree


def read_tree(folder):
    """The files of a folder as a dict."""
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def write_tree(tree, folder):
    """Writes a dict as a folder; what cannot be there beside the rest is left out."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in sorted(tree.items()):
        path = folder / name
        if os.path.lexists(path) or any(os.path.islink(p) for p in path.parents):
            continue
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except (FileExistsError, NotADirectoryError):
            continue
        if isinstance(content, Link):
            base = next((p for p in path.parents if (p / "outside").is_dir()), path.parent)
            out = content.target.startswith("outside")
            path.symlink_to(base / content.target if out else content.target)
        elif isinstance(content, Pipe):
            os.mkfifo(path)
        elif content is None:
            path.mkdir()
        else:
            path.write_bytes(content)
