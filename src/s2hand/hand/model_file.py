"""MANO-shaped hand models read from files: the embedded open hand, ``.npz``, MANO's ``.pkl``.

A model file is read as data: nothing in it can run (``allow_pickle=False`` for ``.npz``,
:mod:`s2hand.hand.mano_pickle` for ``.pkl``).
"""

from __future__ import annotations

import hashlib
import zipfile
import zlib
from dataclasses import dataclass
from functools import cached_property
from importlib.resources import as_file, files
from pathlib import Path
from typing import Literal

import numpy as np

from s2hand.files.atomic import atomic_path
from s2hand.geometry.skeleton import MANO_PARENTS, NUM_VERTICES
from s2hand.hand.mano_pickle import MAX_FILE_BYTES, read_mano_pickle

Side = Literal["right", "left"]

OPEN_HAND = "open_hand_right.npz"
NUM_FACES = 1538

# Key in the file: the shape it must have.
_REQUIRED: dict[str, tuple[int, ...]] = {
    "v_template": (NUM_VERTICES, 3),
    "f": (NUM_FACES, 3),
    "weights": (NUM_VERTICES, 16),
    "shapedirs": (NUM_VERTICES, 3, 10),
    "posedirs": (NUM_VERTICES, 3, 135),
    "J_regressor": (16, NUM_VERTICES),
    "kintree_table": (2, 16),
    "hands_components": (45, 45),
    "hands_mean": (45,),
}
_OPTIONAL: dict[str, tuple[int | None, ...]] = {
    "hands_coeffs": (None, 45),
    "v_albedo": (NUM_VERTICES, 3),
}

_GET_MANO = (
    "MANO is free for research after registration: download it from https://mano.is.tue.mpg.de, "
    "then convert it once with `s2hand-mano MANO_RIGHT.pkl` and give that .npz. "
    "The embedded open hand needs no file: use hand=open"
)


@dataclass(frozen=True, eq=False)
class HandModel:
    """The arrays of a MANO-shaped hand, metres and radians, float64 and int64."""

    v_template: np.ndarray
    """[778, 3] vertices at rest; fingers along -x (right hand), palm -y, thumb side +z."""
    faces: np.ndarray
    """[1538, 3] vertex ids, counter-clockwise seen from outside."""
    weights: np.ndarray
    """[778, 16] skinning weights, rows sum to 1."""
    shapedirs: np.ndarray
    """[778, 3, 10] displacement per unit of each shape coefficient."""
    posedirs: np.ndarray
    """[778, 3, 135] pose correctives over the entries of R - I of the 15 finger joints."""
    J_regressor: np.ndarray
    """[16, 778] joints as weighted means of vertices."""
    hands_components: np.ndarray
    """[45, 45] rows: principal directions of the finger joints' axis-angles."""
    hands_mean: np.ndarray
    """[45] mean axis-angle pose of the finger joints."""
    parents: np.ndarray
    """[16] parent of each joint, -1 at the wrist."""
    side: Side
    name: str
    hands_coeffs: np.ndarray | None = None
    """[n, 45] the poses that the components were learned from, if the file holds them."""
    albedo: np.ndarray | None = None
    """[778, 3] RGB skin colour 0..1, if the file holds one."""

    @cached_property
    def fingerprint(self) -> str:
        """16 hex digits that identify the model: codes of one model mean nothing on another.

        sha256 over the arrays that a code's vertices depend on, in float32.
        """
        digest = hashlib.sha256(self.side.encode())
        for array in (
            *(self.v_template, self.weights, self.shapedirs, self.posedirs),
            *(self.J_regressor, self.hands_components, self.hands_mean),
        ):
            digest.update(np.ascontiguousarray(array, "<f4").tobytes())
        digest.update(np.ascontiguousarray(self.faces, "<i4").tobytes())
        return digest.hexdigest()[:16]

    @property
    def rest_joints(self) -> np.ndarray:
        """[16, 3] joints of the template, metres, MANO order."""
        return self.J_regressor @ self.v_template


def load_hand_model(
    path: str | Path | None = "open", side: Side = "right", fix_left_shapedirs: bool = True
) -> HandModel:
    """Read a hand model: ``"open"`` (or None) is the embedded hand, else an .npz or MANO .pkl.

    A file of the other ``side`` is refused. The published left hand has the wrong sign in the x
    components of its shape directions: ``fix_left_shapedirs`` negates them (original files do not
    record whether they need this; files of :func:`save_hand_model` do).

    Raises :class:`FileNotFoundError` with instructions to get MANO, and :class:`ValueError` naming
    the file and the problem.

    >>> model = load_hand_model("open")
    >>> model.v_template.shape, model.faces.shape
    ((778, 3), (1538, 3))
    """
    if path is None or str(path) == "open":
        with as_file(files("s2hand.hand.assets") / OPEN_HAND) as asset:
            return _model(_read_npz(asset), asset, "open", side, fix_left_shapedirs)
    path = Path(path).expanduser()
    if not path.is_file():
        raise FileNotFoundError(f"no hand model at {path}. {_GET_MANO}.")
    readers = {".npz": _read_npz, ".pkl": read_mano_pickle}
    if path.suffix.lower() not in readers:
        raise ValueError(f"{path}: a hand model is a .npz or MANO's .pkl. {_GET_MANO}.")
    arrays = readers[path.suffix.lower()](path)
    return _model(arrays, path, path.stem, side, fix_left_shapedirs)


