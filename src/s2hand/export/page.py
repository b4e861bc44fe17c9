"""One self-contained HTML page: a table, the panel and a hand that can be turned around."""

from __future__ import annotations

import base64
import html
import json
from importlib.resources import files
from pathlib import Path
from string import Template
from typing import Any

import numpy as np

from s2hand.files.atomic import atomic_path


def write_page(
    path: str | Path,
    title: str,
    columns: dict[str, dict[str, float]],
    panel: str | Path,
    mesh: dict[str, Any],
) -> None:
    """Write the page; it needs no other file and no network.

    Args:
        path: where.
        title: its heading.
        columns: metric tables by column title.
        panel: a PNG to embed.
        mesh: ``vertices`` [v, 3] in camera space, ``faces`` [f, 3], ``colors`` [v, 3] in 0..1.
    """
    template = Template(files("s2hand.export").joinpath("page.html").read_text(encoding="utf-8"))
    arrays = {name: np.asarray(values).ravel() for name, values in mesh.items()}
    # Ten micrometres and 1/1000 of a colour are finer than any screen.
    plain = {
        k: v.tolist() if v.dtype.kind in "iu" else np.round(v, 5).tolist()
        for k, v in arrays.items()
    }
    text = template.substitute(
        title=html.escape(title),
        table=_table(columns),
        panel=base64.b64encode(Path(panel).read_bytes()).decode(),
        mesh=json.dumps(plain, allow_nan=False),
    )
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def _table(columns: dict[str, dict[str, float]]) -> str:
    names = list(dict.fromkeys(name for values in columns.values() for name in values))
    head = "".join(f"<th>{html.escape(title)}</th>" for title in columns)
    rows = "".join(
        f"<tr><td>{html.escape(name)}</td>"
        + "".join(f"<td>{v[name]:.3f}</td>" if name in v else "<td></td>" for v in columns.values())
        + "</tr>"
        for name in names
    )
    return f"<table><tr><th></th>{head}</tr>{rows}</table>"
