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

-- The fields and values of the overrides; a part of them if there are more than a fleet's thousand.
local function fields_of(overrides)
    local length = redis.pcall('HLEN', overrides)
    if type(length) ~= 'number' then
        return {} -- another application's
    elseif length <= 2000 then
        return redis.call('HGETALL', overrides)
    end
    return redis.call('HSCAN', overrides, '0', 'COUNT', 2000)[2]
end

-- The latest numbers of overrides, and the highest one. Numbers more than a day ahead of the clock
-- are not the fleet's, or the clock was set back: as no later override could exceed them, all that
-- is there gets the lowest number.
local function known_numbers(overrides, now)
    local numbers, last = redis.pcall('HGET', overrides, ''), 0
    numbers = type(numbers) == 'string' and numbers or '0'
    for number in string.gmatch(numbers, '%d+') do
        last = math.max(last, tonumber(number))
    end
    if last <= now + DAY then
        return numbers, last
    end
    local fields = fields_of(overrides)
    for i = 1, #fields, 2 do
        local record = string.gsub(fields[i + 1], '"number":%d+}$', '"number":1}')
        redis.call('HSET', overrides, fields[i], record)
    end
    redis.call('HSET', overrides, '', '1')
    return '1', 1
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
