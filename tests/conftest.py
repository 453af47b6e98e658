"""What every test in tests/ shares: the program under test, its GPU, and no way to skip quietly."""

import os
import subprocess
from pathlib import Path

import pytest
from quick_starts import QuickStarts

ROOT = Path(__file__).resolve().parent.parent
PROGRAM = Path(os.environ.get("MILLRACE", ROOT / "build" / "millrace"))


def pytest_addoption(parser):
    parser.addoption("--part", metavar="K/N", help="run the K-th of N parts of the named files of tests")


def pytest_configure(config):
    if config.getoption("--part"):
        part, parts = map(int, config.getoption("--part").split("/"))
        config.args = list(map(str, files_of_part([Path(name) for name in config.args], part, parts)))


def files_of_part(files: list[Path], part: int, parts: int) -> list[Path]:
    """Neighbours stay together, as far as parts of about as much text allow: they import the same peers, which takes seconds."""
    total = sum(file.stat().st_size for file in files)
    chosen, before = [], 0
    for file in sorted(files):
        if before * parts // total == part - 1:
            chosen.append(file)
        before += file.stat().st_size
    return chosen


def pytest_collection_modifyitems(config, items):
    """Tests marked `gpu` run where a GPU is; elsewhere they are deselected, which pytest's summary counts."""
    if Path("/dev/nvidia0").exists() or Path("/dev/kfd").exists():
        return
    without = [item for item in items if item.get_closest_marker("gpu")]
    if without:
        items[:] = [item for item in items if not item.get_closest_marker("gpu")]
        config.hook.pytest_deselected(items=without)


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    """A test that skips itself protects nothing: it fails. (Expected failures are strict, see pytest.ini.)"""
    outcome = yield
    report = outcome.get_result()
    if report.skipped and not hasattr(report, "wasxfail"):
        report.outcome = "failed"
        report.longrepr = f"{item.nodeid}: expected a test that runs, got a skip: {call.excinfo.value}"


@pytest.hookimpl(hookwrapper=True)
def pytest_make_collect_report(collector):
    """The same for files: pytest.importorskip() at the top of a file fails."""
    outcome = yield
    report = outcome.get_result()
    if report.skipped:
        report.outcome = "failed"
        report.longrepr = f"{collector.nodeid}: expected a file of tests, got a skip: {report.longrepr}"


@pytest.fixture(scope="session")
def program():
    """The path of the program."""
    if not os.access(PROGRAM, os.X_OK):
        pytest.fail(f"[{PROGRAM}] expected the built program (try scripts/build.sh)", pytrace=False)
    return PROGRAM


@pytest.fixture(scope="session")
def emoji_set(program, tmp_path_factory):
    """emoji_set(count, size=16): a folder with that many captioned pictures, made once."""
    folder = tmp_path_factory.mktemp("emoji")

    def make(count: int, size: int = 16) -> Path:
        path = folder / f"{count}-{size}"
        if not path.exists():
            command = [program, "prepare", "emoji", "--output", path, "--size", str(size), "--count", str(count)]
            subprocess.run(command, check=True, timeout=300, capture_output=True)
        return path

    return make


@pytest.fixture(scope="session")
def quick_starts(program):
    server = QuickStarts(program)
    yield server
    server.close()


@pytest.fixture
def millrace(program, quick_starts, tmp_path):
    """millrace("forward", "t5", ..., status=0): runs the program and checks its exit status.

    Arguments may be anything that has a text form. The current folder is the test's own tmp_path unless `cwd` says
    otherwise; `env` adds to the environment. Returns the CompletedProcess, with stdout and stderr as text.
    """

    def run(*arguments, status=0, timeout=300, env=None, cwd=tmp_path, input=None):
        arguments = [str(argument) for argument in arguments]
        command, environment = quick_starts.command(os.environ | {key: str(value) for key, value in (env or {}).items()})
        result = subprocess.run(
            command + arguments, cwd=cwd, env=environment, input=input, capture_output=True, text=True, errors="replace", timeout=timeout
        )
        if result.returncode != status:
            pytest.fail(
                f"{' '.join([str(program), *arguments])}\nexpected exit status {status}, got {result.returncode}\n"
                f"-- stdout\n{result.stdout[-4000:]}\n-- stderr\n{result.stderr[-4000:]}"
            )
        return result

    return run
