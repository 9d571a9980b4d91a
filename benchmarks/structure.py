"""The structure of the package in figures: rooms, circles, constructors, comments, trips.

    python benchmarks/structure.py [--code PATH]

A *room* is a folder of the package, or a module at its top. A *stay* is a run of calls within one
module: a trip is traced with `sys.setprofile`, from the client's call to the verdict that is
published, and from there to the first rejection. `--code` measures another checkout.
"""

from __future__ import annotations

import argparse
import ast
import asyncio
import io
import statistics
import subprocess
import sys
import tokenize
from collections import Counter
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path
from types import FrameType

ROOT = Path(__file__).resolve().parent.parent
BESIDE = ("demo", "testing")
"""Rooms that are not the library: what shows it, and what tests with it."""

MOST_PARAMETERS = 6


class Module:
    """One source file."""

    def __init__(self, package: Path, path: Path) -> None:
        self.path = path.relative_to(package)
        self.text = path.read_text()
        self.tree = ast.parse(self.text)
        self.lines = len(self.text.splitlines())
        first = self.path.parts[0]
        self.room = first.removesuffix(".py")
        self.name = ".".join(self.path.with_suffix("").parts).removesuffix(".__init__")
        self.parent = self.name if path.name == "__init__.py" else self.name.rpartition(".")[0]

    def code_lines(self) -> int:
        """Lines that are neither blank, nor a comment, nor a docstring."""
        quiet = {tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT}
        lines: set[int] = set()
        for token in self._tokens():
            if token.type not in quiet and token.type != tokenize.ENDMARKER:
                lines.update(range(token.start[0], token.end[0] + 1))
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
                lines.difference_update(range(node.lineno, (node.end_lineno or node.lineno) + 1))
        return len(lines)

    def comments(self) -> int:
        """Lines with a comment for people."""
        markers = ("# type:", "# noqa", "# pragma", "# pyright", "# fmt", "#!")
        return sum(
            token.type == tokenize.COMMENT and not token.string.startswith(markers)
            for token in self._tokens()
        )

    def imports(self) -> Iterator[str]:
        """The names, below the package, that it imports outside functions, for types as well."""
        for node in _outside_functions(self.tree):
            if isinstance(node, ast.ImportFrom) and node.level:
                above = self.parent.split(".") if self.parent else []
                base = above[: len(above) - node.level + 1]
                target = [*base, *(node.module or "").split(".")]
                for alias in node.names:
                    yield ".".join([*filter(None, target), alias.name])
                yield ".".join(filter(None, target))

    def functions(self) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
        for node in ast.walk(self.tree):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                yield node

    def _tokens(self) -> Iterator[tokenize.TokenInfo]:
        return tokenize.generate_tokens(io.StringIO(self.text).readline)


def _outside_functions(tree: ast.AST) -> Iterator[ast.AST]:
    for node in ast.iter_child_nodes(tree):
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node
            yield from _outside_functions(node)


def circles(modules: list[Module]) -> list[list[str]]:
    """Groups of modules that import each other in a loop."""
    names = {module.name for module in modules}
    arrows = {
        module.name: {
            name
            for name in module.imports()
            # That a module is imported after the package around it makes no circle.
            if name in names and not f"{module.name}.".startswith(f"{name}.")
        }
        for module in modules
    }
    return [sorted(group) for group in _components(arrows) if len(group) > 1]


def _components(arrows: dict[str, set[str]]) -> list[set[str]]:
    reach = {name: _reached(arrows, name) for name in arrows}
    found: list[set[str]] = []
    for name in arrows:
        if not any(name in group for group in found):
            found.append({name} | {other for other in reach[name] if name in reach[other]})
    return found


def _reached(arrows: dict[str, set[str]], start: str) -> set[str]:
    seen: set[str] = set()
    waiting = [start]
    while waiting:
        for name in arrows[waiting.pop()] - seen:
            seen.add(name)
            waiting.append(name)
    return seen


