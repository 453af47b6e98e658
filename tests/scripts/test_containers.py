"""scripts/containers/: the image files are well-formed and name what is there; the last stage gets all that the program needs.

No container engine runs here: hadolint reads the files, and the project's scripts that a stage runs are run separately.
"""

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "scripts" / "containers"
DOCKERFILES = sorted(FOLDER.glob("*.Dockerfile"))


def instructions(path):
    """(keyword, text) of each instruction, continued lines joined, comments left out."""
    text = "\n".join(line for line in path.read_text().splitlines() if not line.lstrip().startswith("#"))
    return [tuple(line.split(None, 1)) for line in text.replace("\\\n", " ").splitlines() if line.strip()]


def test_there_is_one_for_each_make():
    assert [path.name for path in DOCKERFILES] == ["cuda.Dockerfile", "rocm.Dockerfile"]


@pytest.mark.parametrize("path", DOCKERFILES, ids=lambda path: path.stem)
def test_hadolint_has_nothing_to_say(path):
    hadolint = Path(sys.executable).with_name("hadolint")
    result = subprocess.run([hadolint, path], capture_output=True, text=True, timeout=300)
    assert result.returncode == 0, result.stdout + result.stderr


@pytest.mark.parametrize("path", DOCKERFILES, ids=lambda path: path.stem)
def test_what_is_copied_and_run_is_there(path):
    steps = instructions(path)
    ignored = Path(f"{path}.dockerignore").read_text().split("\n")
    copied = [word for keyword, text in steps if keyword == "COPY" and "--from" not in text for word in text.split()[:-1]]
    assert copied
    for source in copied:
        assert (ROOT / source).exists(), source
        assert f"!{source.split('/')[0]}" in ignored, f"{source} is left out by {path.name}.dockerignore"
    run = re.findall(r"scripts/[\w/]+\.sh", " ".join(text for keyword, text in steps if keyword == "RUN"))
    assert {"scripts/setup.sh", "scripts/build.sh", "scripts/containers/install_tree.sh"} <= set(run)
    assert all((ROOT / script).stat().st_mode & 0o111 for script in run)
    # Images that stay what they are, and processes that are not root.
    assert all(re.search(r":\d+(\.\d+)+", text) for keyword, text in steps if keyword == "ARG" and text.startswith("DEBIAN="))
    assert all(text.split()[0] in ("${DEBIAN}", "toolchain") for keyword, text in steps if keyword == "FROM")
    assert [text for keyword, text in steps if keyword == "USER"] == ["1000"]


def test_the_wheels_are_those_of_the_requirements():
    """The lists that setup.sh reads in an image are copied before it runs."""
    for path, lists in zip(DOCKERFILES, (["requirements.txt", "requirements-gpu.txt"], ["requirements.txt"])):
        copied = " ".join(text for keyword, text in instructions(path) if keyword == "COPY" and "setup.sh" in text)
        assert all(f"scripts/{name}" in copied for name in lists)
    newest = re.search(r"rocm_versions=\((\S+)", (ROOT / "scripts" / "baremetal" / "setup.sh").read_text())[1]
    assert f"ARG ROCM={newest}" in (FOLDER / "rocm.Dockerfile").read_text()


def test_the_last_stage_gets_every_library(program):
    if program.resolve() != ROOT / "build" / "millrace":
        pytest.fail(f"[MILLRACE] expected {ROOT}/build/millrace, which install_tree.sh takes, got {program}")
    listed = subprocess.check_output([FOLDER / "install_tree.sh", "--list"], text=True, timeout=300).splitlines()
    packages = {line.removeprefix("package ") for line in listed if line.startswith("package ")}
    files = {line for line in listed if not line.startswith("package ")}
    assert {"libc6", "libstdc++6", "libarchive13", "libpng16-16", "libwebp7", "ca-certificates"} <= packages
    assert not any("python" in package or package.endswith("-dev") for package in packages - {"unicode-cldr-core"})
    assert all(Path(file).exists() for file in files) and not any("libtorch_python" in file for file in files)
    # Everything that the loader finds is in a listed file or folder, or in a listed package.
    for library in re.findall(r"=> (/\S+)", subprocess.check_output(["ldd", program], text=True)):
        if str(ROOT) in library or "/site-packages/" in library:
            assert any(library == file or library.startswith(f"{file}/") or Path(library).resolve() == Path(file).resolve() or
                       Path(library).resolve().is_relative_to(Path(file).resolve()) for file in files), library  # fmt: skip
        else:
            owner = subprocess.run(["dpkg-query", "-S", library, f"/usr{library}"], capture_output=True, text=True).stdout
            assert owner.split(":")[0] in packages, library


def test_wrong_arguments_are_named(tmp_path):
    for arguments in ([], ["a", "b"]):
        result = subprocess.run([FOLDER / "install_tree.sh", *arguments], capture_output=True, text=True, timeout=300)
        assert result.returncode == 2 and "expected a folder or --list" in result.stderr
