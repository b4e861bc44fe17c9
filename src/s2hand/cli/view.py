"""``s2hand-view``: look at the predicted hand of a video in the browser."""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.markup import escape

from s2hand.files.errors import EXPECTED, ended
from s2hand.view.address import is_local

_EPILOG = """\
examples:
  s2hand-view out/                      http://127.0.0.1:8080, for this machine only; Ctrl-C ends it
  s2hand-view out/ --html hand.html     one file to send, which needs no network and no s2hand

FOLDER is the output folder of s2hand-video, s2hand-predict or s2hand-adapt for a video. The page
serves the files of the track (track.npz, hand.glb, ...) and no other. On a remote machine, forward
the port: ssh -L 8080:127.0.0.1:8080 MACHINE.

There is no password, and viser, which serves the page, does not check which page of a browser
connects to it: while it runs, any other page that is open in a browser of this machine could look
at the hand and its video, move it and take its files. It accepts connections from this machine
only, unless --host gives another address. End it with Ctrl-C; a page written by --html has no
server.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit code."""
    options = _parser().parse_args(arguments)
    logging.basicConfig(format="%(levelname)s: %(message)s")
    console = Console(soft_wrap=True, highlight=False)
    try:
        if options.html is not None:
            _write(options, console)
        else:
            _serve(options, console)
    except (KeyboardInterrupt, *EXPECTED) as error:
        return ended(error)
    return 0


# The functions below import torch, which takes seconds: --help does not wait for it.


def _write(options: argparse.Namespace, console: Console) -> None:
    from s2hand.files.outputs import check_file
    from s2hand.view.page import write_viewer
    from s2hand.view.predicted_video import KNOWN_FILES

    check_file(options.html, [options.folder / name for name in KNOWN_FILES])
    path = write_viewer(options.html, options.folder, options.folder.resolve().name)
    console.print(f"page: [bold]{escape(str(path))}[/], {path.stat().st_size / 1e6:.1f} MB")


def _serve(options: argparse.Namespace, console: Console) -> None:
    from s2hand.view.predicted_video import read_predicted_video

    video = read_predicted_video(options.folder)
    from s2hand.view.server import Viewer  # viser is an extra

    viewer = Viewer(video, options.host, options.port)
    try:
        if not is_local(options.host):
            console.print(
                f"[bold yellow]warning:[/] anyone who can reach {escape(options.host)} sees this "
                "hand and its video and can download its files; there is no password"
            )
        console.print(f"open [bold]{escape(viewer.url)}[/] in a browser; Ctrl-C ends it")
        viewer.run()
    except KeyboardInterrupt:
        console.print("stopped")
    finally:
        viewer.stop()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="s2hand-view",
        description="Look at the hand of a video: rotate it, play it, download its files.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("folder", type=Path, help="holds track.npz and the other predicted files of the video")
    add("--host", default="127.0.0.1", help="address to listen at (%(default)s: this machine only)")
    add("--port", type=int, default=8080, help="0 takes any free port (%(default)s)")
    add("--html", type=Path, metavar="FILE", help="write a page in one file instead of serving it")
    return parser


if __name__ == "__main__":
    sys.exit(main())
