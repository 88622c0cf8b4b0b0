"""tests/report.py counts right: the last line of ./check.sh is worth no more than this."""
import pathlib
import subprocess
import sys
import tempfile

REPORT = pathlib.Path(__file__).resolve().parents[1] / "report.py"
PASS = '<testcase name="a/pass" status="run"/>'
FAIL = '<testcase name="a/fail" status="fail"><failure message=""/><system-out>' \
    "[ RUN      ] it_works\ndull\n[       OK ] it_works\n[ RUN      ] it_breaks\nsays why\n" \
    "[  FAILED  ] it_breaks\n[  FAILED  ] 1 test(s), listed below:\n</system-out></testcase>"
SKIP = '<testcase name="a/skip" status="notrun"><skipped message="SKIP_RETURN_CODE=77"/>' \
    "<system-out>skipped: no such thing\n</system-out></testcase>"
GONE = '<testcase name="a/gone" status="notrun"><skipped message="Unable to find executable"/>' \
    "</testcase>"
PART = '<testcase name="a/part" status="run"><system-out>[ RUN      ] one [x]\nnot on this one\n' \
    "[  SKIPPED ] one [x]\n[  PASSED  ] 1 test(s).\n[  SKIPPED ] 1 test(s), listed below:\n" \
    "[  SKIPPED ] one [x]\n</system-out></testcase>"
SCENARIO = '<testcase name="scenario/s" status="%s"/>'
PYTEST = \
    '<testsuites><testsuite><testcase name="one"/>' \
    '<testcase name="two"><failure message="so"/></testcase>' \
    '<testcase name="three"><skipped message="cause"/></testcase>' \
    '<testcase name="four"><error message="set-up"/></testcase></testsuite></testsuites>'
PYTEST_GOOD = '<testsuites><testsuite><testcase name="one"/></testsuite></testsuites>'

# files in the log folder, the last line, lines that have to be among the others
CASES = [
    ({"check.xml": PASS}, "1 passed, 0 failed", []),
    ({"check.xml": PASS + PASS, "asan.xml": PASS}, "3 passed, 0 failed", []),
    ({"check.xml": PASS + FAIL}, "1 passed, 1 failed",
     ["FAILED: check a/fail: it_breaks", "    says why"]),
    ({"check.xml": PASS + SKIP}, "1 passed, 0 failed, 1 skipped",
     ["skipped: check a/skip: no such thing"]),
    ({"check.xml": PASS + GONE}, "1 passed, 1 failed", []),
    ({"check.xml": PART}, "1 passed, 0 failed, 1 skipped",
     ["skipped: check a/part one [x]: not on this one"]),
    ({"check.xml": SCENARIO % "fail", "check-scenario/s.xml": PYTEST},
     "1 passed, 2 failed, 1 skipped", ["FAILED: check scenario/s two: so",
                                       "skipped: check scenario/s three: cause"]),
    ({"check.xml": SCENARIO % "fail", "check-scenario/s.xml": PYTEST_GOOD}, "1 passed, 1 failed",
     []),
    ({"check.xml": SCENARIO % "fail"}, "0 passed, 1 failed", []),
    ({"check.xml": PASS, "broken": "asan build failed\n", "passed": "clang build\n"},
     "2 passed, 1 failed", ["FAILED: asan build failed"]),
    ({"check.xml": PASS, "skipped": "mingw: missing: wine\n"}, "1 passed, 0 failed, 1 skipped",
     ["skipped: mingw: missing: wine"]),
    ({}, "0 passed, 1 failed", []),
]


def judge(files, last, others):
    with tempfile.TemporaryDirectory() as folder:
        for name, text in files.items():
            path = pathlib.Path(folder) / name
            path.parent.mkdir(exist_ok=True)
            if name.endswith(".xml") and "/" not in name:
                text = f"<testsuite>{text}</testsuite>"
            path.write_text(text)
        done = subprocess.run([sys.executable, str(REPORT), folder], capture_output=True, text=True,
                              check=False)
    lines = done.stdout.splitlines()
    good = lines[-1:] == [last] and all(line in lines for line in others)
    good = good and (done.returncode == 0) == (" 0 failed" in last)
    if not good:
        print(f"{sorted(files)}: wanted {last!r} and {others}, got {done.returncode} {lines}"
              f"{done.stderr}")
    return good


def main():
    return 0 if all([judge(*case) for case in CASES]) else 1


if __name__ == "__main__":
    sys.exit(main())
