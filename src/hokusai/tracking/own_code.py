"""The code of a user's own that an evaluation runs: its source files, and what of it stands in no commit.

A trainer or a metric that is named as ``module:attribute`` is code that no package index has. Without it nobody can do
the evaluation again, so it is recorded: the module, and the modules below the same folder that it imports. The modules
are read and not run. Credentials in them are redacted, and files of data are left out of the differences from the
commit, whatever changed in them.
"""

from __future__ import annotations

import ast
import re
import site
import sys
import sysconfig
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from hokusai.digests import canonical_json, sha256
from hokusai.tracking.artifacts import path_problem
from hokusai.tracking.git_checkout import find_git
from hokusai.tracking.naming import OWN_CODE_COMMIT_TAG, OWN_CODE_DIFFERENCES_TAG, OWN_CODE_TAG
from hokusai.tracking.secrets import REDACTED, redact_text

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from hokusai.tracking.git_checkout import Git
    from hokusai.tracking.run import Run

__all__ = [
    "CODE_FOLDER",
    "DIFFERENCES_NAME",
    "LONGEST_DIFFERENCES",
    "LONGEST_SOURCE",
    "OwnCode",
    "OwnModule",
    "own_modules",
    "uncommitted_differences",
]

CODE_FOLDER = "code"
"""Folder of the artifacts that are source files, each under its module's path."""
DIFFERENCES_NAME = "uncommitted.diff"
"""The artifact that holds the differences from the commit."""
LONGEST_DIFFERENCES = 1 << 20
"""The most bytes of differences that are recorded."""
LONGEST_SOURCE = 1 << 20
"""The most bytes of one source file that are recorded; of a longer one the digest is."""

_GIT_SECONDS = 10.0
_UNKNOWN = "unknown"
# What programs are written in and built by; tables, notebooks and models hold data.
_CODE_FILES = (
    *(f"*.{suffix}" for suffix in ("py", "pyi", "pyx", "pxd", "c", "cc", "cpp", "cu", "h", "hpp", "rs", "f90", "jl")),
    *("pyproject.toml", "setup.cfg", "*.lock", "requirements*.txt", "constraints*.txt", "environment.yml"),
)
# Whatever the configuration of git says: one form, made by git itself.
_DIFFERENCES = (
    *("diff", "--binary", "--no-ext-diff", "--no-textconv", "--no-color", "--no-renames", "--no-relative"),
    *("--unified=3", "--src-prefix=a/", "--dst-prefix=b/", "--submodule=short", "--ignore-submodules=dirty"),
)
# git would note down which files were touched and are the same.
_NO_WRITING = "diff.autoRefreshIndex=false"
_FILE_BEGINS = re.compile(rb"^(?=diff --git )", re.MULTILINE)


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnModule:
    """A source file of the user's own.

    Attributes:
        name: The module's dotted name.
        root: The folder that its first part stands in.
        path: The file below that folder, with ``/`` between its parts.
        content: The file's bytes.
    """

    name: str
    root: Path
    path: str
    content: bytes


class OwnCode:
    """Reads, beside the work and from the moment it is made, what there is to record of a user's own code.

    Args:
        modules: Names of imported modules, such as those of a trainer and of metrics; those of installed packages
            are of no concern here.
    """

    def __init__(self, modules: Iterable[str]) -> None:
        """Begin in a thread, which ends when git has answered or its time is over."""
        self._modules: tuple[OwnModule, ...] = ()
        self._tags: dict[str, str] = {}
        self._differences: bytes | None = None
        self._thread = threading.Thread(target=self._read, args=(tuple(modules),), name="hokusai-own-code", daemon=True)
        self._thread.start()

    def record(self, run: Run, wait_seconds: float = _GIT_SECONDS) -> None:
        """Record the source files and the differences from the commit, with tags that describe them; may be nothing."""
        self._thread.join(wait_seconds)
        if not self._modules:
            return
        for module in self._modules:
            path = f"{CODE_FOLDER}/{module.path}"
            if len(module.content) <= LONGEST_SOURCE and not path_problem(path):
                run.log_artifact(path, _redacted(module.content))
        if self._differences:
            run.log_artifact(DIFFERENCES_NAME, self._differences)
        digests = {module.name: sha256(module.content) for module in self._modules}
        run.set_tags({OWN_CODE_TAG: canonical_json(digests).decode(), OWN_CODE_DIFFERENCES_TAG: _UNKNOWN} | self._tags)

    def _read(self, modules: Sequence[str]) -> None:
        self._modules = own_modules(modules)
        if self._modules:
            root = self._modules[0].root
            files = [root / module.path for module in self._modules if module.root == root]
            self._tags, self._differences = uncommitted_differences(root, files=files)


def own_modules(names: Sequence[str]) -> tuple[OwnModule, ...]:
    """Return the source files of imported modules that belong to no installed package, and of what they import.

    Imports are found by reading the files, so that those which only happen in another process are found as well;
    those by a computed name are not. The modules that are named come first.

    Args:
        names: Dotted names of imported modules.
    """
    found: dict[str, OwnModule] = {}
    for name in names:
        file = getattr(sys.modules.get(name), "__file__", None)
        if not file or not str(file).endswith(".py") or _is_installed(Path(file)):
            continue
        path = Path(file).resolve()
        root = path.parents[name.count(".") + (path.name == "__init__.py")]
        _collect(name, root, found)
    return tuple(found.values())


