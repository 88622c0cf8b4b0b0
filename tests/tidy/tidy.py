"""Rules of the source text that a program can check. Each rule is one test.

  tidy.py --list              the names of the rules
  tidy.py RULE --root DIR     0 kept; 1 broken, with a line for each place; 77 can't be checked here

A rule is a function that takes a Tree and returns what breaks it, one string each.
self_test.py shows for each rule that it can fail.
"""
import argparse
import json
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

FUNCTION_LINES = 70
FILE_LINES = 600
COLUMNS = 100
HERE = pathlib.Path(__file__).resolve().parent

C_FOLDERS = ("include", "src", "cmd", "examples", "tests", "fuzz")
TEXT_SUFFIXES = {
    ".c", ".h", ".cpp", ".py", ".sh", ".txt", ".cmake", ".in", ".json", ".md", ".1", ""}
PLATFORM = re.compile(
    r"^\s*#\s*(?:if|ifdef|ifndef|elif)\b.*"
    r"\b(_WIN32|_WIN64|__linux__|__APPLE__|__unix__|__FreeBSD__|_MSC_VER|__MINGW32__)\b"
)
NETWORK_HEADER = re.compile(
    r"^\s*#\s*include\s*<((?:sys/(?:socket|epoll|un|eventfd|uio|select|sendfile|ioctl)|netinet/\w+|"
    r"arpa/\w+|netdb|poll|liburing|linux/[\w/]+|winsock2|ws2tcpip|mswsock|windows)\.h)>"
)
SYSTEM_FOLDERS = ("src/port/", "src/os/")
# Shows which functions are exported; a compiler's matter that every program's compiler meets.
PLATFORM_ALLOWED = {"include/sallyport/error.h"}

MARK = re.compile(r"\[(?:any|shard|outside|one)\b[^\]]*\]")

ANYWHERE = ("include/", "src/", "cmd/", "examples/", "tests/")
# what, where it is banned, where it is allowed all the same, what to use instead
BANNED = (
    ("malloc calloc realloc free reallocarray strdup strndup asprintf vasprintf", ("src/",),
     ("src/base/mem.c",), "struct mem (base/mem.h)"),
    ("strcpy strcat stpcpy sprintf vsprintf", ANYWHERE, (), "snprintf"),
    ("strncpy strncat", ("src/", "cmd/"), (), "snprintf or memcpy"),
    ("gets", ANYWHERE, (), "fgets"),
    ("strtok", ANYWHERE, (), "strchr or strspn"),
    ("atoi atol atoll atof", ANYWHERE, (), "strtol and a check of all it says"),
    ("rand srand random srandom drand48", ANYWHERE, (), "a seeded generator of the test's own"),
    ("signal", ANYWHERE, (), "sigaction"),
    ("alloca", ANYWHERE, (), "a fixed array or struct mem"),
    ("printf fprintf vprintf vfprintf dprintf puts fputs putchar perror", ("src/",),
     ("src/os/linux_log.c",), "the log hook"),
    ("time gettimeofday clock_gettime ftime localtime gmtime", ("src/",), ("src/os/",),
     "the time that is passed in"),
    ("sleep usleep nanosleep clock_nanosleep", ("src/",), ("src/os/",), "a timer"),
    ("exit abort _exit system popen", ("src/",), ("src/port/sim_world.c",), "an error code"),
    ("setjmp longjmp", ("src/", "cmd/"), (), "an error code"),
)

COMPILE = ("-fsyntax-only -Wall -Wextra -Werror -Wshadow -Wconversion -Wno-sign-conversion "
           "-Wundef -Wno-missing-field-initializers").split()
C_ONLY = ["-Wstrict-prototypes", "-Wmissing-prototypes"]


class Skip(Exception):
    """The rule can't be checked on this machine; the text says why."""


