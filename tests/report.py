"""Counts what check.sh left in its log folder, names what failed and what was skipped with its
cause, and ends with the line "N passed, N failed[, N skipped]". Exit status 1 when anything failed.

  report.py LOGS

LOGS/PRESET.xml            ctest's report of a configuration
LOGS/PRESET-scenario/*.xml pytest's reports; they stand for ctest's one entry of their file
LOGS/broken, LOGS/passed   lines: things outside ctest that failed or passed
LOGS/skipped               lines, as in "name: cause": what was left out
"""
import pathlib
import re
import sys
import xml.etree.ElementTree as xml

SKIP_LINE = re.compile(r"^\[  SKIPPED \] (?!\d+ test)(.+)$", re.MULTILINE)
FAIL_LINE = re.compile(r"^\[  FAILED  \] (?!\d+ test)(.+)$", re.MULTILINE)


TOLD_LINES_MAX = 25  # of what a failed case printed


class Count:
    def __init__(self):
        self.passed = 0
        self.failed = []
        self.told = {}
        self.skipped = []


def skip_cause(output, case_name):
    """What a cmocka case printed before it was skipped."""
    _, _, rest = output.partition(f"[ RUN      ] {case_name}\n")
    cause = last_line(rest.partition("[  SKIPPED ]")[0])
    return cause.removeprefix(f"{case_name}: ").removeprefix("skipped: ")


def told_by(output, case_names):
    """The last lines that the failed cases printed, or the program where it names none."""
    texts = []
    for case_name in case_names:
        _, _, rest = output.partition(f"[ RUN      ] {case_name}\n")
        texts.append(rest.partition("[  FAILED  ]")[0])
    lines = [line for line in ("".join(texts) or output).splitlines() if line.strip()]
    return lines[-TOLD_LINES_MAX:]


def last_line(text):
    lines = [line.strip() for line in (text or "").splitlines() if line.strip()]
    return lines[-1] if lines else "no cause was printed"


def read_pytest(path, prefix, count):
    """Adds the cases of one file; False when the report says nothing."""
    cases = list(xml.parse(path).getroot().iter("testcase"))
    for case in cases:
        name = f"{prefix} {case.get('name')}"
        broken = [case.find(kind) for kind in ("failure", "error")]
        broken = [node for node in broken if node is not None]
        if broken:
            count.failed.append((name, (broken[0].get("message") or "").splitlines()[:1]))
        elif case.find("skipped") is not None:
            count.skipped.append((name, case.find("skipped").get("message") or "no cause given"))
        else:
            count.passed += 1
    return bool(cases)


def read_ctest(path, count):
    preset = path.stem
    for case in xml.parse(path).getroot().iter("testcase"):
        name = f"{preset} {case.get('name')}"
        output = case.findtext("system-out") or ""
        if case.get("name").startswith("scenario/"):
            report = path.parent / f"{preset}-scenario" / (case.get("name")[9:] + ".xml")
            failed = len(count.failed)
            if report.is_file() and read_pytest(report, name, count):
                # pytest's report may miss what went wrong outside its cases.
                if case.get("status") != "fail" or len(count.failed) > failed:
                    continue
        status = case.get("status")
        if status == "run":
            count.passed += 1
            # A program that passed may have left some of its cases out.
            for case_name in dict.fromkeys(SKIP_LINE.findall(output)):
                cause = skip_cause(output, case_name)
                count.skipped.append((f"{name} {case_name}", cause))
        elif case.find("skipped") is not None and "SKIP_RETURN_CODE" in (
            case.find("skipped").get("message") or ""
        ):
            count.skipped.append((name, last_line(output).removeprefix("skipped: ")))
        else:
            failure = case.find("failure")
            why = failure.get("message") if failure is not None else status
            cases = list(dict.fromkeys(FAIL_LINE.findall(output)))
            count.failed.append((name, ["; ".join(cases) or why or "failed"]))
            count.told[name] = told_by(output, cases)


def main():
    logs = pathlib.Path(sys.argv[1])
    count = Count()
    for path in sorted(logs.glob("*.xml")):
        read_ctest(path, count)
    for name, add in (("broken", True), ("passed", False)):
        path = logs / name
        for line in path.read_text().splitlines() if path.is_file() else []:
            if add:
                count.failed.append((line, []))
            else:
                count.passed += 1
    skipped = logs / "skipped"
    for line in skipped.read_text().splitlines() if skipped.is_file() else []:
        count.skipped.append(tuple(line.split(": ", 1)))
    for name, cause in count.skipped:
        print(f"skipped: {name}: {' '.join(cause.split())}")
    for name, why in count.failed:
        print(f"FAILED: {name}{': ' if why else ''}{' '.join(why)}")
        for line in count.told.get(name, []):
            print(f"    {line}")
    if count.failed:
        print(f"logs: {logs}")
    if not count.passed and not count.failed:
        count.failed.append(("nothing ran", []))
    line = f"{count.passed} passed, {len(count.failed)} failed"
    print(line + (f", {len(count.skipped)} skipped" if count.skipped else ""))
    return 1 if count.failed else 0


if __name__ == "__main__":
    sys.exit(main())
