"""The documents are true where a program can tell: the README's programs are the ones in examples/
that are built and tested, links lead to something, decisions are listed, options that are named
exist.

  readme.py ROOT [--mend]      --mend copies the programs into the README
"""
import pathlib
import re
import sys

PROGRAM = re.compile(r"<!-- (examples/\w+\.c) -->\n```c\n(.*?)```\n", re.DOTALL)
LINK = re.compile(r"\]\(([^)#:]+)(?:#[^)]*)?\)")
LINES_MAX = 30


def programs(root, text):
    bad = []
    found = PROGRAM.findall(text)
    if len(found) < 2:
        bad.append("README.md: its programs were not found")
    for name, shown in found:
        if shown != (root / name).read_text():
            bad.append(f"README.md: {name} is shown otherwise than it is; mend with --mend")
    if (root / "examples/echo.c").read_text().count("\n") > LINES_MAX:
        bad.append(f"examples/echo.c: over {LINES_MAX} lines")
    return bad


def links(root):
    bad = []
    for path in [*root.glob("*.md"), *(root / "docs").rglob("*.md")]:
        for target in LINK.findall(path.read_text()):
            if not (path.parent / target).exists():
                bad.append(f"{path.relative_to(root)}: {target} does not exist")
    return bad


def decisions(root):
    """Every file of docs/design is in its index."""
    index = (root / "docs/design/README.md").read_text()
    return [f"docs/design/README.md: {path.name} is not in it"
            for path in sorted((root / "docs/design").glob("*.md"))
            if path.name != "README.md" and f"]({path.name})" not in index]


def options(root):
    """What is written after ./run.sh and ./check.sh is something that they know."""
    bad = []
    for path in (root / "README.md", root / "HACKING.md"):
        for script, option in re.findall(r"\./(run|check)\.sh (--[a-z-]+)", path.read_text()):
            if f"{option})" not in (root / f"{script}.sh").read_text():
                bad.append(f"{path.name}: {script}.sh has no {option}")
    return bad


def main():
    root = pathlib.Path(sys.argv[1])
    readme = root / "README.md"
    if "--mend" in sys.argv:
        readme.write_text(PROGRAM.sub(
            lambda m: f"<!-- {m[1]} -->\n```c\n{(root / m[1]).read_text()}```\n",
            readme.read_text()))
    bad = programs(root, readme.read_text()) + links(root) + decisions(root) + options(root)
    for line in bad:
        print(line)
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
