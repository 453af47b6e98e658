"""The page of a first run: predictions beside measurements. Without results, the form that waits for them:

    python3 scripts/gpu/page.py > benchmarks/results/gpu_first_run.md
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
from predictions import CHECKS, PREDICTIONS  # noqa: E402

INTRODUCTION = """# The first run on a GPU

This page is what `scripts/gpu/first_run.sh` writes: predictions, made before any run, beside what it measured. [docs/gpu_status.md](../../docs/gpu_status.md) says which part shows what.
"""
REHEARSED = "**A rehearsal: emulated kernels at tiny sizes on a CPU. Its times mean nothing.**\n"


def number(value):
    if value is None:
        return ""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def timed_table(part, rows):
    lines = ["| | predicted us | limit us | measured us | of prediction | GB/s or TFLOP/s |", "|---|---|---|---|---|---|"]
    predicted = dict(PREDICTIONS.get(part, {}))
    measured = {row["name"]: row for row in rows if "us" in row}
    for name in [*predicted, *(name for name in measured if name not in predicted)]:
        row = measured.get(name, {})
        guess, limit = predicted.get(name, (None, None))
        ratio = f"{row['us'] / guess:.2f}" if row and guess else ""
        rate = row.get("gb_per_s", row.get("tflops"))
        lines.append(f"| {name.strip()} | {number(guess)} | {number(limit)} | {number(row.get('us'))} | {ratio} | {number(rate)} |")
    return lines


def checks_table(rows):
    lines = ["| check | error | allowed | |", "|---|---|---|---|"]
    for row in rows:
        if "passed" in row:
            verdict = "ok" if row["passed"] else "**FAILED**"
            lines.append(f"| {row['name']} | {number(row.get('error'))} | {number(row.get('allowed'))} | {verdict} |")
    return lines


def render(results):
    machine, parts = results.get("machine", {}), results.get("parts", {})
    lines = [INTRODUCTION]
    if "rehearsal" in machine.get("gpu", ""):
        lines.append(REHEARSED)
    lines.append(f"Machine: {machine['gpu']}, {machine['cores']} cores, {machine['date']}.\n" if machine else "Machine: none. No GPU has run this program so far.\n")
    names = list(dict.fromkeys([*PREDICTIONS, *CHECKS, *parts]))
    for name in names:
        part = parts.get(name, {"rows": [], "status": "not run"})
        seconds = f", {part['seconds']} s" if "seconds" in part else ""
        lines += [f"## {name}", "", f"{part['status'][:300]}{seconds}", ""]
        if name in CHECKS:
            lines += [f"Expected: {CHECKS[name]}.", ""]
        rows = part["rows"]
        if name in PREDICTIONS or any("us" in row for row in rows):
            lines += [*timed_table(name, rows), ""]
        if any("passed" in row for row in rows):
            lines += [*checks_table(rows), ""]
        for row in rows:
            if "value" in row and "passed" not in row:
                value = row["value"]
                text = ", ".join(f"{key} {number(v)}" for key, v in value.items()) if isinstance(value, dict) else value
                lines += [f"- {row['name']}: {text}"]
        if lines[-1].startswith("- "):
            lines.append("")
    return "\n".join(lines).rstrip() + "\n"


if __name__ == "__main__":
    sys.stdout.write(render({}))
