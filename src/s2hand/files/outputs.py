"""Output files: all planned before the first is written, none in the place of a user's file.

A folder of results holds a manifest, ``.s2hand-outputs.json``, that lists what each command wrote
there, with size and time. A later run replaces or removes only files that the manifest lists and
that were not changed since. Every command that makes results writes through :class:`Outputs`
(several files in a folder) or :func:`check_file` (one file that the user may name). A training run
keeps the files of its own folder by itself.
"""

from __future__ import annotations

import contextlib
import json
import os
import stat
import unicodedata
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

from typing_extensions import Self

from s2hand.files.json import read_json_object, write_json

MANIFEST = ".s2hand-outputs.json"
SCHEMA = "s2hand.outputs/1"

Stamp = tuple[int, int]
"""Size in bytes and time of the last change in ns."""
Listed = dict[str, Stamp | None]
"""Files by their path in the folder; None: planned by a run that has not ended, or was killed."""


@dataclass(frozen=True)
class InputFolder:
    """A folder from which a command reads the files with one of some suffixes.

    Attributes:
        path: the folder.
        suffixes: such as ``.png``, in lower case.
        recursive: whether folders in it are read too.
    """

    path: Path
    suffixes: Collection[str]
    recursive: bool = False

    def files(self) -> Iterator[Path]:
        """The files that are read."""
        found = self.path.rglob("*") if self.recursive else self.path.iterdir()
        return (path for path in found if path.suffix.lower() in self.suffixes)

    def would_read(self, path: Path) -> bool:
        """Whether a file at ``path`` would be an input of the next run."""
        home, parent = self.path.resolve(), path.parent.resolve()
        inside = parent.is_relative_to(home) if self.recursive else parent == home
        return inside and path.suffix.lower() in self.suffixes


Input = str | Path | InputFolder | None
"""What a user gave. A plain folder stands for no file; None and missing files are ignored."""


def check_file(
    path: Path,
    inputs: Iterable[Input] = (),
    recognised: Callable[[Path], bool] | None = None,
) -> Path:
    """Return ``path`` if one output file may be written there.

    Args:
        path: an existing file is replaced, because the user named it.
        inputs: what the user gave; none of them is replaced.
        recognised: for a default name, which the user did not choose: whether an existing file is
            an earlier output of this command. Another one is not replaced.

    Raises:
        ValueError: it may not; names the file and the remedy.
    """
    _check_place(path)
    _Inputs(inputs).check(path)
    if recognised is not None and os.path.lexists(path) and not recognised(path):
        raise ValueError(
            f"{path} exists and is not an earlier result of this command: move it, or name another "
            "file to write"
        )
    return path


def has_keys(*keys: str) -> Callable[[Path], bool]:
    """A test for earlier results: whether a file holds a JSON object with all of ``keys``."""

    def recognised(path: Path) -> bool:
        try:
            return path.is_file() and read_json_object(path).keys() >= set(keys)
        except ValueError:
            return False

    return recognised


def files_named_in(value: Any) -> list[Path]:
    """The existing files that nested plain values name, such as a resolved configuration."""
    if isinstance(value, Mapping):
        value = list(value.values())
    if isinstance(value, list | tuple):
        return [path for item in value for path in files_named_in(item)]
    if not isinstance(value, str) or not value or "\0" in value:
        return []
    with contextlib.suppress(OSError):  # a long text is not a name
        return [Path(value)] if Path(value).is_file() else []
    return []


def name_key(name: str) -> str:
    """Equal for names that some file system takes for one: by case, or by Unicode form.

    Example:
        >>> name_key("Hand.PNG") == name_key("hand.png")
        True
    """
    return unicodedata.normalize("NFD", unicodedata.normalize("NFD", name).casefold())