class Tree:
    def __init__(self, root, shared=None, cc="gcc", build=None, lists=HERE, static=None):
        self.root = pathlib.Path(root)
        self.shared = shared
        self.static = static
        self.cc = cc
        self.build = build
        self.lists = pathlib.Path(lists)

    def name(self, path):
        return path.relative_to(self.root).as_posix()

    def files(self, folders, *suffixes):
        """(name, text) of files in name order."""
        for folder in folders:
            for path in sorted((self.root / folder).rglob("*")):
                if path.is_file() and path.suffix in suffixes:
                    yield self.name(path), path.read_text(encoding="utf-8")

    def allowed(self, file):
        """The lines of an allow-list, "NAME... LINES", as a dict."""
        entries = {}
        path = self.lists / file
        for line in path.read_text().splitlines() if path.is_file() else []:
            if line.strip() and not line.startswith("#"):
                key, lines = line.rsplit(None, 1)
                entries[key] = int(lines)
        return entries


def code_only(text):
    """The text with comments and the insides of literals blanked; every line stays."""

    def blank(match):
        found = match.group(0)
        if found.startswith("/"):
            return re.sub(r"[^\n]", " ", found)
        return found[0] + " " * (len(found) - 2) + found[-1]

    comment, literal = r"/\*.*?\*/|//[^\n]*", r"""\"(?:\\.|[^"\\\n])*"|'(?:\\.|[^'\\\n])*'"""
    return re.sub(f"{comment}|{literal}", blank, text, flags=re.DOTALL)


def functions(text):
    """(name, first line number, last line number) of the functions whose body opens on a line of
    its own in the first column, as the format has them."""
    lines = code_only(text).splitlines()
    head = 0
    for number, line in enumerate(lines):
        if line == "{":
            signature = " ".join(lines[head:number])
            found = re.search(r"(\w+)\s*\(", signature)
            end = next((n for n in range(number, len(lines)) if lines[n] == "}"), None)
            if found and end is not None and ";" not in signature:
                yield found.group(1), head + 1, end + 1
        if not line.strip() or line.startswith(("}", "#")) or line.endswith(";"):
            head = number + 1


def judge_lengths(found, allowed, limit, kind):
    """Over the limit only with an entry, and the entry is exactly the length: so it can't grow
    unseen, and when it shrinks the entry has to shrink with it."""
    bad = []
    for key, lines in found.items():
        if lines > limit and key not in allowed:
            bad.append(f"{key}: a {kind} of {lines} lines, the limit is {limit}")
        elif key in allowed and lines > allowed[key]:
            bad.append(f"{key}: {lines} lines, it has grown past the {allowed[key]} it is allowed")
        elif key in allowed and lines <= limit:
            bad.append(f"{key}: {lines} lines, it needs no entry any more: take it out")
        elif key in allowed and lines < allowed[key]:
            bad.append(f"{key}: {lines} lines, it has shrunk: lower its entry")
    bad += [f"{key}: has an entry and does not exist" for key in allowed if key not in found]
    return bad


def function_length(tree):
    found = {}
    for name, text in tree.files(C_FOLDERS, ".c", ".h"):
        for function, first, last in functions(text):
            found[f"{name} {function}"] = last - first + 1
    return judge_lengths(found, tree.allowed("long_functions.txt"), FUNCTION_LINES, "function")


def file_length(tree):
    found = {name: text.count("\n") for name, text in tree.files(C_FOLDERS, ".c", ".h", ".py")}
    return judge_lengths(found, tree.allowed("long_files.txt"), FILE_LINES, "file")


def platform_if(tree):
    bad = []
    for name, text in tree.files(("include", "src", "cmd", "examples"), ".c", ".h"):
        bodies = [(first, last) for _, first, last in functions(text)]
        for number, line in enumerate(code_only(text).splitlines(), 1):
            found = PLATFORM.match(line)
            if not found or name in PLATFORM_ALLOWED:
                continue
            if not name.startswith(SYSTEM_FOLDERS):
                bad.append(f"{name}:{number}: {found.group(1)}: only in src/port and src/os")
            elif any(first <= number <= last for first, last in bodies):
                bad.append(f"{name}:{number}: {found.group(1)} inside a function: split by file")
    return bad


def network_headers(tree):
    bad = []
    for name, text in tree.files(("include", "src", "cmd"), ".c", ".h"):
        if name.startswith(SYSTEM_FOLDERS):
            continue
        for number, line in enumerate(text.splitlines(), 1):
            found = NETWORK_HEADER.match(line)
            if found:
                bad.append(f"{name}:{number}: <{found.group(1)}>: only in src/port and src/os")
    return bad


