"""The man page and --help of `sallyport serve` name the same options with the same values, and the
page has no formatting error.

  man_page.py TOOL PAGE
"""
import re
import shutil
import subprocess
import sys


def options_of_help(tool):
    done = subprocess.run([tool, "serve", "--help"], capture_output=True, text=True, check=True,
                          timeout=20)
    found = re.findall(r"^  --([a-z-]+)(?: ([A-Z]+))?(?:\s{2,}|$)", done.stdout, re.MULTILINE)
    return {name: value for name, value in found}


def options_of_page(page):
    text = open(page, encoding="utf-8").read()
    found = re.findall(r"^\.It Fl -([a-z-]+)(?: Ar (\S+))?$", text, re.MULTILINE)
    return {name: value for name, value in found}


def main():
    tool, page = sys.argv[1:]
    helped, described = options_of_help(tool), options_of_page(page)
    bad = [f"--{name}: only in --help" for name in helped if name not in described]
    bad += [f"--{name}: only in the man page" for name in described if name not in helped]
    bad += [f"--{name}: its value is {helped[name]!r} in --help, {described[name]!r} in the page"
            for name in helped if name in described and helped[name] != described[name]]
    if len(helped) < 10:
        bad.append(f"only {len(helped)} options were found in --help: has its form changed?")
    if shutil.which("man"):
        done = subprocess.run(["man", "--warnings", "-E", "UTF-8", "-l", page],
                              stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
                              check=False, timeout=60)
        bad += done.stderr.splitlines()
    for line in bad:
        print(line)
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
