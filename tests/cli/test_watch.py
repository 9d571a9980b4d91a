"""`watch`: a live table on a terminal, a line for each change elsewhere."""

import signal
from pathlib import Path

from tests.cluster.fleet import Instance, StartFleet
from tests.helpers.command import Running
from tests.helpers.servers import RedisServer, ServerHandle
from tests.helpers.terminal import OnTerminal

HIDE_CURSOR, SHOW_CURSOR = "\x1b[?25l", "\x1b[?25h"
WITHOUT_RICH = """
import sys
sys.modules["rich"] = None
from zenvark_web.cli import main
sys.exit(main())
"""


def of(server: ServerHandle, namespace: str) -> tuple[str, ...]:
    return "--redis", server.url, "--namespace", namespace, "--interval", "0.1"


async def test_a_line_for_each_change(
    namespace: str, redis_server: ServerHandle, start_fleet: StartFleet
) -> None:
    [instance] = await start_fleet(1, threshold=1, wait=60)
    with Running("watch", *of(redis_server, namespace)) as watch:
        assert (await watch.auntil(namespace)).startswith(f"{namespace}: 0 open")
        await watch.auntil(instance.id)
        await instance.fail()
        await watch.auntil("upstream opened: 1 of 1 calls failed")
        [other] = await start_fleet(1)
        assert "has joined" in await watch.auntil(other.id)
        await other.stop()
        assert "has left" in await watch.auntil(other.id)
        watch.interrupt()
        assert watch.end() == 130
        assert watch.stderr == ""
        assert "\x1b" not in "".join(watch.lines)


async def test_an_outage_is_survived(
    fresh_server: RedisServer, namespace: str, start_fleet: StartFleet
) -> None:
    [instance] = await start_fleet(1, server=fresh_server, threshold=1, wait=60)
    with Running("watch", *of(fresh_server, namespace)) as watch:
        await watch.auntil(instance.id)
        fresh_server.kill()
        await watch.auntil("Check the host and port")
        fresh_server.restart()
        await watch.auntil("The server replies again.")
        await instance.connects()
        await instance.fail()
        await watch.auntil("upstream opened")
        watch.child.process.send_signal(signal.SIGTERM)
        assert watch.end() == 143
        assert len([line for line in watch.lines if "Retrying" in line]) == 1


async def opened(start_fleet: StartFleet) -> Instance:
    [instance] = await start_fleet(1, threshold=1, wait=60)
    await instance.fail()
    await instance.reaches("open")
    return instance


async def test_a_terminal_shows_a_table_and_is_restored(
    namespace: str, redis_server: ServerHandle, start_fleet: StartFleet
) -> None:
    instance = await opened(start_fleet)
    for number, code in ((signal.SIGINT, 130), (signal.SIGTERM, 143)):
        terminal = OnTerminal("-m", "zenvark_web", "watch", *of(redis_server, namespace))
        terminal.until(instance.id)
        terminal.until("opened")
        assert terminal.end(number) == code
        assert terminal.written.rindex(SHOW_CURSOR) > terminal.written.rindex(HIDE_CURSOR)
        assert "Traceback" not in terminal.written


async def test_a_terminal_without_rich_gets_lines(
    namespace: str, redis_server: ServerHandle, start_fleet: StartFleet
) -> None:
    instance = await opened(start_fleet)
    terminal = OnTerminal("-c", WITHOUT_RICH, "watch", *of(redis_server, namespace))
    terminal.until(instance.id)
    assert terminal.end(signal.SIGINT) == 130
    assert "\x1b" not in terminal.written
    rows = terminal.written.splitlines()
    assert max(map(len, rows)) <= 100


async def test_no_command_needs_rich(
    namespace: str, redis_server: ServerHandle, start_fleet: StartFleet
) -> None:
    await opened(start_fleet)
    where = of(redis_server, namespace)[:4]
    commands = [[*each, *where] for each in (["status"], ["why", "upstream"], ["events"])]
    each_of = WITHOUT_RICH.replace("main()", f"max(map(main, {commands}))")
    with Running(program=each_of) as running:
        assert running.end() == 0
        assert running.stderr == ""
        assert running.lines


def test_schemas_are_in_the_package() -> None:
    import zenvark_web

    directory = Path(zenvark_web.__file__).parent / "schemas"
    names = {path.stem for path in directory.iterdir()}
    assert names == {"status", "events", "why", "doctor", "operation"}
