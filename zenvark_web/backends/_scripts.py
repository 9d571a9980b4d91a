"""The scripts that this package runs on a Redis server."""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Mapping, Sequence
from importlib.resources import files
from typing import Any, Protocol

MAX_STATES = 10_000
MAX_AUDIT = 5_000
"""The length of a stream, about."""

PRELUDE = """\
local DAY = 86400000

-- Every key expires a day after the last write or heartbeat. (The expiry is extended once an hour
-- at most, because only that, and not reading it, is replicated.)
local function keep(...)
    for _, key in ipairs({...}) do
        if redis.call('PTTL', key) < DAY - 3600000 then
            redis.call('PEXPIRE', key, DAY)
        end
    end
end

-- Adds an entry to a stream. A stream with an entry at the last possible position accepts no more,
-- and is deleted first.
local function add(stream, most, ...)
    local added = redis.pcall('XADD', stream, 'MAXLEN', '~', most, '*', ...)
    if type(added) == 'table' and added.err then
        if string.find(added.err, 'last possible ID', 1, true) then
            redis.call('DEL', stream)
        end
        redis.call('XADD', stream, 'MAXLEN', '~', most, '*', ...)
    end
    keep(stream)
end

-- What operators decide outlives a pause of the fleet: an override may last for 30 days.
local function keep_long(...)
    for _, key in ipairs({...}) do
        redis.call('PEXPIRE', key, 31 * DAY)
    end
end

-- The latest numbers of overrides, with one more.
local function later_numbers(numbers, number, most)
    numbers = numbers .. ' ' .. number
    local _, spaces = string.gsub(numbers, ' ', '')
    for _ = tonumber(most), spaces do
        numbers = string.gsub(numbers, '^%d* ', '', 1)
    end
    return numbers
end

-- The generation in a transition, even if the rest of it is unreadable, else -1.
local function generation_in(stored)
    return tonumber(string.match(stored or '', '"generation":%s*(%d+)') or '') or -1
end

"""
"""The common beginning of all scripts."""


class Script(Protocol):
    """Runs a script of this package."""

    def __call__(self, name: str, keys: Sequence[str], *args: str | int) -> Awaitable[Any]:
        """Return the reply of a script, given the names of its keys."""
        ...


def load_scripts() -> Mapping[str, tuple[str, str]]:
    """The scripts by name, each with its digest."""
    scripts: dict[str, tuple[str, str]] = {}
    for file in files(__name__.rpartition(".")[0]).joinpath("scripts").iterdir():
        if file.name.endswith(".lua"):
            source = PRELUDE + file.read_text("utf-8")
            digest = hashlib.sha1(source.encode(), usedforsecurity=False).hexdigest()
            scripts[file.name.removesuffix(".lua")] = (source, digest)
    return scripts