class Outputs:
    """The files that one command, or one stage of it, writes into a folder.

    A context manager: entering it writes the manifest with every planned file, leaving it completes
    the manifest. Where the block ends without an error, files of the same writer's earlier runs
    that this one did not plan are removed, unless they were changed. An interrupted run may be
    repeated. What a killed run left under its planned names, and what appeared there after the
    plan, is renamed (``hand.changed-1.glb``): it might be the user's.

    Args:
        folder: made when it is needed.
        writer: the command or stage.
        inputs: what the user gave; none of it is replaced or removed.

    Example:
        >>> from tempfile import TemporaryDirectory
        >>> with TemporaryDirectory() as folder:
        ...     with Outputs(folder, "predict").plan(["obj/a.obj", "track.json"]):
        ...         _ = Path(folder, "track.json").write_text("{}")
        ...     sorted(path.name for path in Path(folder).iterdir())
        ['.s2hand-outputs.json', 'track.json']
    """

    def __init__(self, folder: str | Path, writer: str, inputs: Iterable[Input] = ()) -> None:
        self.folder, self.writer = Path(folder), writer
        self._inputs = _Inputs(inputs)
        self._names: list[str] = []
        self._recognised: Callable[[Path], bool] = lambda path: False
        self._writers: dict[str, Listed] = {}

    def plan(
        self, names: Iterable[str], recognised: Callable[[Path], bool] = lambda path: False
    ) -> Self:
        """Take the files that will be written; nothing is changed on the disk.

        Args:
            names: paths in the folder, with ``/``.
            recognised: whether an existing file that no manifest lists is an earlier result, for
                folders of versions without manifests.

        Raises:
            ValueError: one of them is an input, is planned twice, exists and was not written by
                such a command or was changed since, or a folder is there. Names the file and the
                remedy.
        """
        self._names, self._recognised = list(names), recognised
        listed = self._listed()
        _check_folder(self.folder)
        self._inputs.check(self.folder / MANIFEST)
        seen = {name_key(MANIFEST): MANIFEST}
        parents: set[Path] = set()
        for name in self._names:
            path, key = self.folder / name, name_key(name)
            if not _is_inside(name):
                raise ValueError(f"{name!r} leads out of {self.folder}: rename the input")
            if key in seen:
                raise ValueError(f"{name!r} and {seen[key]!r} are one file in {self.folder} on "
                                 "some file systems: rename an input")  # fmt: skip
            seen[key] = name
            if path.parent not in parents:
                parents.add(path.parent)
                _check_folder(path.parent)
                self._check_links(path.parent)
            self._inputs.check(path)
            if not os.path.lexists(path):
                continue
            if path.is_dir():
                raise ValueError(f"{path} is a folder, but a file is to be written there: move it")
            unfinished = name in listed and listed[name] is None
            if not (unfinished or self._is_ours(name, listed) or recognised(path)):
                why = "was changed since" if name in listed else "was not written by this command"
                raise ValueError(
                    f"{path} exists and {why}: move it, or choose another folder for the results"
                )
        return self

    def adopt(self, names: Iterable[str]) -> None:
        """List files as written by this writer, for folders of versions without manifests."""
        self._writers = self._read()
        own = self._writers.setdefault(self.writer, {})
        for name in filter(_is_inside, names):
            if at := _stamp(self.folder / name):
                own[name] = at
        self._write()

    def changed(self, names: Iterable[str]) -> list[str]:
        """The files that the manifest lists and that were changed since."""
        listed = self._listed()
        there = (name for name in names if name in listed and _stamp(self.folder / name))
        return [name for name in there if not self._is_ours(name, listed)]

    def set_aside(self, name: str) -> Path:
        """Rename a file that may be the user's; returns its new path."""
        path, number = self.folder / name, 1
        while os.path.lexists(kept := path.with_name(f"{path.stem}.changed-{number}{path.suffix}")):
            number += 1
        path.rename(kept)
        return kept

    def __enter__(self) -> Self:
        self._writers = self._read()
        listed = self._listed()
        for name in self._names:
            path = self.folder / name
            if not os.path.lexists(path) or self._is_ours(name, listed) or self._recognised(path):
                continue
            # A killed run may have left it, or the user may have put it there since: nobody knows.
            self.set_aside(name)
        for other in self._writers.values():
            for name in self._names:
                other.pop(name, None)
        # Entries of earlier runs stay: what an interrupted run does not remove, a later one does.
        self._writers.setdefault(self.writer, {}).update(dict.fromkeys(self._names))
        self._write()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        own = self._writers[self.writer]
        if kind is None:
            self._remove_stale(own)
        for name in self._names:
            own[name] = _stamp(self.folder / name)
        self._writers[self.writer] = {
            name: at for name, at in own.items() if at or name not in self._names
        }
        # The error of the block says more than that of a full disk here.
        with contextlib.suppress(*(() if kind is None else (OSError,))):
            self._write()

    def _remove_stale(self, own: Listed) -> None:
        """Remove what an earlier run of this writer left and this one did not plan."""
        planned = set(map(name_key, self._names))
        home = self.folder.resolve()
        for name in [name for name in own if name_key(name) not in planned]:
            path = self.folder / name
            inside = path.parent.resolve().is_relative_to(home)
            if inside and self._is_ours(name, own) and self._inputs.find(path) is None:
                path.unlink()
                for folder in path.parents:
                    if folder == self.folder or any(folder.iterdir()):
                        break
                    folder.rmdir()
            del own[name]

    def _is_ours(self, name: str, listed: Listed) -> bool:
        """Whether a file is listed, and as it was when it was written."""
        found = _stamp(self.folder / name)
        return name in listed and found is not None and listed[name] == found

    def _check_links(self, folder: Path) -> None:
        """Raise ValueError where a link leads out of the folder of results."""
        if not folder.resolve().is_relative_to(self.folder.resolve()):
            raise ValueError(
                f"{folder} is a link to {folder.resolve()}, outside {self.folder}: remove it, or "
                "choose another folder for the results"
            )

    def _listed(self) -> Listed:
        return {name: at for files in self._read().values() for name, at in files.items()}

    def _read(self) -> dict[str, Listed]:
        """The manifest by writer; a damaged one lists nothing, and every entry is validated."""
        try:
            content = json.loads((self.folder / MANIFEST).read_text(encoding="utf-8"))
            if content["schema"] != SCHEMA:
                return {}
            return {
                str(writer): {name: _valid(at) for name, at in files.items() if _is_inside(name)}
                for writer, files in content["writers"].items()
            }
        except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError):
            return {}

    def _write(self) -> None:
        path = self.folder / MANIFEST
        writers = {writer: files for writer, files in self._writers.items() if files}
        if writers:
            write_json(path, {"schema": SCHEMA, "writers": writers}, indent=None)
        else:
            path.unlink(missing_ok=True)