def banned_calls(tree):
    bad = []
    rules = [
        (re.compile(r"(?<![\w.>])(?:%s)\s*\(" % "|".join(words.split())), where, allowed, instead)
        for words, where, allowed, instead in BANNED
    ]
    for name, text in tree.files(C_FOLDERS, ".c", ".h"):
        lines = code_only(text).splitlines()
        for call, where, allowed, instead in rules:
            if not name.startswith(where) or (allowed and name.startswith(allowed)):
                continue
            for number, line in enumerate(lines, 1):
                found = call.search(line)
                if found:
                    what = found.group(0).rstrip("( \t")
                    bad.append(f"{name}:{number}: {what}: use {instead}")
    return bad


def compile_headers(tree, headers, language):
    """What the compiler says of a file that includes these of one folder; "" when it is content."""
    public = headers[0].startswith("include/")
    cxx = language == "c++"
    compiler = "g++" if cxx else tree.cc
    if not shutil.which(compiler):
        raise Skip(f"{compiler} is not installed")
    command = [compiler, "-x", language, f"-std={'c++17' if cxx else 'c11'}", *COMPILE]
    command += [] if cxx else C_ONLY
    command += ["-pedantic", "-pedantic-errors"] if public else ["-D_GNU_SOURCE"]
    folder = headers[0].split("/")[0]
    command += ["-I", str(tree.root / "include")]
    if not public:
        command += ["-I", str(tree.root / "src"), "-I", str(tree.root / "tests")]
    with tempfile.NamedTemporaryFile("w", suffix=".c") as file:
        # Twice: the guard has to hold.
        lines = "".join(f'#include "{tree.root / header}"\n' for header in headers)
        file.write(lines * 2 + f"extern int {folder};\n")
        file.flush()
        done = subprocess.run(command + [file.name], capture_output=True, text=True, check=False)
    return done.stderr if done.returncode else ""


def headers_alone(tree):
    bad = []
    for name, _ in tree.files(("include", "src", "cmd", "tests"), ".h"):
        languages = ("c", "c++") if name.startswith("include/") else ("c",)
        for language in languages:
            said = compile_headers(tree, [name], language)
            if said:
                bad.append(f"{name}: does not compile alone as {language}:\n{said}")
    return bad


def headers_together(tree):
    """A program may need any of the public ones: no name may be in two of them."""
    names = [name for name, _ in tree.files(("include",), ".h")]
    if not names:
        return []
    said = {language: compile_headers(tree, names, language) for language in ("c", "c++")}
    return [f"the public headers don't compile together as {language}:\n{text}"
            for language, text in said.items() if text]


def guards_of(name):
    """By the path as it is included; tests may also have their folder before it."""
    folder, rest = name.split("/", 1)
    guard = re.sub(r"\W", "_", rest).upper()
    return [guard, f"TESTS_{guard}"] if folder == "tests" else [guard]


def include_guards(tree):
    bad = []
    for name, text in tree.files(("include", "src", "cmd", "tests"), ".h"):
        guards = guards_of(name)
        code = [line for line in code_only(text).splitlines() if line.strip()]
        wanted = [[f"#ifndef {guard}", f"#define {guard}"] for guard in guards]
        if code[:2] not in wanted or code[-1:] != ["#endif"]:
            bad.append(f"{name}: its guard has to be {guards[0]}, around everything")
    return bad


def public_functions(tree):
    """(header, function, the comment above its group) of what the headers export. A header whose
    opening comment gives everything in it to one thread needs no marks: [one] stands for them."""
    for name, text in tree.files(("include",), ".h"):
        lines = text.splitlines()
        opening = text[: text.find("*/") + 2] if text.startswith("/*") else ""
        one = re.search(r"everything\W+here\W+belongs?\W+to\W+one\W+thread", opening)
        for number, line in enumerate(lines):
            found = re.match(r"SALLY_API\b.*?(\w+)\(", line)
            if not found and re.match(r"SALLY_API\b[^;(]*$", line):
                found = re.match(r"SALLY_API\b.*?(\w+)\(", line + " " + lines[number + 1].strip())
            if not found:
                continue
            top = number
            while top and lines[top - 1].strip() and not lines[top - 1].rstrip().endswith("*/"):
                top -= 1
            comment = []
            if top and lines[top - 1].rstrip().endswith("*/"):
                start = top - 1
                while "/*" not in lines[start]:
                    start -= 1
                comment = lines[start:top]
            if comment and one:
                comment.append("[one]")
            yield name, found.group(1), "\n".join(comment)


