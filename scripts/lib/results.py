#!/usr/bin/python3
"""The table of what `scripts/test --full=PART` found: prints it, and writes it into docs/results.md.

    scripts/lib/results.py PART RESULTS STEPS DOCUMENT

RESULTS has a line for each invariant or figure, its columns parted by tabs: `invariant`, name, faults, runs, violations; or
`figure`, name, target, measured, ratio of measured to target. Of lines with the same name (and the same faults) the last
counts: a run that goes on where it was interrupted says everything again. STEPS has a line for each step: name, how it ended, seconds. In DOCUMENT
only the section of this part is written anew. Status 0 only if every step passed and nothing was violated.

>>> rows = parse("figure\\tcost\\t20 µs\\t31 µs\\t1.55\\ninvariant\\t1 books\\tkill\\t3\\t0\\nfigure\\tcost\\t20 µs\\t18 µs\\t0.90\\n")
>>> rows["figure"]
{('cost',): ['20 µs', '18 µs', '0.90']}
>>> print(table("invariant", rows["invariant"]))
| invariant | faults | runs | violations |
| --- | --- | --- | --- |
| 1 books | kill | 3 | 0 |
>>> violated(rows)
[]
>>> violated(parse("invariant\\t7 order\\tkill\\t3\\t1\\ninvariant\\t7 order\\tpause\\t3\\t0\\n"))
['7 order, kill']
>>> print(replaced("# Results\\n\\n## sim\\n\\nold\\n\\n## soak\\n\\nkept\\n", "sim", "new"))
# Results
<BLANKLINE>
## sim
<BLANKLINE>
new
<BLANKLINE>
## soak
<BLANKLINE>
kept
<BLANKLINE>
"""

import os
import platform
import subprocess
import sys
import time

HEADS = {
    "invariant": ["invariant", "faults", "runs", "violations"],
    "figure": ["figure", "target", "measured", "ratio"],
}

INTRODUCTION = """# Results

Written by `scripts/test --full=PART`, each section by its own run; nobody writes here by hand. docs/testing.md says which
test proves what; docs/performance.md explains the figures. A ratio is the measured figure over its target, turned so that
less than 1 is good.
"""


def parse(text):
    """The rows by kind and name, in the order of their first line."""
    rows = {kind: {} for kind in HEADS}
    for line in text.splitlines():
        kind, *columns = line.split("\t")
        if kind not in rows or len(columns) != len(HEADS[kind]):
            raise SystemExit(f"results: not a line of results: {line!r}")
        names = 2 if kind == "invariant" else 1
        rows[kind][tuple(columns[:names])] = columns[names:]
    return rows


def violated(rows):
    """The invariants that did not hold."""
    return [", ".join(names) for names, columns in rows["invariant"].items() if columns[-1] != "0"]


def table(kind, rows):
    """One table as Markdown."""
    lines = [HEADS[kind], ["---"] * len(HEADS[kind]), *([*names, *columns] for names, columns in rows.items())]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


def replaced(document, part, body):
    """The document with this section anew: in its place, or at the end."""
    head, *sections = document.split("\n## ")
    texts = {section.split("\n", 1)[0]: section.split("\n", 1)[1].strip("\n") for section in sections}
    texts[part] = body
    return head.rstrip("\n") + "\n" + "".join(f"\n## {name}\n\n{text}\n" for name, text in texts.items())


def machine():
    """What it ran on, without its name."""
    model = "unknown processor"
    with open("/proc/cpuinfo", encoding="utf-8") as lines:
        model = next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), model)
    system = platform.freedesktop_os_release().get("PRETTY_NAME", "Linux")
    return f"{len(os.sched_getaffinity(0))} cores ({model}), {system}"


def revision():
    """Which code it was."""
    said = subprocess.run(["git", "describe", "--always", "--dirty", "--exclude", "*"],
                          capture_output=True, text=True, check=False)
    return said.stdout.strip() or "unknown revision"


def read(path):
    try:
        with open(path, encoding="utf-8") as file:
            return file.read()
    except FileNotFoundError:
        return ""


def main(part, results, steps, document):
    rows = parse(read(results))
    ended = [line.split("\t") for line in read(steps).splitlines()]
    failed = [name for name, end, _ in ended if end != "passed"]
    seconds = sum(int(took) for _, _, took in ended)
    broken = violated(rows)
    about = f"{time.strftime('%Y-%m-%d')}, {revision()}, {machine()}: {seconds // 60} min {seconds % 60} s. "
    about += f"Failed: {', '.join(failed)}." if failed else "Every step passed."
    tables = [table(kind, rows[kind]) for kind in HEADS if rows[kind]]
    body = "\n\n".join([about, *tables])
    print(f"\n== {part}\n\n{body}\n")
    with open(document, "r+" if os.path.exists(document) else "w+", encoding="utf-8") as file:
        text = replaced(file.read() or INTRODUCTION, part, body)
        file.seek(0)
        file.truncate()
        file.write(text)
    for name in broken:
        print(f"violated: {name}")
    return 1 if failed or broken else 0


if __name__ == "__main__":
    if len(sys.argv) != 5:
        sys.exit(__doc__.split("\n\n")[1].strip())
    sys.exit(main(*sys.argv[1:]))
