"""One self-contained HTML page of an evaluation: metrics, panel and a hand in 3D."""

from __future__ import annotations

import html
from pathlib import Path
from string import Template

from s2hand.files.atomic import atomic_path
from s2hand.view.embedding import base64_text, import_map, web_text


def write_metrics_page(
    path: Path, title: str, columns: dict[str, dict[str, float]], panel: Path, mesh: Path
) -> None:
    """Write a page that needs no other file and no network.

    Args:
        path: the ``.html`` to write; replaced atomically.
        title: heading of the page; any text.
        columns: metric tables by column title.
        panel: a PNG to embed.
        mesh: a GLB to embed, drawn with three.js.
    """
    text = Template(web_text("metrics.html")).substitute(
        title=html.escape(title),
        table=_table(columns),
        panel=base64_text(panel.read_bytes()),
        modules=import_map(),
        mesh=base64_text(mesh.read_bytes()),
        mesh_name=html.escape(mesh.name),
        script=web_text("metrics.js"),
    )
    with atomic_path(path) as temporary:
        # A checkpoint's name may hold bytes that are not text (lone surrogates).
        temporary.write_text(text, encoding="utf-8", errors="replace")


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
