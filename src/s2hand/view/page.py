"""A hand through a video as one HTML file: to share, to open offline, to rotate."""

from __future__ import annotations

import gzip
import html
import math
from pathlib import Path
from string import Template
from typing import Any

import numpy as np

from s2hand.export.overlay import JOINT_COLORS
from s2hand.files.atomic import atomic_path
from s2hand.geometry.skeleton import BONES
from s2hand.view.embedding import base64_text, import_map, script_json, web_text
from s2hand.view.predicted_video import KNOWN_FILES, PredictedVideo, read_predicted_video

MAX_JSON_BYTES = 3_000_000
"""The largest compressed JSON of a track that is embedded."""

SCRIPTS = ("stage.js", "film.js", "plots.js")
"""Modules of ``view/web`` that ``viewer.js`` imports."""


def write_viewer(path: Path, folder: Path, title: str) -> Path:
    """Write a page that needs no other file and no network.

    Args:
        path: the ``.html`` to write; replaced atomically.
        folder: a predicted video, with ``track.npz`` and ``hand.glb``; its film and its other
            files are embedded if they exist.
        title: heading of the page; any text, such as a file's name.

    Returns:
        ``path``.

    Raises:
        ValueError: if the folder holds no track or no animated hand.
    """
    video = read_predicted_video(folder)
    if "hand.glb" not in video.files:
        raise ValueError(
            f"{folder} holds no hand.glb, which the page needs: predict again with glb in formats"
        )
    facts = "".join(
        f"<div><dt>{html.escape(name)}</dt><dd>{html.escape(value)}</dd></div>"
        for name, value in video.facts.items()
    )
    text = Template(web_text("viewer.html")).substitute(
        title=html.escape(title),
        facts=facts,
        style=web_text("viewer.css"),
        modules=import_map(SCRIPTS),
        data=script_json(_data(video)),
        script=web_text("viewer.js"),
    )
    with atomic_path(path) as temporary:
        # A file's name may hold bytes that are not text (lone surrogates).
        temporary.write_text(text, encoding="utf-8", errors="replace")
    return path


def _data(video: PredictedVideo) -> dict[str, Any]:
    """The page's data, read by web/viewer.js."""
    track, k = video.track, video.track["intrinsics_image"][0]
    width, height = video.image_size
    return {
        "fps": video.fps,
        "numbers": (np.arange(len(video.rows)) * track["frame_step"]).tolist(),
        "rows": video.rows.tolist(),
        "times": track["times"].tolist(),
        "confidence": np.round(track["confidence"].astype(float), 3).tolist(),
        "error": np.round(track["error_2d_px"].astype(float), 2).tolist(),
        "joints": base64_text(track["joints"].astype("<f4").tobytes()),
        "bones": [list(bone) for bone in BONES],
        "colors": [list(color) for color in JOINT_COLORS],
        "camera": {
            "fovY": 2 * math.degrees(math.atan(height / 2 / float(k[1, 1]))),
            "aspect": (width / float(k[0, 0])) / (height / float(k[1, 1])),
        },
        "halves": video.film.halves if video.film else 0,
        "film": video.film.path.name if video.film else None,
        "files": _embedded(video),
    }


def _embedded(video: PredictedVideo) -> dict[str, dict[str, Any]]:
    """The embedded files by name, each in base64."""
    film = video.film.path.name if video.film else None
    found = {}
    for name in ("hand.glb", "hand.bvh", film, "track.json"):
        if name not in video.files:
            continue
        content = video.files[name].read_bytes()
        packed = name.endswith((".json", ".bvh"))
        data = gzip.compress(content, mtime=0) if packed else content
        if name == "track.json" and len(data) > MAX_JSON_BYTES:
            continue
        found[name] = {
            "description": KNOWN_FILES[name], "bytes": len(content), "gzip": packed,
            "data": base64_text(data),
        }  # fmt: skip
    return found
