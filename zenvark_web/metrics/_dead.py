"""Removal of the value files of dead processes, as `mark_process_dead` of prometheus_client does
for servers that have a hook for it."""

from __future__ import annotations

import os
import re
from pathlib import Path

LIVE = re.compile(r"gauge_live\w*_(\d+)\.db")
"""Files of gauges that apply as long as their process lives, named by its id."""


def forget_dead_processes(directory: Path) -> None:
    """Remove the files of live gauges of processes that have ended.

    Does nothing if files are not named by process ids (prometheus_client lets a server choose
    another name): their owners are then unknown.
    """
    files: dict[int, list[Path]] = {}
    for path in directory.iterdir():
        if found := LIVE.fullmatch(path.name):
            files.setdefault(int(found[1]), []).append(path)
    # This process has a file; if it is not found by its id, names have another meaning.
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
    except PermissionError:  # of another user
        return True
    return True
