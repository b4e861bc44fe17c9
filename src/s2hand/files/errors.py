"""How a command ends that cannot go on: one message for a person, and the exit code.

Torch is not imported here: a wrong word on the command line should be answered at once.
"""

from __future__ import annotations

import os
import re
from typing import Any

from hydra.errors import HydraException, InstantiationException
from omegaconf import OmegaConf
from omegaconf.errors import (
    InterpolationToMissingValueError,
    MissingMandatoryValue,
    OmegaConfBaseException,
)
from rich.console import Console
from rich.markup import escape

INTERRUPTED = 130
"""The exit code of a command that Ctrl-C ended, as shells have it."""
EXPECTED = (
    ValueError, OSError, RuntimeError, ImportError, HydraException, OmegaConfBaseException,
)  # fmt: skip
"""What users can mend themselves; shown as one message, in full with S2HAND_TRACEBACK=1."""


def print_error(text: str) -> None:
    """Say on stderr what is wrong, in one line however long; the text is not taken for markup."""
    console = Console(stderr=True, soft_wrap=True, highlight=False)
    console.print(f"[bold red]error:[/] {escape(text)}")


def ended(error: BaseException, after: str = "") -> int:
    """Say how a command ended, and ``after`` that what else there is to say; its exit code.

    With ``S2HAND_TRACEBACK`` set an error is raised again, for its traceback.
    """
    if isinstance(error, KeyboardInterrupt | SystemExit):
        print_error(f"interrupted{after}")
        return INTERRUPTED
    if os.environ.get("S2HAND_TRACEBACK"):
        raise error
    print_error(f"{message(error)}{after}")
    return 1


def message(error: BaseException) -> str:
    """What to tell a person: a constructor's own words where Hydra wrapped them."""
    if isinstance(error, InstantiationException) and error.__cause__ is not None:
        return message(error.__cause__)
    if of_worker := re.match(r"Caught (\w+) in DataLoader worker process", str(error)):
        return _last_words(str(error), of_worker[1])
    if isinstance(error, MissingMandatoryValue):
        return f"{error.full_key} is missing: give it on the command line, as {error.full_key}=..."
    if isinstance(error, InterpolationToMissingValueError):
        read = _read_by(error)  # users set the value that is read, not the places that read it
        return f"{read} is missing: give it on the command line, as {read}=..."
    if "No supported gpu backend" in str(error):
        return "torch finds no GPU here: add trainer=cpu, or see docs/gpu.md"
    if lost_process(error):
        return (
            "another process of this run is gone; its own message, or the system's log, says why. "
            f"The same command goes on from the last checkpoint.\n({error})"
        )
    if type(error) is RuntimeError:  # torch's own: not something that this package foresaw
        return f"{error}\n(S2HAND_TRACEBACK=1 shows where)"
    return str(error)


def _read_by(error: InterpolationToMissingValueError) -> str:
    """The dotted key that an interpolation names, such as ``${...dataset.root}``."""
    part: Any = OmegaConf.to_container(error.parent_node, resolve=False)
    inner = part[error.key].removeprefix("${").removesuffix("}")
    key = inner.lstrip(".")
    levels = len(inner) - len(key)  # one dot is the level of the place that reads it
    return ".".join([*str(error.full_key).split(".")[:-levels], key] if levels else [key])


def _last_words(text: str, kind: str) -> str:
    """Of a loader worker's error, whose text is its whole traceback, what it says itself."""
    *_, said = re.split(rf"^(?:\w+\.)*{kind}: ", text, flags=re.M)
    return said.strip()


def lost_process(error: BaseException) -> bool:
    """Whether an error says that another process of a distributed run no longer answers."""
    said = r"gloo.*(peer|reset|closed|timed? ?out)|NCCL|ProcessGroup|c10d"
    return isinstance(error, RuntimeError) and re.search(said, str(error), re.I | re.S) is not None
