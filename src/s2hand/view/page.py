"""A hand through a video as one HTML file: to share, to open offline, to turn around."""

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
from s2hand.view.recording import KNOWN_FILES, Recording, open_recording

MAX_JSON_BYTES = 3_000_000
"""The track's JSON is embedded if it has no more, compressed."""

SCRIPTS = ("stage.js", "film.js", "plots.js")


def write_viewer(path: Path, folder: Path, title: str) -> Path:
    """Write a page that needs nothing but itself: no network, no other file.

    Args:
        path: the ``.html`` to write; replaced atomically.
        folder: of a predicted video, with ``track.npz`` and ``hand.glb``; its film and its other
            files are embedded where they are there.
        title: heading of the page; any text, such as a file's name.

    Returns:
        ``path``.

    Raises:
        ValueError: if the folder holds no track, or no animated hand.
    """
    recording = open_recording(folder)
    if "hand.glb" not in recording.files:
        raise ValueError(
            f"{folder} holds no hand.glb, which the page shows: predict again with glb in formats"
        )
    facts = "".join(
        f"<div><dt>{html.escape(name)}</dt><dd>{html.escape(value)}</dd></div>"
        for name, value in recording.facts.items()
    )
    text = Template(web_text("viewer.html")).substitute(
        title=html.escape(title),
        facts=facts,
        style=web_text("viewer.css"),
        modules=import_map(SCRIPTS),
        data=script_json(_data(recording)),
        script=web_text("viewer.js"),
    )
    with atomic_path(path) as temporary:
        # A file's name may hold bytes that are no text (lone surrogates).
        temporary.write_text(text, encoding="utf-8", errors="replace")
    return path


def _data(recording: Recording) -> dict[str, Any]:
    """What the scripts show; web/viewer.js reads it."""
    track, k = recording.track, recording.track["intrinsics_image"][0]
    width, height = recording.image_size
    return {
        "fps": recording.fps,
        "numbers": (np.arange(len(recording.rows)) * track["frame_step"]).tolist(),
        "rows": recording.rows.tolist(),
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
        "halves": recording.film.halves if recording.film else 0,
        "film": recording.film.path.name if recording.film else None,
        "files": _embedded(recording),
    }


def _embedded(recording: Recording) -> dict[str, dict[str, Any]]:
    """The files of the page by name, each in base64."""
    film = recording.film.path.name if recording.film else None
    found = {}
    for name in ("hand.glb", "hand.bvh", film, "track.json"):
        if name not in recording.files:
            continue
        content = recording.files[name].read_bytes()
        packed = name.endswith((".json", ".bvh"))
        data = gzip.compress(content, mtime=0) if packed else content
        if name == "track.json" and len(data) > MAX_JSON_BYTES:
            continue
        found[name] = {
            "what": KNOWN_FILES[name], "bytes": len(content), "gzip": packed,
            "data": base64_text(data),
        }  # fmt: skip
    return found