def documented(tree):
    bad = []
    for name, function, comment in public_functions(tree):
        if not comment:
            bad.append(f"{name}: {function}: no comment above it")
        elif not MARK.search(re.sub(r"\s+\*?\s*", " ", comment)):
            bad.append(f"{name}: {function}: its comment has no mark [any], [shard] or [outside]")
    return bad


def symbols(tree):
    if not tree.shared:
        raise Skip("no shared library was given")
    listed = (tree.lists / "symbols.txt").read_text().split()
    done = subprocess.run(["nm", "-D", "--defined-only", str(tree.shared)], capture_output=True,
                          text=True, check=True)
    exported = sorted(line.split()[-1] for line in done.stdout.splitlines() if line.split())
    declared = sorted(function for _, function, _ in public_functions(tree))
    bad = [f"{s}: exported and not in symbols.txt" for s in exported if s not in listed]
    bad += [f"{s}: in symbols.txt and not exported" for s in listed if s not in exported]
    bad += [f"{s}: exported and in no public header" for s in exported if s not in declared]
    bad += [f"{s}: in a public header and not exported" for s in declared if s not in exported]
    if listed != sorted(set(listed)):
        bad.append("symbols.txt: not sorted, or a line twice")
    return bad


def static_symbols(tree):
    """The static library's names are a program's too, so it has none but the public ones."""
    if not tree.static:
        raise Skip("no static library was given")
    listed = (tree.lists / "symbols.txt").read_text().split()
    done = subprocess.run(["nm", "-g", "--defined-only", str(tree.static)], capture_output=True,
                          text=True, check=True)
    found = sorted({line.split()[2] for line in done.stdout.splitlines() if len(line.split()) == 3})
    bad = [f"{s}: global in the static library and not public" for s in found if s not in listed]
    return bad + [f"{s}: public and not in the static library" for s in listed if s not in found]


def tool_headers(tree):
    """cmd/ and examples/ are programs like a user's: public headers only."""
    bad = []
    for name, text in tree.files(("cmd", "examples"), ".c", ".h"):
        own = (tree.root / name).parent
        for number, line in enumerate(text.splitlines(), 1):
            found = re.match(r'\s*#\s*include\s*(?:"([^"]+)"|<(sallyport[^>]*)>)', line)
            header = found and (found.group(1) or found.group(2))
            if not header or re.fullmatch(r"sallyport(\.h|/\w+\.h)", header):
                continue
            if "/" in header or not (own / header).is_file():
                bad.append(f"{name}:{number}: {header} is not a public header")
    return bad


def format_clean(tree):
    tool = shutil.which("clang-format-14")
    if not tool:
        raise Skip("clang-format-14 is not installed, and others format differently")
    names = [name for name, _ in tree.files(C_FOLDERS, ".c", ".h")]
    if not names:
        return []
    done = subprocess.run([tool, "--dry-run", "-Werror", "--style=file", *names], cwd=tree.root,
                          capture_output=True, text=True, check=False)
    found = re.findall(r"^([^\s:]+:\d+):\d+: error:", done.stderr, re.MULTILINE)
    if done.returncode and not found:
        return [done.stderr]
    return [f"{place}: clang-format-14 would change it" for place in found]


def plain_text(tree):
    bad = []
    paths = []
    for folder in (*C_FOLDERS, "cmake", "docs", "scripts"):
        paths += sorted((tree.root / folder).rglob("*"))
    paths += sorted(tree.root.iterdir())
    for path in paths:
        if not path.is_file() or path.suffix not in TEXT_SUFFIXES or path.name == ".gitignore":
            continue
        if "__pycache__" in path.parts or "fixtures" in path.parts:
            continue
        name = tree.name(path)
        text = path.read_text(encoding="utf-8")
        if text and not text.endswith("\n"):
            bad.append(f"{name}: no line end at its end")
        for number, line in enumerate(text.split("\n"), 1):
            if "\t" in line:
                bad.append(f"{name}:{number}: a tab")
            if line != line.rstrip():
                bad.append(f"{name}:{number}: blanks at the end, or CR")
            if len(line) > COLUMNS and path.suffix != ".md" and path.name != "LICENSE":
                bad.append(f"{name}:{number}: {len(line)} columns, the limit is {COLUMNS}")
    return bad


