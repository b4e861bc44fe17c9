"""How a command ends after an error: one message for the user, and the exit code.

Torch is not imported here, so that a wrong argument is reported at once.
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
"""The exit code of a command that Ctrl-C ended, as in shells."""
EXPECTED = (
    ValueError, OSError, RuntimeError, ImportError, HydraException, OmegaConfBaseException,
)  # fmt: skip
"""Errors that users can fix; shown as one message, or in full with S2HAND_TRACEBACK=1."""


def print_error(text: str) -> None:
    """Print an error on stderr as one line of any length; the text is not read as markup."""
    console = Console(stderr=True, soft_wrap=True, highlight=False)
    console.print(f"[bold red]error:[/] {escape(text)}")


def ended(error: BaseException, after: str = "") -> int:
    """Print how a command ended, followed by ``after``, and return its exit code.

    With ``S2HAND_TRACEBACK`` set, an error is raised again for its traceback.
    """
    if isinstance(error, KeyboardInterrupt | SystemExit):
        print_error(f"interrupted{after}")
        return INTERRUPTED
    if os.environ.get("S2HAND_TRACEBACK"):
        raise error
    print_error(f"{message(error)}{after}")
    return 1


def message(error: BaseException) -> str:
    """The message for the user: a constructor's own message if Hydra wrapped it."""
    if isinstance(error, InstantiationException) and error.__cause__ is not None:
        where = re.search(r"full_key: (\S+)", str(error))
        if isinstance(error.__cause__, TypeError) and where:  # a library's, which names no setting
            return f"{where[1]}: {error.__cause__}"
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
            "another process of this run has ended; its message or the system's log gives the "
            f"cause. The same command resumes from the last checkpoint.\n({error})"
        )
    if type(error) is RuntimeError:  # raised by torch, not by this package
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
    """The message of a loader worker's error, whose text is a whole traceback."""
    *_, last = re.split(rf"^(?:\w+\.)*{kind}: ", text, flags=re.M)
    return last.strip()


def lost_process(error: BaseException) -> bool:
    """Whether an error reports that another process of a distributed run no longer answers."""
    pattern = r"gloo.*(peer|reset|closed|timed? ?out)|NCCL|ProcessGroup|c10d"
    return (
        isinstance(error, RuntimeError) and re.search(pattern, str(error), re.I | re.S) is not None
    )
