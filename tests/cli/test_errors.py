"""Whatever is wrong with the way to a fleet, a sentence says what, and what to do."""

import os
import subprocess
import sys

import pytest

from tests.helpers.command import OF_USERS, ROOT, arun, run
from tests.helpers.proxy import ANSWERS, CLOSING, SILENT, Proxy
from tests.helpers.servers import RedisServer, ServerHandle
from zenvark_web.backends import asking
from zenvark_web.cli import fleet, main
from zenvark_web.cli.arguments import REDIS

COMMANDS = [["status"], ["watch"], ["events"], ["why", "x"], ["doctor"]]


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command[0])
@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("redis://u:geheim@127.0.0.1:1", "Check the host and port"),
        ("rediss://:geheim@nowhere.invalid", "Check the host and port"),
        ("unix:///geheim-not/there.sock", "Check the host and port"),
        ("http://geheim", "redis must be a URL"),
        ("redis://127.0.0.1:1/geheim@shop", "redis must end with the number of a database"),
        ("redis+sentinel://geheim@127.0.0.1:1/x", "the name of the service in the URL"),
        ("redis+sentinel://u:geheim@127.0.0.1:1", "redis+sentinel://sentinel-1,"),
        ("", REDIS),
    ],
)
def test_no_server(command: list[str], url: str, told: str) -> None:
    result = run(*command, "--redis", url, "--namespace", "shop")
    assert (result.code, result.out) == (2, "")
    assert result.err.startswith(f"zenvark-web {command[0]}: ")
    assert told in result.err
    assert "geheim@" not in result.err


def test_there_is_advice_for_every_trouble() -> None:
    assert set(fleet.ADVICE) == set(asking.Trouble)


@pytest.mark.parametrize("mode", [*ANSWERS, SILENT, CLOSING])
async def test_no_good_server(mode: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asking, "PATIENCE", 0.3)
    async with Proxy(1) as proxy:
        proxy.switch(mode)
        result = await arun("status", "--redis", proxy.url)
    assert (result.code, result.out) == (2, "")
    assert result.err.startswith(f"zenvark-web status: redis://127.0.0.1:{proxy_port(result.err)}")
    assert result.err.count("\n") == 1
    if mode == "loading":
        assert "Wait until the server has loaded its data" in result.err


def proxy_port(told: str) -> str:
    return told.split("redis://127.0.0.1:")[1].split("/", 1)[0]


def test_a_wrong_password() -> None:
    with RedisServer(password="geheim") as server:
        for url in (f"redis://127.0.0.1:{server.port}", f"redis://:falsch@127.0.0.1:{server.port}"):
            result = run("status", "--redis", url)
            assert result.code == 2
            assert "Put user and password into the URL" in result.err
            assert "falsch" not in result.err


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command[0])
def test_no_such_database(command: list[str], redis_server: ServerHandle) -> None:
    url = f"{redis_server.url.rstrip('/0')}/99"
    result = run(*command, "--redis", url, "--namespace", "shop")
    assert (result.code, result.out) == (2, "")
    assert "The URL ends with the number of a database that this server does not have" in result.err
    assert result.err.count("\n") == 1


def test_a_server_without_tls(redis_server: ServerHandle, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asking, "PATIENCE", 2.0)
    url = redis_server.url.replace("redis://", "rediss://")
    result = run("status", "--redis", url)
    assert result.code == 2
    assert "rediss://" in result.err


def test_a_user_without_permissions(fresh_server: RedisServer) -> None:
    fresh_server.command("ACL", "SETUSER", "guest", "on", ">guest", "~other:*", "+@all")
    url = fresh_server.url.replace("redis://", "redis://guest:guest@")
    result = run("status", "--redis", url)
    assert result.code == 2
    assert "key patterns" in result.err


@pytest.mark.parametrize("command", COMMANDS[:-1], ids=lambda command: command[0])
def test_no_such_namespace(command: list[str], redis_server: ServerHandle, namespace: str) -> None:
    result = run(*command, "--redis", redis_server.url, "--namespace", namespace)
    assert (result.code, result.out) == (2, "")
    assert f"holds no keys of namespace '{namespace}'" in result.err


@pytest.mark.parametrize("namespace", ["a/b", "{a}", "", "a\x1bb"])
def test_no_namespace(namespace: str, redis_server: ServerHandle) -> None:
    result = run("status", "--redis", redis_server.url, "--namespace", namespace)
    assert result.code == 2
    assert "namespace must" in result.err
    assert "\x1b" not in result.err


@pytest.mark.parametrize("arguments", [["--shards", "0"], ["--shards", "x"], ["-n", "3"]])
def test_wrong_arguments(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exit_:
        run("status", *arguments)
    assert exit_.value.code == 2


def test_help_names_every_command_and_its_exit_codes(capsys: pytest.CaptureFixture[str]) -> None:
    whole = run()
    assert whole.code == 0
    for command in COMMANDS:
        assert f"\n    {command[0]} " in whole.out
        with pytest.raises(SystemExit) as ended:
            main([command[0], "--help"])
        assert ended.value.code == 0
        assert "exit code:" in capsys.readouterr().out


def test_a_pipe_that_is_closed_early(redis_server: ServerHandle, namespace: str) -> None:
    key = f"zenvark:{{{namespace}}}:"
    redis_server.command("SET", f"{key}epoch", 1)
    for number in range(2000):
        redis_server.command("XADD", f"{key}states", "*", "v", "1", "epoch", number, "leader", "a")
    arguments = f"--redis {redis_server.url} --namespace {namespace}"
    ended = subprocess.run(
        f"{sys.executable} -m zenvark_web events -n 2000 {arguments} | head -1",
        shell=True,
        cwd=ROOT,
        env={name: value for name, value in os.environ.items() if name not in OF_USERS},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.stdout.count("\n") == 1
    assert ended.stderr == ""
