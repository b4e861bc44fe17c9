"""Scripts, styles and data that are embedded in one HTML file."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable
from importlib.resources import files
from typing import Any

_FILES = files("s2hand.view")
_THREE = {
    "three": "three/three.module.min.js",
    "three/addons/controls/OrbitControls.js": "three/OrbitControls.js",
    "three/addons/loaders/GLTFLoader.js": "three/GLTFLoader.js",
    "three/addons/utils/BufferGeometryUtils.js": "three/BufferGeometryUtils.js",
}
"""Module names of three.js, and their files here."""
_RELATIVE = (b"'../utils/", b"'three/addons/utils/")
"""A module in a data: URL has no folder: GLTFLoader's one relative import gets its full name."""


def web_text(name: str) -> str:
    """The text of a file in ``view/web``."""
    return _FILES.joinpath(f"web/{name}").read_text(encoding="utf-8")


def import_map(scripts: Iterable[str] = ()) -> str:
    """An import map of three.js and of ``scripts`` of ``view/web`` as data: URLs.

    Scripts are imported by the name ``s2hand/`` and their file name.
    """
    modules = _THREE | {f"s2hand/{name}": f"web/{name}" for name in scripts}
    urls = {
        name: "data:text/javascript;base64,"
        + base64_text(_FILES.joinpath(file).read_bytes().replace(*_RELATIVE))
        for name, file in modules.items()
    }
    return script_json({"imports": urls})


def script_json(value: Any) -> str:
    """JSON that cannot end the script element around it, whatever its texts contain."""
    text = json.dumps(value, allow_nan=False, separators=(",", ":"))
    return text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")


def base64_text(data: bytes) -> str:
    """Bytes in base64."""
    return base64.b64encode(data).decode("ascii")
