"""Benchmarks by name: alignments, points, thresholds of the AUC, counted frames.

Sources: the evaluation scripts of FreiHAND and HO-3D, the DexYCB toolkit, the two published
protocols of STB and RHD, and InterHand2.6M's script for single hands (its means follow copies of
the script; the alignment of wrists follows the paper from memory). The protocol of YouTube-3D-Hands
is ours. The comparisons themselves are :data:`s2hand.metric.joints.PROTOCOLS`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from jaxtyping import Bool, Float, Shaped
from torch import Tensor, nn
from torchmetrics import Metric

from s2hand.geometry.procrustes import procrustes_align, root_align
from s2hand.metric.fscore import F_SCORE_THRESHOLDS_M, f_scores
from s2hand.metric.joints import PointErrors

_JOINTS, _VERTICES = 21, 778
_ROOT = 0
_KEY = "by_"


@dataclass(frozen=True)
class Benchmark:
    """The comparisons of a benchmark: prefix of the results -> name in PROTOCOLS."""

    joints: Mapping[str, str]
    vertices: Mapping[str, str] = field(default_factory=dict)
    """For frames with known vertices."""
    f_scores: bool = False
    """F-scores at 5 and 15 mm of raw and of Procrustes-aligned vertices."""
    auc: bool = True
    partial: bool = False
    """Count frames with a labelled wrist by their labelled joints; False: whole frames only."""
    both_hands: bool = False
    """The mean is over the 42 joints of a left and a right hand, each over its own frames."""


_LEADERBOARD = {"": "camera", "pa_": "pa"}
BENCHMARKS: dict[str, Benchmark] = {
    "freihand": Benchmark(_LEADERBOARD, _LEADERBOARD, f_scores=True),
    "ho3d": Benchmark({**_LEADERBOARD, "st_": "scale_translation"}, _LEADERBOARD, f_scores=True),
    "dexycb": Benchmark({**_LEADERBOARD, "rr_": "root"}),
    "stb_a": Benchmark({"root0_": "stb_rhd_root0"}),
    "stb_b": Benchmark({"root9_": "stb_rhd_root9"}),
    "rhd": Benchmark({"root0_": "stb_rhd_root0", "root9_": "stb_rhd_root9"}),
    "interhand": Benchmark({"rr_": "root"}, auc=False, partial=True, both_hands=True),
    "youtube": Benchmark({}, {"pa_": "pa"}, auc=False),
}
"""By name. ``freihand``: camera space and PA, joints and mesh, AUC 0 to 50 mm. ``ho3d``: the same,
and joints scaled and moved by the wrist and the middle finger's base. ``dexycb``: absolute,
root-relative and PA joints; frames without labels do not count. ``stb_a``: scaled by the middle
finger's first bone, aligned at joint 0, AUC over linspace(0, 50 mm, 20)[8:]; ``stb_b``: scaled by
wrist to middle finger's base, aligned there, AUC over linspace(20, 50 mm, 15). The two are not
comparable; both are published for RHD, so ``rhd`` gives both. ``interhand``: distances after the
wrists are aligned, over labelled joints, the mean over the 42 of both hands. ``rhd`` counts visible
joints. ``youtube`` (our definition): Procrustes-aligned vertices of meshes whose unknown size was
set to :data:`s2hand.data.recorded.youtube.LABEL_RADIUS_M`."""


class BenchmarkMetrics(Metric):
    """The results of one benchmark over all frames: ``[prefix_]mpjpe_mm`` and so on.

    ``mpjpe_mm`` and ``mpvpe_mm`` are means over points of the means over frames, in millimetres;
    ``auc_joints_0_50mm`` and ``auc_mesh_0_50mm`` areas under PCK between those thresholds, 0 to 1;
    ``f5`` and ``f15`` fractions. Prefixes: none in camera space, ``pa_`` Procrustes-aligned,
    ``rr_`` root-relative, ``st_`` scale and translation, ``root0_`` and ``root9_`` scaled and
    aligned at that joint.
    """

    full_state_update = False
    f_totals: Tensor
    frames: Tensor

    def __init__(self, name: str) -> None:
        """A benchmark of :data:`BENCHMARKS`."""
        super().__init__()
        self.name, self.benchmark = name, benchmark(name)
        hands = 2 if self.benchmark.both_hands else 1
        self.joints = _errors(hands * _JOINTS, self.benchmark.joints)
        self.vertices = _errors(_VERTICES, self.benchmark.vertices)
        scores = torch.zeros(2 * len(F_SCORE_THRESHOLDS_M), dtype=torch.float64)
        self.add_state("f_totals", scores, dist_reduce_fx="sum")
        # Frames with joints, with vertices; over all processes, so that all compute the same.
        self.add_state("frames", torch.zeros(2, dtype=torch.long), dist_reduce_fx="sum")

    def update(
        self,
        joints: Float[Tensor, "n 21 3"],
        true_joints: Float[Tensor, "n 21 3"],
        vertices: Float[Tensor, "n 778 3"] | None = None,
        true_vertices: Float[Tensor, "n 778 3"] | None = None,
        visible: Bool[Tensor, "n 21"] | None = None,
        left: Bool[Tensor, " n"] | None = None,
    ) -> None:
        """Add frames: metres, camera space, common order; NaN in the truth where it is unknown.

        Joints that are not ``visible`` are aligned but not counted. ``left`` marks left hands, for
        benchmarks that separate them.
        """
        # Joints of frames with the required labels.
        known = true_joints.isfinite().all(-1)
        kept = known[:, _ROOT] if self.benchmark.partial else known.all(-1)
        counted = known if visible is None else known & visible
        points, truth, counted = joints[kept], true_joints[kept].nan_to_num(), counted[kept]
        if self.benchmark.both_hands:
            side = (torch.zeros_like(kept) if left is None else left)[kept]
            points = root_align(points, truth)  # each hand at its own wrist
            points, truth, counted = (_both(x, side) for x in (points, truth, counted))
        self._add(0, self.joints, points, truth, counted)
        if vertices is None or true_vertices is None or not self.benchmark.vertices:
            return
        # Meshes of frames with all vertices labelled.
        known = true_vertices.isfinite().all(-1)
        kept = known.all(-1)
        vertices, true_vertices = vertices[kept].double(), true_vertices[kept].double()
        self._add(1, self.vertices, vertices, true_vertices, known[kept])
        if self.benchmark.f_scores and len(vertices):
            aligned = procrustes_align(vertices, true_vertices).points
            scores = [f_scores(points, true_vertices) for points in (vertices, aligned)]
            self.f_totals += torch.cat(scores, 1).sum(0)

    def _add(
        self, kind: int, errors: nn.ModuleDict, points: Tensor, truth: Tensor, counted: Tensor
    ) -> None:
        self.frames[kind] += len(points)
        for metric in errors.values() if len(points) else ():
            metric.update(points, truth, counted)  # type: ignore[operator]

    def compute(self) -> dict[str, Tensor]:
        """The results that have truth, float64 scalars."""
        results = {}
        kinds = (("mpjpe", "joints", self.joints), ("mpvpe", "mesh", self.vertices))
        for seen, (mean, area, errors) in zip(self.frames.tolist(), kinds, strict=True):
            for key, metric in errors.items() if seen else ():
                prefix, found = key.removeprefix(_KEY), metric.compute()  # type: ignore[operator]
                results[f"{prefix}{mean}_mm"] = found["mean_mm"]
                if self.benchmark.auc:
                    first, last = metric.protocol.auc_mm  # type: ignore[union-attr, misc]
                    results[f"{prefix}auc_{area}_{first:.0f}_{last:.0f}mm"] = found["auc"]
        if self.benchmark.f_scores and self.frames[1] > 0:
            names = ("f5", "f15", "pa_f5", "pa_f15")
            results |= dict(zip(names, self.f_totals / self.frames[1], strict=True))
        return results

    def reset(self) -> None:
        """Forget all frames."""
        super().reset()
        for metric in (*self.joints.values(), *self.vertices.values()):
            metric.reset()  # type: ignore[operator]


def _both(values: Shaped[Tensor, "n 21 *d"], left: Bool[Tensor, " n"]) -> Tensor:
    """[n, 42, ...]: a right hand's joints, then a left one's; zeros where the other hand is."""
    side = left.reshape(-1, *[1] * (values.ndim - 1))
    nothing = torch.zeros_like(values)
    return torch.cat([values.where(~side, nothing), values.where(side, nothing)], 1)


def _errors(points: int, comparisons: Mapping[str, str]) -> nn.ModuleDict:
    """A metric for each comparison; each key starts with ``_KEY``, since it must not be empty."""
    return nn.ModuleDict({_KEY + p: PointErrors(points, how) for p, how in comparisons.items()})


def benchmark(name: str) -> Benchmark:
    """A benchmark by name.

    Raises:
        ValueError: for an unknown name; the message lists the known ones.
    """
    if name not in BENCHMARKS:
        raise ValueError(f"protocol={name!r}; known: {', '.join(BENCHMARKS)}")
    return BENCHMARKS[name]
