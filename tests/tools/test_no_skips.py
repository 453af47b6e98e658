"""tests/conftest.py turns a skip into a failure, so that no test can switch itself off unnoticed."""

from pathlib import Path

pytest_plugins = ["pytester"]

CONFTEST = Path(__file__).resolve().parents[1] / "conftest.py"


def run(pytester, source):
    pytester.makeconftest(CONFTEST.read_text())
    pytester.makeini(f"[pytest]\npythonpath = {CONFTEST.parent}\nmarkers =\n    gpu: needs a GPU\n")
    pytester.makepyfile(source)
    return pytester.runpytest_subprocess("-p", "no:cacheprovider")


def test_a_skip_fails(pytester):
    result = run(pytester, "import pytest\ndef test_it():\n    pytest.skip('no data')\n")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*expected a test that runs, got a skip: no data*"])


def test_a_marked_skip_fails(pytester):
    result = run(pytester, "import pytest\n@pytest.mark.skip(reason='later')\ndef test_it():\n    pass\n")
    assert result.ret == 1
    result.stdout.fnmatch_lines(["*got a skip: later*"])


def test_a_file_that_skips_itself_fails(pytester):
    result = run(pytester, "import pytest\npytest.importorskip('no_such_module')\ndef test_it():\n    pass\n")
    assert result.ret != 0
    result.assert_outcomes(errors=1)


def test_an_expected_failure_stays_one(pytester):
    result = run(pytester, "import pytest\n@pytest.mark.xfail(strict=True)\ndef test_it():\n    assert False\n")
    result.assert_outcomes(xfailed=1)
