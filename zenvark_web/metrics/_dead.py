"""Takes back what dead processes said of themselves, as `mark_process_dead` of prometheus_client
does where a server has a place to call it."""

from __future__ import annotations

import os
import re
from pathlib import Path

LIVE = re.compile(r"gauge_live\w*_(\d+)\.db")
"""Files of numbers that hold as long as their process lives, named by its id."""


def forget_dead_processes(directory: Path) -> None:
    """Remove what is true only while a process lives, of each that does not live any more.

    Does nothing where files are not named by process ids (prometheus_client lets a server choose
    something else): then nobody can tell whose they are.
    """
    files: dict[int, list[Path]] = {}
    for path in directory.iterdir():
        if found := LIVE.fullmatch(path.name):
            files.setdefault(int(found[1]), []).append(path)
    if os.getpid() not in files:
        return
    for process, its in files.items():
        if not _is_alive(process):
            for path in its:
                path.unlink(missing_ok=True)  # another process may have been faster


def _is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # it is somebody else's
        return True
    return True