def uncommitted_differences(
    folder: Path, *, files: Sequence[Path], timeout_seconds: float = _GIT_SECONDS
) -> tuple[dict[str, str], bytes | None]:
    """Return in which way code differs from the commit that is checked out around a folder.

    Untracked files count when they are given; content filters are not run, see
    :func:`~hokusai.tracking.surroundings.code_version_tags`.

    Args:
        folder: A folder of the checkout.
        files: Files that count although they are not tracked.
        timeout_seconds: How long git may take for everything.

    Returns:
        Tags for the commit and for the state of the differences (``none``, ``complete``, ``redacted``, ``too large``
        or ``unknown``), without any where there is no checkout or no git; and the differences, for ``git apply``,
        where they are complete or redacted.
    """
    git = find_git(timeout_seconds=timeout_seconds)
    answer = git and git.ask(folder, "rev-parse", "--show-toplevel", "--verify", "HEAD")
    if git is None or not answer or answer.code:
        return {}, None
    root, _, commit = answer.output.removesuffix(b"\n").decode("utf-8", "surrogateescape").rpartition("\n")
    state, content = _differences(git, Path(root), files)
    return {OWN_CODE_COMMIT_TAG: commit, OWN_CODE_DIFFERENCES_TAG: state}, content


def _differences(git: Git, root: Path, files: Sequence[Path]) -> tuple[str, bytes | None]:
    filters = git.filters(root)
    untracked = _untracked(git, root, files)
    if filters is None or untracked is None:
        return _UNKNOWN, None
    patterns = [f":(top,glob)**/{name}" for name in _CODE_FILES]
    parts, room = [], LONGEST_DIFFERENCES
    # Two trees that do not belong together: git compares a file with nothing, and answers 1 because they differ.
    additions = [("--no-index", "--", "/dev/null", path) for path in untracked]
    for arguments, codes in (((("HEAD", "--", *patterns)), (0,)), *((each, (0, 1)) for each in additions)):
        answer = git.ask_briefly(root, *_DIFFERENCES, *arguments, limit=room, settings=(*filters, _NO_WRITING))
        if answer is not None and len(answer.output) > room:
            return "too large", None
        if answer is None or answer.code not in codes:
            return _UNKNOWN, None
        parts.append(answer.output)
        room -= len(answer.output)
    whole = b"".join(parts)
    redacted = b"".join(map(_redacted_changes, _FILE_BEGINS.split(whole)))
    return ("none" if not whole else "complete" if redacted == whole else "redacted"), redacted or None


def _untracked(git: Git, root: Path, files: Sequence[Path]) -> list[str] | None:
    """Return those files below a root that git does not track, also when it ignores them."""
    place = root.resolve()
    below = [f":(top,literal){file.relative_to(place).as_posix()}" for file in files if file.is_relative_to(place)]
    if not below:
        return []
    answer = git.ask(root, "ls-files", "--others", "-z", "--", *below)
    if answer is None or answer.code:
        return None
    return [name.decode("utf-8", "surrogateescape") for name in answer.output.split(b"\0") if name]


def _redacted(content: bytes) -> bytes:
    text = content.decode("utf-8", "surrogateescape")
    return redact_text(text).encode("utf-8", "surrogateescape")


def _redacted_changes(change: bytes) -> bytes:
    """Return the differences of one file without credentials.

    The sign at the beginning of a line would hide a name behind it, so lines are looked at without it. A file of which
    whole lines would be taken out, such as those of a private key, keeps its head alone.
    """
    head, at, hunks = change.partition(b"\n@@ ")
    if not at:
        return change
    lines = (at + hunks)[1:].split(b"\n")
    redacted = _redacted(b"\n".join(line[1:] for line in lines)).split(b"\n")
    if len(redacted) != len(lines):
        return head + b"\n" + REDACTED.encode() + b"\n"
    return head + b"\n" + b"\n".join(line[:1] + text for line, text in zip(lines, redacted, strict=True))


def _collect(name: str, root: Path, found: dict[str, OwnModule]) -> None:
    """Add a module below a root, the packages that it stands in, and what it imports from below the root."""
    waiting = [name]
    while waiting:
        name = waiting.pop()
        file = _file_of(name, root)
        if name in found or file is None:
            continue
        try:
            content = file.read_bytes()
        except OSError:
            continue
        found[name] = OwnModule(name=name, root=root, path=file.relative_to(root).as_posix(), content=content)
        package = name if file.name == "__init__.py" else name.rpartition(".")[0]
        imported = dict.fromkeys(_imports(content, package=package))
        parents = [".".join(name.split(".")[:count]) for count in range(1, name.count(".") + 1)]
        # The last one in is the first one out: in the order in which they stand in the file.
        waiting += reversed([*parents, *imported])


def _file_of(name: str, root: Path) -> Path | None:
    place = root.joinpath(*name.split("."))
    for file in (place / "__init__.py", place.with_name(f"{place.name}.py")):
        if file.is_file() and not _is_installed(file):
            return file
    return None


def _imports(content: bytes, *, package: str) -> Iterator[str]:
    """Yield the names of the modules that a source file may import, also inside of functions."""
    try:
        tree = ast.parse(content)
    except (SyntaxError, ValueError, RecursionError):
        return
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            above = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            module = ".".join([*above, *filter(None, [node.module])])
            # What is imported from a package may be a module in it.
            names = [module, *(f"{module}.{alias.name}" for alias in node.names)]
        else:
            continue
        for name in names:
            parts = name.split(".")
            if all(part.isidentifier() for part in parts):
                yield from (".".join(parts[:count]) for count in range(1, len(parts) + 1))


def _is_installed(file: Path) -> bool:
    paths = sysconfig.get_paths()
    places = {paths[name] for name in ("stdlib", "platstdlib", "purelib", "platlib")}
    places |= {*site.getsitepackages(), site.getusersitepackages()}
    return any(file.resolve().is_relative_to(Path(place).resolve()) for place in places)
