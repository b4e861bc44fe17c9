"""Draw the log of an offline wandb run as one picture, without server or account.

    python tools/draw_dashboard.py runs/dashboard/wandb/offline-run-* -o docs/images/dashboard.png

matplotlib draws it, not wandb's page, from the same values, pictures, tables and meshes.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

import matplotlib
import numpy as np
import trimesh
from PIL import Image

from offline_run import OfflineRun, read_run

matplotlib.use("Agg")
import matplotlib.pyplot as plt
from matplotlib.axes import Axes

CURVES = (
    ("losses, unweighted", ("train/joint_location", "train/photometric", "train/estimator_2d")),
    ("validation, mm", ("val/pa_mpjpe_mm",)),
    ("validation, px", ("val/error_2d_px",)),
    ("gradient norm", ("gradient/norm",)),
    ("images per second", ("speed/images_per_s",)),
)


def curves(axes: Axes, run: OfflineRun, title: str, names: Sequence[str]) -> None:
    """Series over the steps; several series are each divided by their first value."""
    for name in names:
        series = run.series(name)
        scale = series[0][1] if len(names) > 1 and series else 1
        axes.plot(
            [step for step, _ in series], [value / scale for _, value in series],
            ".-" if len(series) < 10 else "-", label=name.partition("/")[2], linewidth=1,
        )  # fmt: skip
    if len(names) > 1:
        axes.legend(fontsize=6, frameon=False)
        title += " (first = 1)"
    axes.set_title(title, fontsize=8)
    axes.tick_params(labelsize=6)


def bars(axes: Axes, run: OfflineRun) -> None:
    """The error of each joint at the last validation, with its deviation over frames."""
    (_, entry) = run.series("val/joints_table")[-1]
    names, mean, sd = zip(*json.loads(run.file(entry).read_text())["data"], strict=True)
    axes.bar(range(len(names)), mean, yerr=sd, color="#4a7ab5", error_kw={"linewidth": 0.7})
    axes.set_xticks(range(len(names)), names, rotation=90, fontsize=5)
    axes.tick_params(axis="y", labelsize=6)
    axes.set_title("val/joints: PA error, mm", fontsize=8)


def mesh(axes: Axes, run: OfflineRun, key: str) -> None:
    """A logged mesh from the front, with its colours."""
    (_, entry) = run.series(key)[-1]
    (shape,) = trimesh.load(run.file(entry)).geometry.values()
    colours = shape.visual.vertex_attributes["color"][:, :3] / 255.0
    triangles = shape.vertices[shape.faces]
    front = np.argsort(triangles[..., 2].mean(1))  # glTF looks along -z: far faces first
    patches = matplotlib.collections.PolyCollection(
        triangles[front][..., :2], facecolors=colours[shape.faces[front]].mean(1) ** (1 / 2.2),
        edgecolors="face", linewidths=0.3,
    )  # fmt: skip
    axes.add_collection(patches)
    axes.autoscale_view()
    axes.set_aspect("equal")
    axes.axis("off")
    axes.set_title(f"{key} (3D)", fontsize=8)


def draw(run: OfflineRun, path: Path, rows: int = 2) -> None:
    """The whole picture, with the first rows of the panel."""
    figure = plt.figure(figsize=(10, 8.4), layout="constrained")
    grid = figure.add_gridspec(3, 20, height_ratios=(2.6 * rows / 2, 1.6, 2.0))
    panel = figure.add_subplot(grid[0, :])
    (_, entry) = run.series("panels")[-1]
    with Image.open(run.file(entry)) as picture:
        cell = picture.width // 6
        panel.imshow(picture.crop((0, 0, picture.width, 18 + rows * cell)))
    panel.axis("off")
    panel.set_title(
        f"{run.project} / {run.group} / {run.name}   {run.job_type}   {' '.join(run.tags)}   "
        f"revision {run.config.get('revision')}   exit code {run.exit_code}",
        fontsize=8,
    )
    for column, (title, names) in enumerate(CURVES):
        curves(figure.add_subplot(grid[1, 4 * column : 4 * column + 4]), run, title, names)
    bars(figure.add_subplot(grid[2, :10]), run)
    mesh(figure.add_subplot(grid[2, 10:15]), run, "hand/mesh")
    mesh(figure.add_subplot(grid[2, 15:]), run, "hand/texture")
    figure.savefig(path, dpi=130)


def main() -> None:
    """Read the command line, draw."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("run", type=Path, help="folder offline-run-... of wandb")
    parser.add_argument("-o", "--out", type=Path, default=Path("dashboard.png"))
    arguments = parser.parse_args()
    draw(read_run(arguments.run), arguments.out)


if __name__ == "__main__":
    main()
