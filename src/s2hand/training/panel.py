"""The panel picture: input | detections | projection | render | silhouette | texture."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

import numpy as np
import torch
from PIL import Image, ImageDraw
from torch import Tensor

from s2hand.export.overlay import blend_render, draw_detections, draw_skeleton
from s2hand.geometry.camera import scale_intrinsics
from s2hand.model.reconstructor import Reconstructor
from s2hand.types import Camera, Hand, HandBatch, HandCode, Prediction

COLUMNS = ("input", "detections", "projection", "render", "silhouette", "texture")
_HEADER_PX = 18


@torch.no_grad()
def panel(reconstructor: Reconstructor, batch: HandBatch, cell_px: int = 224) -> np.ndarray:
    """One row per frame of the batch: [(b t) * cell + header, 6 * cell, 3] uint8.

    The last column shows the texture alone, without light, on the open hand: back, then palm.
    """
    flat = replace(batch, labels=None)
    prediction = reconstructor(flat, render=True, resolution=cell_px)
    textures = texture_views(reconstructor, prediction.hand, cell_px)
    frames = flat.fold()
    seen = prediction.fold()
    rows = [_row(frames[i], seen[i], textures[i], cell_px) for i in range(len(frames.confidence))]
    header = Image.new("RGB", (cell_px * len(COLUMNS), _HEADER_PX), "white")
    draw = ImageDraw.Draw(header)
    for column, name in enumerate(COLUMNS):
        draw.text((column * cell_px + 6, 3), name, fill="black")
    return np.concatenate([np.asarray(header), *rows])


def _row(frame: HandBatch, seen: Prediction, texture: np.ndarray, px: int) -> np.ndarray:
    """Cells of one frame; tensors come without b and t."""
    size = (px, px)
    resized = torch.nn.functional.interpolate(
        frame.image[None], size, mode="bilinear", antialias=True
    )[0]
    image = to_uint8(resized.movedim(0, -1))
    scale = px / frame.camera.crop_px
    assert seen.render is not None
    silhouette = seen.render.silhouette
    render = seen.render.image.movedim(0, -1).numpy(force=True)
    confidence = frame.confidence.numpy(force=True)
    return np.concatenate(
        [
            image,
            draw_detections(image, _scaled(frame.keypoints, scale), confidence),
            draw_skeleton(image, _scaled(seen.joints_2d, scale)),
            blend_render(image, render, silhouette.numpy(force=True), alpha=1.0),
            to_uint8(silhouette[..., None].expand(-1, -1, 3)),
            texture,
        ],
        axis=1,
    )


def texture_views(reconstructor: Reconstructor, hand: Hand, px: int) -> np.ndarray:
    """[(b t), px, px, 3] uint8: each hand's colours without light, back (left half) and palm."""
    code = hand.code.fold()
    n = len(code.pose)
    device = code.pose.device
    half = []
    for view in ("back", "palm"):
        flat = flat_code(code, view)
        intrinsics = torch.tensor([[400.0, 0, 111.5], [0, 400.0, 111.5], [0, 0, 1]], device=device)
        camera = Camera(scale_intrinsics(intrinsics, 224, px).expand(n, 1, 3, 3), crop_px=px)
        rendered = reconstructor.decode(flat.map(lambda x: x[:, None]), camera, resolution=px)
        assert rendered.render is not None
        half.append(to_uint8(rendered.render.image[:, 0].movedim(1, -1)))
    quarter = px // 4
    return np.concatenate([view[:, :, quarter : quarter + px // 2] for view in half], axis=2)


def flat_code(code: HandCode, view: Literal["back", "palm"]) -> HandCode:
    """Hands [n, ...] opened flat at scale 1, 0.6 m away, fingers up, in their colours unlit."""
    n = len(code.pose)
    # Axis-angle of the views onto the back and the palm, fingers up: see ManoHead's axes.
    axis = code.pose.new_tensor((1.0, 1.0, 1.0) if view == "back" else (-1.0, -1.0, 1.0))
    light = torch.zeros_like(code.light)
    light[:, 0] = 1  # ambient intensity
    light[:, 2:5] = 1  # ambient colour
    return HandCode(
        pose=torch.zeros_like(code.pose), shape=code.shape, scale=torch.ones_like(code.scale),
        rotation=(axis * (2 * torch.pi / 3 / 3**0.5)).expand(n, 3),
        translation=axis.new_tensor([0.0, -0.03, 0.6]).expand(n, 3),
        texture=code.texture.clamp(0, 1), light=light,
    )  # fmt: skip


def to_uint8(image: Tensor) -> np.ndarray:
    """0..1 to 0..255, clipped."""
    return (image.clamp(0, 1) * 255).round().to(torch.uint8).numpy(force=True)


def _scaled(points: Tensor, scale: float) -> np.ndarray:
    return ((points + 0.5) * scale - 0.5).numpy(force=True)
