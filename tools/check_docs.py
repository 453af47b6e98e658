#!/usr/bin/env python3
"""Runs the commands in the documentation.

Every fenced ```sh block of README.md and docs/*.md is run with bash: a page from top to bottom, as many pages at once as there
are cores, each page in its own folder with copies of configs/ and tests/, with build/millrace on the PATH as
`millrace`. A block after the line `<!-- not run: why -->` is left out. In every Markdown file of the project the paths and
links that lead into the project must exist.

    tools/check_docs.py [PAGE...]      all pages, or these
"""

import argparse
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BLOCK_SECONDS = 300
NOT_RUN = re.compile(r"^<!-- not run: \S.*-->$")
LINK = re.compile(r"\]\(([^)#\s]+)(?:#[^)]*)?\)")
CODE = re.compile(r"`([^`\n]+)`")
# Made by the build or by a run; not part of a checkout.
MADE = {"build", "data", "outputs", ".venv", ".deps"}


@dataclass
class Block:
    line: int
    text: str


def shell_blocks(text: str) -> list[Block]:
    """The ```sh blocks to run."""
    blocks: list[Block] = []
    before = ""  # the last line with something on it ahead of the block
    body: list[str] | None = None
    start, wanted = 0, False
    for number, line in enumerate(text.splitlines(), 1):
        if body is not None:
            if line.strip() == "```":
                if wanted:
                    blocks.append(Block(start, "\n".join(body)))
                body, before = None, ""
            else:
                body.append(line)
        elif line.startswith("```"):
            body, start = [], number + 1
            wanted = line.strip() == "```sh" and not NOT_RUN.match(before)
        elif line.strip():
            before = line.strip()
    return blocks


def run_block(block: Block, folder: Path, environment: dict[str, str]) -> str | None:
    """The error, or None."""
    process = subprocess.Popen(
        ["bash", "-euo", "pipefail", "-c", block.text],
        cwd=folder,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        start_new_session=True,
    )
    try:
        output, _ = process.communicate(timeout=BLOCK_SECONDS)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        output, _ = process.communicate()
        return f"expected an end within {BLOCK_SECONDS} s\n{output}"
    return None if process.returncode == 0 else f"expected exit status 0, got {process.returncode}\n{output}"


def run_page(page: Path) -> list[str]:
    blocks = shell_blocks(page.read_text())
    if not blocks:
        return []
    with tempfile.TemporaryDirectory(prefix="millrace-docs-") as name:
        folder = Path(name)
        for part in ("configs", "tests"):
            if (ROOT / part).is_dir():
                shutil.copytree(ROOT / part, folder / part, ignore=shutil.ignore_patterns("__pycache__"))
        path = f"{ROOT / 'build'}:{ROOT / '.venv/bin'}:{os.environ['PATH']}"
        for block in blocks:
            started = time.monotonic()
            # Spinning threads would take the cores from the other pages.
            problem = run_block(block, folder, os.environ | {"PATH": path, "OMP_WAIT_POLICY": "passive"})
            place = f"{page.relative_to(ROOT)}:{block.line}"
            if problem:
                return [f"[{place}] {problem}"]
            print(f"  {place}  {time.monotonic() - started:.1f} s", flush=True)
    return []


def tracked_names(root: Path) -> set[str]:
    return {entry.name for entry in root.iterdir()} - MADE - {".git"}


def missing_paths(root: Path, page: Path) -> list[str]:
    """Links and back-quoted paths that start with a name at the top of the project and lead nowhere."""
    breaches = []
    top = tracked_names(root)
    in_block = False
    for number, line in enumerate(page.read_text().splitlines(), 1):
        if line.startswith("```"):
            in_block = not in_block
        if in_block:
            continue
        place = f"{page.relative_to(root)}:{number}"
        for target in LINK.findall(line):
            if "://" in target or target.startswith("mailto:"):
                continue
            if not (page.parent / target).exists():
                breaches.append(f"[{place}] expected the link's target to exist, got {target}")
        for code in CODE.findall(line):
            word = code.split()[0].removeprefix("./") if code.split() else ""
            if word.split("/")[0] not in top or "/" not in word or re.search(r"[<>$…]", word):
                continue
            if re.search(r"[*?{\[]", word):
                patterns = expand_braces(word)
                found = all(any(root.glob(pattern.rstrip("/"))) for pattern in patterns)
            else:
                found = (root / word.rstrip("/,:;")).exists()
            if not found:
                breaches.append(f"[{place}] expected the path to exist, got {word}")
    return breaches


def expand_braces(pattern: str) -> list[str]:
    """a/{b,c}.x -> a/b.x, a/c.x"""
    match = re.search(r"\{([^{}]*)\}", pattern)
    if not match:
        return [pattern]
    head, tail = pattern[: match.start()], pattern[match.end() :]
    return [full for part in match[1].split(",") for full in expand_braces(head + part.strip() + tail)]


def markdown_files(root: Path) -> list[Path]:
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "*.md"],
        cwd=root, check=True, capture_output=True, text=True,
    )  # fmt: skip
    return sorted(root / name for name in set(listed.stdout.split()) if (root / name).exists())


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pages", nargs="*", type=Path)
    arguments = parser.parse_args()
    pages = [p.resolve() for p in arguments.pages] or markdown_files(ROOT)

    breaches = [breach for page in pages for breach in missing_paths(ROOT, page)]
    if not (ROOT / "build/millrace").exists():
        breaches.append("[build/millrace] expected the built program (try scripts/build.sh)")
    if not breaches:
        run = [p for p in pages if p.parent == ROOT / "docs" or p == ROOT / "README.md"]
        with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
            breaches = [breach for found in pool.map(run_page, run) for breach in found]
    for breach in breaches:
        print(breach)
    if breaches:
        return 1
    print(f"check_docs: {len(pages)} pages")
    return 0


if __name__ == "__main__":
    sys.exit(main())
