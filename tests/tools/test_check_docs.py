"""tools/check_docs.py reads pages as it says it does."""

import importlib.util
import os
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.fast

TOOL = Path(__file__).resolve().parents[2] / "tools" / "check_docs.py"
spec = importlib.util.spec_from_file_location("check_docs", TOOL)
check_docs = importlib.util.module_from_spec(spec)
sys.modules["check_docs"] = check_docs  # dataclasses look their module up
spec.loader.exec_module(check_docs)

PAGE = """# Title
```sh
echo one
```
<!-- not run: takes an hour -->

```sh
false
```
```toml
key = 1
```
<!-- not run: -->
```sh
echo two \\
  three
```
"""


def test_only_sh_blocks_without_a_reason_are_run():
    blocks = check_docs.shell_blocks(PAGE)
    assert [(block.line, block.text) for block in blocks] == [(3, "echo one"), (15, "echo two \\\n  three")]


def test_a_block_that_fails_in_the_middle_is_reported(tmp_path):
    block = check_docs.Block(1, "echo before\nfalse\necho after")
    problem = check_docs.run_block(block, tmp_path, dict(os.environ))
    assert problem == "expected exit status 0, got 1\nbefore\n"


def test_a_block_that_hangs_is_ended(tmp_path, monkeypatch):
    monkeypatch.setattr(check_docs, "BLOCK_SECONDS", 1)
    problem = check_docs.run_block(check_docs.Block(1, "echo before; sleep 60"), tmp_path, dict(os.environ))
    assert problem == "expected an end within 1 s\nbefore\n"


def test_paths_and_links_that_lead_nowhere_are_reported(tmp_path):
    (tmp_path / "src" / "base").mkdir(parents=True)
    (tmp_path / "src" / "base" / "error.h").write_text("")
    (tmp_path / "src" / "base" / "text.h").write_text("")
    page = tmp_path / "README.md"
    page.write_text(
        "`src/base/error.h` `src/base/*.h` `src/base/{error,text}.h` `src/<folder>/x` `data/x` `a/b` [page](src/base)\n"
        "`src/base/gone.h` `src/nn/*.h` `src/base/{error,x}.h` [gone](docs/gone.md) [web](https://example.org/x)\n"
        "```\n`src/in/a/block.h`\n```\n"
    )
    places = [breach.split(" got ") for breach in check_docs.missing_paths(tmp_path, page)]
    assert all(place.startswith("[README.md:2]") for place, _ in places), places
    assert {path for _, path in places} == {"src/base/gone.h", "src/nn/*.h", "src/base/{error,x}.h", "docs/gone.md"}