def body_lines(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Lines of a body, without its docstring."""
    body = function.body
    if isinstance(body[0], ast.Expr) and isinstance(body[0].value, ast.Constant):
        body = body[1:]
    return (body[-1].end_lineno or 0) - body[0].lineno + 1 if body else 0


def constructors(modules: list[Module]) -> Iterator[tuple[str, list[ast.arg]]]:
    """Each constructor of a class that is not for users, and its parameters."""
    public = _public_names(modules)
    for module in modules:
        for node in ast.walk(module.tree):
            if isinstance(node, ast.ClassDef) and node.name not in public:
                for function in node.body:
                    if isinstance(function, ast.FunctionDef) and function.name == "__init__":
                        arguments = function.args
                        listed = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs]
                        yield f"{module.path}: {node.name}", listed[1:]


def _public_names(modules: list[Module]) -> set[str]:
    public: set[str] = set()
    for module in modules:
        for node in ast.walk(module.tree):
            named = isinstance(node, ast.Assign | ast.AnnAssign | ast.AugAssign)
            if named and "__all__" in ast.unparse(node).split("=")[0] and node.value:
                public |= {each.value for each in ast.walk(node.value) if _is_text(each)}
    return public


def _is_text(node: ast.AST) -> bool:
    return isinstance(node, ast.Constant) and isinstance(node.value, str)


def callables(modules: list[Module]) -> int:
    """Parameters of constructors that are functions."""
    aliases = {"Callable"}
    for module in modules:
        for node in ast.walk(module.tree):
            if isinstance(node, ast.AnnAssign) and "TypeAlias" in ast.unparse(node.annotation):
                is_function = node.value is not None and "Callable[" in ast.unparse(node.value)
                aliases |= {ast.unparse(node.target)} if is_function else set()
    return sum(
        argument.annotation is not None
        and bool(aliases & {each.id for each in _names_in(argument.annotation)})
        for _, arguments in constructors(modules)
        for argument in arguments
    )


def _names_in(annotation: ast.AST) -> Iterator[ast.Name]:
    return (node for node in ast.walk(annotation) if isinstance(node, ast.Name))


def show(modules: list[Module]) -> None:
    """Print what can be read off the source."""
    library = [module for module in modules if module.room not in BESIDE]
    rooms: Counter[str] = Counter()
    for module in modules:
        rooms[module.room] += module.lines
    largest, size = rooms.most_common(1)[0]
    code = sum(module.code_lines() for module in modules)
    comments = sum(module.comments() for module in modules)
    bodies = sorted(body_lines(each) for module in modules for each in module.functions())
    wide = [name for name, given in constructors(modules) if len(given) > MOST_PARAMETERS]
    long = [f"{module.path} {module.lines}" for module in modules if module.lines > 400]
    lines = sum(module.lines for module in modules)
    rows = {
        "lines / modules": f"{lines} / {len(modules)}",
        "lines of the library, without demo and testing": sum(each.lines for each in library),
        "largest room, % of the lines": f"{largest} {size / lines:.1%}",
        "import circles": circles(modules) or "none",
        "body median / p90 / max": (
            f"{statistics.median(bodies):.0f} / {bodies[len(bodies) * 9 // 10]} / {bodies[-1]}"
        ),
        "callables handed to constructors": callables(modules),
        f"constructors with more than {MOST_PARAMETERS} parameters": f"{len(wide)} {wide}",
        "comments, % of code lines": f"{comments / code:.1%}",
        "modules of more than 400 lines": long or "none",
    }
    for name, value in rows.items():
        print(f"{name:<50} {value}")


class Trip:
    """Notes which modules of the package are entered, in the program's order."""

    def __init__(self, package: Path) -> None:
        self._package = f"{package}/"
        self._seen: list[tuple[str, str]] = []

    def __call__(self, frame: FrameType, event: str, _argument: object) -> None:
        code = frame.f_code
        if event == "call" and code.co_filename.startswith(self._package):
            self._seen.append((code.co_filename, code.co_name))

    def legs(self) -> dict[str, list[str]]:
        """The stays up to the verdict's publication, and those after it."""
        names = [name for _, name in self._seen]
        files = [file for file, _ in self._seen]
        verdict = names.index("publish", names.index("append"))
        while "backends" not in files[verdict]:
            verdict = names.index("publish", verdict + 1)
        legs = {"a failed call to its verdict": files[:verdict], "to a rejection": files[verdict:]}
        return {name: [file for file, _ in groupby(leg)] for name, leg in legs.items()}


async def trip(package: Path) -> Trip:
    """One failed call by the transport, until the circuit it opens rejects."""
    import httpx

    from zenvark_web import (
        BreakerPolicy,
        BreakerTransport,
        ConsecutiveFailures,
        Coordinator,
        Role,
        State,
    )

    noted = Trip(package)
    answers = httpx.MockTransport(lambda request: httpx.Response(500))
    async with Coordinator(policy=BreakerPolicy(strategy=ConsecutiveFailures(1))) as coordinator:
        transport = BreakerTransport(coordinator, answers)
        breaker = coordinator.breaker("a.example")
        async with httpx.AsyncClient(transport=transport) as client:
            while coordinator.role is not Role.LEADER:
                await asyncio.sleep(0.01)
            await asyncio.sleep(0.3)  # until what the start has set going is over
            sys.setprofile(noted)
            await client.get("http://a.example/")
            while breaker.state is not State.OPEN:
                await asyncio.sleep(0)
            sys.setprofile(None)
    return noted


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--code", type=Path, default=ROOT, help="another checkout")
    parser.add_argument("--trip", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    package = given.code.resolve() / "zenvark_web"
    if not given.trip:
        show([Module(package, path) for path in sorted(package.rglob("*.py"))])
        # In a process of its own, which imports the package that is measured.
        program = [sys.executable, __file__, "--trip", "--code", str(given.code)]
        subprocess.run(program, check=True)
        return
    sys.path.insert(0, str(given.code.resolve()))
    import logging

    logging.disable()
    for leg, stays in asyncio.run(trip(package)).legs().items():
        print(f"{'trip: ' + leg:<50} {len(stays)} stays in {len(set(stays))} rooms")


if __name__ == "__main__":
    main()
