"""Virtual environments with different versions of this package, and a program that runs in each.

The package is plain Python: what its wheel installs is the folder `zenvark_web` (`nox -s wheel`
checks that). An environment contains that folder of one commit, or of the working tree, and finds
the dependencies in the running environment, so that nothing is built or downloaded.
"""

import io
import shutil
import subprocess
import sys
import tarfile
import venv
from pathlib import Path

import pytest

from tests.helpers.processes import ROOT

PACKAGE = "zenvark_web"

FIRST = "f45692065afb66937da3d38efb1aeaec9fc6ecf3"
"""The last commit that reads only what it knows, and lists no capabilities."""

MEMBER = Path(__file__).parent / "member.py"


def of_commit(commit: str, folder: Path) -> Path:
    """The interpreter of an environment with the package of a commit."""
    packed = subprocess.run(
        ["git", "archive", commit, PACKAGE], cwd=ROOT, capture_output=True, check=False
    )
    if packed.returncode:
        pytest.skip(f"commit {commit} is not in this clone: `git fetch origin {commit}` brings it")
    python, packages = _made(folder)
    with tarfile.open(fileobj=io.BytesIO(packed.stdout)) as archive:
        archive.extractall(packages, filter="data")
    return python


def of_this(folder: Path) -> Path:
    """The interpreter of an environment with the package of the working tree."""
    python, packages = _made(folder)
    ignored = shutil.ignore_patterns("__pycache__")
    shutil.copytree(ROOT / PACKAGE, packages / PACKAGE, ignore=ignored)
    return python


def _made(folder: Path) -> tuple[Path, Path]:
    venv.create(folder, symlinks=True, with_pip=False)
    [packages] = folder.glob("lib/python*/site-packages")
    # As plain paths, behind the environment's own: no version of the package itself comes first.
    others = [path for path in sys.path if path.endswith("-packages")]
    (packages / "dependencies.pth").write_text("".join(f"{path}\n" for path in others))
    return folder / "bin" / "python", packages
