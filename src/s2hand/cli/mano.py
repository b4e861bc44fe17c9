"""``s2hand-mano``: convert MANO's original pickle to a safe .npz, once."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from s2hand.files.errors import EXPECTED, ended
from s2hand.files.outputs import check_file
from s2hand.hand.model_file import Side, is_converted, load_hand_model, save_hand_model

_DESCRIPTION = """\
Convert MANO_RIGHT.pkl or MANO_LEFT.pkl to .npz, without chumpy and without running
any code that the file names. Convert once; then train and predict with

  MANO_PATH=models/MANO_RIGHT.npz s2hand-train hand=mano

MANO is free for research after registration at https://mano.is.tue.mpg.de (Downloads,
"Models & Code", mano_v1_2.zip, folder models/). Its licence forbids passing the file on,
so neither this package nor its checkpoints contain it. The embedded open hand (hand=open)
needs no file at all.
"""
_EPILOG = """\
example: s2hand-mano mano_v1_2/models/MANO_RIGHT.pkl -o models/MANO_RIGHT.npz
"""


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="s2hand-mano",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("path", type=Path, help="MANO_RIGHT.pkl or MANO_LEFT.pkl")
    parser.add_argument("-o", "--output", type=Path, help="default: next to PATH, ending in .npz")
    parser.add_argument(
        "--side",
        choices=("right", "left"),
        help="which hand the file holds; default: left if its name says so, else right",
    )
    parser.add_argument(
        "--keep-left-shapedirs",
        action="store_true",
        help="keep the published left hand's shape directions, whose x has the wrong sign "
        "(DexYCB's labels were made with them)",
    )
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Convert one file; returns 0, or 1 with the reason on stderr and nothing written."""
    args = _parser().parse_args(arguments)
    output = args.output or args.path.with_suffix(".npz")
    side: Side = args.side or ("left" if "left" in args.path.stem.lower() else "right")
    try:
        if output.suffix.lower() != ".npz":
            raise ValueError(f"{output}: the result is a .npz, give -o a name that ends in .npz")
        check_file(output, [args.path], None if args.output else is_converted)
        model = load_hand_model(args.path, side, fix_left_shapedirs=not args.keep_left_shapedirs)
        save_hand_model(model, output)
    except (KeyboardInterrupt, *EXPECTED) as error:
        return ended(error)
    sys.stdout.write(f"{output}: {model.side} hand, fingerprint {model.fingerprint}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
