"""``s2hand-predict``: hands from pictures or video, as codes, meshes and overlays."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from omegaconf import DictConfig
from PIL import Image
from rich.console import Console
from rich.markup import escape
from rich.progress import track
from torch import Tensor

from s2hand.build import load
from s2hand.cli.app import command, quiet_libraries
from s2hand.data.detections import Detections
from s2hand.data.frames import FramesDataset
from s2hand.data.video import Pictures, open_source
from s2hand.export.codes import prediction_record, write_prediction
from s2hand.export.mesh import write_mesh
from s2hand.export.overlay import draw_skeleton, paste_crop
from s2hand.files import atomic_path
from s2hand.module import S2Hand
from s2hand.refine import Refinement, refine
from s2hand.types import HandBatch, Prediction

FORMATS = ("json", "npz", "obj", "ply", "glb", "png")
_OVERLAY_PX = 448


def whole_pictures(source: Path) -> Detections:
    """No detections: every picture of a folder is taken as it is, as a crop of a hand."""
    pictures = open_source(source)
    if not isinstance(pictures, Pictures):
        raise ValueError(
            f"{source} is a video: without detections the hand cannot be found in it; give "
            "detections=FILE"
        )
    names = tuple(path.name for path in pictures.files)
    return Detections(names, np.zeros((len(names), 21, 2)), np.zeros((len(names), 21)))


def batches(dataset: FramesDataset, positions: Sequence[int], size: int) -> Iterator[HandBatch]:
    """The frames at ``positions``, a batch at a time."""
    for start in range(0, len(positions), size):
        yield HandBatch.stack([dataset[i] for i in positions[start : start + size]])


def predict(module: S2Hand, batch: HandBatch, refine_steps: int) -> Prediction:
    """The network's word, or each frame refined against its own detections and pixels."""
    if refine_steps:
        # One by one: the best code of a frame is then its own, whatever it was batched with.
        frames = [batch[i : i + 1] for i in range(len(batch.index))]
        settings = Refinement(refine_steps)
        refined = [refine(module.reconstructor, module.objective, f, settings) for f in frames]
        return Prediction.cat(refined)
    with torch.no_grad():
        return module.reconstructor(batch, render=False)


def frame_stems(names: Sequence[str]) -> list[str]:
    """A file name per frame, no two alike, none that leads out of the output folder."""
    bare = [Path(name.replace("\\", "/")).name.rsplit(".", 1)[0] for name in names]
    stems = [name.lstrip(".") or "frame" for name in bare]
    count = Counter(stems)
    return [s if count[s] == 1 else f"{s}-{i:06d}" for i, s in enumerate(stems)]


def check_settings(cfg: DictConfig) -> None:
    """Raise for values that no part would refuse in time."""
    unknown = sorted(set(cfg.formats) - set(FORMATS))
    if unknown:
        raise ValueError(f"formats={unknown}: choose from {', '.join(FORMATS)}")
    if cfg.every < 1:
        raise ValueError(f"every={cfg.every}: take every n-th frame, n at least 1")
    if "png" in cfg.formats and Path(cfg.out).resolve() == Path(cfg.source).resolve():
        raise ValueError(f"out={cfg.out} is the source: overlays would replace your pictures")


def write_frame(
    module: S2Hand,
    dataset: FramesDataset,
    one: Prediction,
    index: int,
    stem: Path,
    formats: Sequence[str],
) -> None:
    """The files of one frame, ``stem`` with each format's suffix; ``one`` is [1, 1, ...]."""
    hand = module.reconstructor.hand
    side: Literal["left", "right"] = "left" if dataset.mirrored else "right"
    record = prediction_record(
        one, dataset[index][None].camera, hand.faces, hand.name, hand.fingerprint,
        [dataset.names[index]], side, dataset.frame_intrinsics[index : index + 1],
    )  # fmt: skip
    for kind in formats:
        path = stem.with_name(f"{stem.name}.{kind}")
        if kind in ("json", "npz"):
            write_prediction(path, record)
        elif kind != "png":
            colors = np.clip(record["texture"][0], 0, 1)
            write_mesh(path, record["vertices"][0], record["faces"], colors)


@torch.no_grad()
def write_overlay(
    module: S2Hand,
    dataset: FramesDataset,
    one: Prediction,
    index: int,
    picture: Image.Image,
    path: Path,
) -> None:
    """The rendered hand and its skeleton over the whole picture."""
    camera = dataset[index][None].camera
    seen = module.reconstructor.decode(one.hand.code, camera, resolution=_OVERLAY_PX).render
    assert seen is not None
    crop = seen.image[0, 0].movedim(0, -1).numpy(force=True)
    affine = dataset.affines[index]
    silhouette = seen.silhouette[0, 0].numpy(force=True)
    image = paste_crop(np.asarray(picture), crop, silhouette, affine.numpy(), camera.crop_px)
    joints = _into_picture(one.joints_2d[0, 0], affine)
    width = max(2.0, picture.width / 640)
    with atomic_path(path) as temporary:
        Image.fromarray(draw_skeleton(image, joints, width)).save(temporary)


def _into_picture(points: Tensor, affine: Tensor) -> np.ndarray:
    inverse = torch.linalg.inv(affine)
    return (points.double() @ inverse[:2, :2].T + inverse[:2, 2]).numpy(force=True)


@command("predict")
def main(cfg: DictConfig) -> None:
    """Predict every frame, write its files, say where they are."""
    quiet_libraries()
    check_settings(cfg)
    module = load(cfg.checkpoint, hand=cfg.hand_file)
    source, out = Path(cfg.source), Path(cfg.out)
    dataset = FramesDataset(
        source, cfg.detections or whole_pictures(source), side=cfg.side, keep_all=True,
        horizontal_fov_deg=cfg.horizontal_fov_deg,
    )  # fmt: skip
    dataset.prepare()
    positions, stems = range(0, len(dataset), cfg.every), frame_stems(dataset.names)
    console = Console()
    progress = track(positions, "predicting", console=console)
    pictures = dataset.pictures(positions) if "png" in cfg.formats else None
    step = iter(progress)
    for batch in batches(dataset, positions, cfg.batch_size):
        prediction = predict(module, batch, cfg.refine_steps).detach()
        for row in range(len(batch.index)):
            index, one = next(step), prediction[row : row + 1]
            stem = out / stems[index]
            write_frame(module, dataset, one, index, stem, cfg.formats)
            if pictures is not None:
                path = stem.with_name(f"{stem.name}.png")
                write_overlay(module, dataset, one, index, next(pictures), path)
    for _ in step:
        pass
    console.print(f"{len(positions)} frames: [bold]{escape(str(out))}[/]", soft_wrap=True)


if __name__ == "__main__":
    main()