def save_hand_model(model: HandModel, path: str | Path) -> None:
    """Write a model as compressed .npz under MANO's key names (smplx reads it too), atomically."""
    roots = np.where(model.parents < 0, 2**32 - 1, model.parents)
    arrays = {
        "v_template": model.v_template,
        "f": model.faces.astype(np.uint32),
        "weights": model.weights,
        "shapedirs": model.shapedirs,
        "posedirs": model.posedirs,
        "J_regressor": model.J_regressor,
        "J": model.rest_joints,
        "kintree_table": np.stack([roots, np.arange(16)]).astype(np.int64),
        "hands_components": model.hands_components,
        "hands_mean": model.hands_mean,
        "side": np.array(model.side),
        "left_shapedirs_settled": np.array(True),
        "bs_type": np.array("lrotmin"),
        "bs_style": np.array("lbs"),
    }
    if model.hands_coeffs is not None:
        arrays["hands_coeffs"] = model.hands_coeffs
    if model.albedo is not None:
        arrays["v_albedo"] = model.albedo
    with atomic_path(path) as temporary:
        np.savez_compressed(temporary, **arrays)  # type: ignore[arg-type]


def is_converted(path: Path) -> bool:
    """Whether a file is one that :func:`save_hand_model` wrote."""
    try:
        return "left_shapedirs_settled" in _read_npz(path)
    except (OSError, ValueError):
        return False


def _read_npz(path: Path) -> dict[str, np.ndarray]:
    try:
        with zipfile.ZipFile(path) as archive:
            size = sum(entry.file_size for entry in archive.infolist())
        if size > MAX_FILE_BYTES:
            raise ValueError(f"unpacks to {size} bytes; a hand model has about 5 MB")
        with np.load(path, allow_pickle=False) as content:
            return {key: content[key] for key in content.files}
    except (ValueError, OSError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise ValueError(f"{path}: not a readable hand model: {error}") from error


def _checked(
    arrays: dict[str, np.ndarray], key: str, shape: tuple[int | None, ...], path: Path
) -> np.ndarray:
    if key not in arrays:
        raise ValueError(f"{path}: lacks {key!r}; a hand model holds {', '.join(_REQUIRED)}")
    array = arrays[key]
    fits = array.ndim == len(shape) and all(
        n in (None, m) for n, m in zip(shape, array.shape, strict=True)
    )
    if not fits or array.dtype.kind not in "iuf":
        raise ValueError(f"{path}: {key} is {array.dtype} {array.shape}, expected numbers {shape}")
    if not np.isfinite(array).all():
        raise ValueError(f"{path}: {key} holds values that are not finite")
    return array.astype(np.int64 if key in ("f", "kintree_table") else np.float64)


def _model(
    arrays: dict[str, np.ndarray], path: Path, name: str, side: Side, fix_left_shapedirs: bool
) -> HandModel:
    if side not in ("right", "left"):
        raise ValueError(f"side={side!r}: use 'right' or 'left'")
    # Shapes and values of all arrays.
    content = {key: _checked(arrays, key, shape, path) for key, shape in _REQUIRED.items()}
    content |= {
        k: _checked(arrays, k, shape, path) for k, shape in _OPTIONAL.items() if k in arrays
    }
    # Topology.
    faces, parents = content["f"], content["kintree_table"][0].copy()
    parents[0] = -1
    if faces.min() < 0 or faces.max() >= NUM_VERTICES:
        raise ValueError(f"{path}: f names vertices outside 0..{NUM_VERTICES - 1}")
    if parents.tolist() != list(MANO_PARENTS):
        raise ValueError(f"{path}: the joints' parents are {parents.tolist()}, not MANO's")
    # The side follows from the direction of the middle finger.
    template, regressor = content["v_template"], content["J_regressor"]
    middle = (regressor @ template)[4] - (regressor @ template)[0]
    found: Side = "right" if middle[0] < 0 else "left"
    if found != side:
        raise ValueError(
            f"{path}: a {found} hand (its fingers point to {'-x' if found == 'right' else '+x'}), "
            f"expected a {side} hand. Give the other file; the network is trained on right hands "
            "and sees left ones mirrored"
        )
    if side == "left" and fix_left_shapedirs and "left_shapedirs_settled" not in arrays:
        content["shapedirs"][:, 0, :] *= -1
    return HandModel(
        v_template=template,
        faces=faces,
        weights=content["weights"],
        shapedirs=content["shapedirs"],
        posedirs=content["posedirs"],
        J_regressor=regressor,
        hands_components=content["hands_components"],
        hands_mean=content["hands_mean"],
        parents=parents,
        side=side,
        name=name,
        hands_coeffs=content.get("hands_coeffs"),
        albedo=content.get("v_albedo"),
    )