class _Inputs:
    """The files that a user gave, by path and by identity on the disk."""

    def __init__(self, inputs: Iterable[Input]) -> None:
        self._folders: list[InputFolder] = []
        self._by_path: dict[str, Path] = {}
        self._by_id: dict[tuple[int, int], Path] = {}
        self._resolved: dict[Path, Path] = {}
        for given in inputs:
            if isinstance(given, InputFolder):
                if not given.path.is_dir():
                    self._add(given.path)
                    continue
                self._folders.append(given)
                for file in given.files():
                    self._add(file)
            elif given is not None:
                self._add(Path(given))

    def _add(self, path: Path) -> None:
        if not path.is_file():
            return
        status = path.stat()
        self._by_id[status.st_dev, status.st_ino] = path
        # Both the name that was given and the file that a link leads to.
        for found in (path.resolve(), self._place(path)):
            self._by_path[name_key(str(found))] = path

    def find(self, path: Path) -> Path | None:
        """The input that ``path`` is: through links, or by a name that differs in case."""
        if given := self._by_path.get(name_key(str(self._place(path)))):
            return given
        try:
            status = path.stat()
        except OSError:
            return None
        return self._by_id.get((status.st_dev, status.st_ino))

    def _place(self, path: Path) -> Path:
        """The path through a folder without links; folders are resolved once, outputs are many."""
        if path.parent not in self._resolved:
            self._resolved[path.parent] = path.parent.resolve()
        return self._resolved[path.parent] / path.name

    def check(self, path: Path) -> None:
        """Raise ValueError where a file at ``path`` would replace an input, or become one."""
        if given := self.find(path):
            raise ValueError(
                f"{path} would replace the input {given}: choose another place for the results"
            )
        for folder in self._folders:
            if folder.would_read(path):
                raise ValueError(
                    f"{path} would be read as an input the next time, because {folder.path} is the "
                    "source: choose another place for the results"
                )


def _check_place(path: Path) -> None:
    """Raise ValueError where a folder stands in the place of a file, or a file of a folder."""
    if path.is_dir():
        raise ValueError(f"{path} is a folder: name a file to write")
    _check_folder(path.parent)


def _check_folder(folder: Path) -> None:
    """Raise ValueError where a file stands in the place of a folder or of one above it."""
    for place in (folder, *folder.parents):
        if os.path.lexists(place):
            if not place.is_dir():
                raise ValueError(f"{place} is a file: give a folder for the results")
            return


def _is_inside(name: str) -> bool:
    """Whether a path stays in the folder that it is relative to."""
    path = Path(name)
    return path.parts != () and not path.is_absolute() and not path.drive and ".." not in path.parts


def _stamp(path: Path) -> Stamp | None:
    """Size and time of a regular file; None of anything else, links included."""
    try:
        status = path.lstat()
    except (OSError, ValueError):
        return None
    return (status.st_size, status.st_mtime_ns) if stat.S_ISREG(status.st_mode) else None


def _valid(value: Any) -> Stamp | None:
    """A stamp as the manifest holds it.

    Raises:
        ValueError: it is not one.
    """
    if value is None:
        return None
    size, time = value
    if type(size) is not int or type(time) is not int:
        raise ValueError(f"{value!r} is not a size and a time")
    return size, time