def tests_registered(tree):
    """A test that no build runs is worse than none. Files in tests/ are programs, or support."""
    bad = []
    registered = None
    if tree.build:
        done = subprocess.run(["ctest", "--test-dir", str(tree.build), "--show-only=json-v1"],
                              capture_output=True, text=True, check=True)
        registered = {test["name"] for test in json.loads(done.stdout)["tests"]}
    for name, _ in tree.files(("tests",), ".c"):
        inside = name[len("tests/"):]
        if inside.endswith("_test.c"):
            if registered is not None and inside[: -len("_test.c")] not in registered:
                bad.append(f"{name}: no test of the build runs it: configure again")
        elif not re.search(r"(^|/)(support|peers|planted)/", inside):
            bad.append(f"{name}: neither NAME_test.c nor in support/ or peers/")
    for path in sorted((tree.root / "tests/scenario").glob("*.py")):
        if not path.name.endswith("_scenario.py") and path.name not in ("conftest.py", "tool.py"):
            bad.append(f"{tree.name(path)}: a scenario's name ends with _scenario.py")
        elif registered is not None and path.name.endswith("_scenario.py"):
            if "scenario/" + path.name[: -len("_scenario.py")] not in registered:
                bad.append(f"{tree.name(path)}: no test of the build runs it: configure again")
    return bad


def parity(tree):
    """Each row of docs/parity.md names a test that exists, or says in words why there is none."""
    bad = []
    table = tree.root / "docs/parity.md"
    text = table.read_text(encoding="utf-8") if table.is_file() else ""
    rows = {}
    for line in text.splitlines():
        row = re.match(r"\| ([A-Z]\d*-?\d+) \|(.*)\|$", line)
        if not row:
            continue
        name, cells = row[1], [cell.strip() for cell in row[2].split("|")]
        if name in rows:
            bad.append(f"{name}: twice")
        rows[name] = cells
        if len(cells) != 3 or not all(cells):
            bad.append(f"{name}: four columns: row, what we have, test, ports")
            continue
        tests = re.findall(r"`([\w/]+(?::\w+)?)`", cells[1])
        if not tests and not cells[1].startswith("none: "):
            bad.append(f'{name}: neither a test nor "none: why"')
        bad += [f"{name}: there is no test {test}" for test in tests
                if not parity_test_exists(tree, test)]
    wanted = (tree.lists / "parity_rows.txt")
    for name in wanted.read_text().split() if wanted.is_file() else ():
        if name not in rows:
            bad.append(f"{name} is not in docs/parity.md")
    return bad


def parity_test_exists(tree, test):
    """`FOLDER/NAME` is a program, `FOLDER/NAME:FUNCTION` one of its tests."""
    name, _, function = test.partition(":")
    for suffix in ("_test.c", "_scenario.py", ".trace"):
        path = tree.root / "tests" / (name + suffix)
        if path.is_file():
            return not function or bool(
                re.search(rf"\b{function}\b", path.read_text(encoding="utf-8")))
    return False


RULES = (function_length, file_length, platform_if, network_headers, banned_calls, headers_alone,
         headers_together, include_guards, documented, symbols, static_symbols, tool_headers,
         format_clean, plain_text, tests_registered, parity)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("rule", nargs="?", choices=[rule.__name__ for rule in RULES])
    parser.add_argument("--list", action="store_true")
    parser.add_argument("--root", default=HERE.parent.parent)
    parser.add_argument("--shared")
    parser.add_argument("--static")
    parser.add_argument("--cc", default="gcc")
    parser.add_argument("--build")
    args = parser.parse_args()
    if args.list or not args.rule:
        print("\n".join(rule.__name__ for rule in RULES))
        return 0 if args.list else 2
    rule = next(rule for rule in RULES if rule.__name__ == args.rule)
    try:
        bad = rule(Tree(args.root, args.shared, args.cc, args.build, static=args.static))
    except Skip as why:
        print(f"skipped: {why}")
        return 77
    for line in bad:
        print(line)
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
