"""Shows of every rule in tidy.py that it can fail, and that it passes a tree which keeps it."""
import pathlib
import shutil
import subprocess
import sys
import tempfile

import tidy

BODY_69 = "    x++;\n" * 67
FUNCTION_70 = "static void f(void)\n{\n" + BODY_69 + "}\n"
HEADER = "#ifndef A_B_H\n#define A_B_H\nint f(void);\n#endif\n"
PUBLIC = '/* Opening. */\n#ifndef X_H\n#define X_H\n#define SALLY_API\n/* Does it.%s */\n' \
    "SALLY_API int sally_f(void);\n#endif\n"


def public_with(guard, constant):
    """A public header of another guard, and with one constant."""
    text = (PUBLIC % "").replace("X_H", guard)
    return text.replace("#endif", "enum { %s = 1 };\n#endif" % constant)


FORMAT = (pathlib.Path(__file__).resolve().parents[2] / ".clang-format").read_text()

# rule, {file: text} that breaks it, {file: text} that keeps it, allow-lists for both
CASES = [
    ("parity", {"docs/parity.md": "| S1-1 | it | `a/b:gone` | all |\n",
                "tests/a/b_test.c": "void here(void);\n"},
     {"docs/parity.md": "| S1-1 | it | `a/b:here`, `a/c` | all |\n| L1 | - | none: why | - |\n",
      "tests/a/b_test.c": "void here(void);\n", "tests/a/c_scenario.py": ""}, {}),
    ("parity", {"docs/parity.md": "| S1-1 | it | somewhere | all |\n"}, {}, {}),
    ("parity", {}, {"docs/parity.md": "| S1-1 | it | none: why | all |\n"},
     {"parity_rows.txt": "S1-1\n"}),
    ("function_length", {"src/a/b.c": FUNCTION_70.replace("}", "    x++;\n}")},
     {"src/a/b.c": FUNCTION_70}, {}),
    ("function_length", {"src/a/b.c": FUNCTION_70}, {"src/a/b.c": FUNCTION_70.replace(
        "}", "    x++;\n    x++;\n}")}, {"long_functions.txt": "src/a/b.c f 72\n"}),
    ("function_length", {"src/a/b.c": ""}, {"src/a/b.c": FUNCTION_70.replace(
        "}", "    x++;\n    x++;\n}")}, {"long_functions.txt": "src/a/b.c f 72\n"}),
    ("function_length", {"src/a/b.c": "static void g(void)\n{\n    f(\n" + "        1,\n" * 70
                         + "        1);\n}\n"}, {"src/a/b.c": "int a[] = {\n" + "    1,\n" * 90
                                                 + "};\n"}, {}),
    ("file_length", {"src/a/b.c": "\n" * 601}, {"src/a/b.c": "\n" * 600}, {}),
    ("file_length", {"src/a/b.c": "\n" * 603}, {"src/a/b.c": "\n" * 602},
     {"long_files.txt": "src/a/b.c 602\n"}),
    ("platform_if", {"src/net/b.c": "#if defined(_WIN32)\n#endif\n"},
     {"src/port/b.c": "#if defined(_WIN32)\n#endif\n"}, {}),
    ("platform_if", {"src/os/b.c": "int f(void)\n{\n#ifdef __linux__\n#endif\n}\n"},
     {"src/net/b.c": "/*\n#ifdef __linux__ */\n"}, {}),
    ("network_headers", {"src/net/b.c": "#include <sys/socket.h>\n"},
     {"src/port/b.c": "#include <sys/socket.h>\n"}, {}),
    ("network_headers", {"cmd/a/b.c": "#include <netinet/in.h>\n"},
     {"tests/a/b_test.c": "#include <netinet/in.h>\n"}, {}),
    ("banned_calls", {"src/a/b.c": "void *p = malloc(3);\n"},
     {"src/a/b.c": 'const char *s = "malloc(3)"; /* free(p) */\nint x = ops->free(p);\n',
      "src/base/mem.c": "void *p = malloc(3);\n", "cmd/a/b.c": "free(p);\n"}, {}),
    ("include_guards", {"src/a/b.h": HEADER.replace("A_B", "B")}, {"src/a/b.h": HEADER}, {}),
    ("include_guards", {"src/a/b.h": HEADER + "int g(void);\n"}, {"src/a/b.h": HEADER}, {}),
    ("headers_alone", {"src/a/b.h": "static inline size_t f(void) { return 0; }\n"},
     {"src/a/b.h": HEADER}, {}),
    ("headers_alone", {"src/a/b.h": "struct a {\n    int x;\n};\n"}, {"src/a/b.h": HEADER}, {}),
    ("headers_alone", {"include/x.h": HEADER.replace("f(void)", "class")},
     {"include/x.h": HEADER}, {}),
    ("headers_together", {"include/x.h": public_with("X_H", "MAX"),
                          "include/y.h": public_with("Y_H", "MAX")},
     {"include/x.h": public_with("X_H", "X_MAX"), "include/y.h": public_with("Y_H", "Y_MAX")}, {}),
    ("documented", {"include/x.h": PUBLIC % ""}, {"include/x.h": PUBLIC % " [any]"}, {}),
    ("documented", {"include/x.h": (PUBLIC % " [any]").replace("SALLY_API int", "\nSALLY_API int")},
     {"include/x.h": (PUBLIC % " 0 or\n * an error. [outside; or the driving\n * thread]")}, {}),
    ("documented", {"include/x.h": PUBLIC % ""},
     {"include/x.h": (PUBLIC % "").replace("Opening.", "Opening. Everything\n * in it and "
                                               "everything here belong to one thread.")}, {}),
    ("tool_headers", {"cmd/a/b.c": '#include "net/conn.h"\n', "src/net/conn.h": ""},
     {"cmd/a/b.c": '#include "own.h"\n#include "sallyport.h"\n', "cmd/a/own.h": ""}, {}),
    ("format_clean", {"src/a/b.c": "int f( void );\n", ".clang-format": FORMAT},
     {"src/a/b.c": "int f(void);\n", ".clang-format": FORMAT}, {}),
    ("plain_text", {"src/a/b.c": "\tint x;\n"}, {"src/a/b.c": "    int x;\n"}, {}),
    ("plain_text", {"src/a/b.c": "int x; \n"}, {"docs/a.md": "| " * 60 + "|\n"}, {}),
    ("plain_text", {"src/a/b.c": "int x;"}, {"src/a/b.c": "int x;\n"}, {}),
    ("plain_text", {"run.sh": "#" * 101 + "\n"}, {"run.sh": "#" * 100 + "\n"}, {}),
    ("tests_registered", {"tests/a/b.c": "int x;\n"}, {"tests/a/support/b.c": "int x;\n",
                                                       "tests/a/b_test.c": "int x;\n"}, {}),
    ("tests_registered", {"tests/scenario/a.py": "\n"}, {"tests/scenario/a_scenario.py": "\n"}, {}),
]
# Every banned word is banned somewhere.
for words, where, _, _ in tidy.BANNED:
    for word in words.split():
        CASES.append(("banned_calls", {f"{where[0]}b.c": f"    x = {word} (3);\n"},
                      {f"{where[0]}b.c": f"    x = own_{word}(3);\n"}, {}))


def make(folder, files):
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def judge(rule, files, lists, **libraries):
    with tempfile.TemporaryDirectory() as folder:
        root = pathlib.Path(folder) / "root"
        root.mkdir()
        make(root, files)
        make(pathlib.Path(folder) / "lists", lists)
        tree = tidy.Tree(root, lists=pathlib.Path(folder) / "lists", **libraries)
        return getattr(tidy, rule)(tree)


def check_symbols():
    """One exported function; the list and the header each lack it in turn."""
    with tempfile.TemporaryDirectory() as folder:
        library = f"{folder}/lib.so"
        subprocess.run(["gcc", "-shared", "-fPIC", "-x", "c", "-", "-o", library], check=True,
                       input="int sally_f(void) { return 0; }\n", text=True)
        header = {"include/x.h": PUBLIC % " [any]"}
        for what, files, listed, kept in (
                ("symbols kept", header, "sally_f\n", True),
                ("symbol not listed", header, "", False),
                ("symbol gone", header, "sally_f\nsally_g\n", False),
                ("symbol not public", {}, "sally_f\n", False)):
            found = judge("symbols", files, {"symbols.txt": listed}, shared=library)
            yield what, (found == []) == kept


def check_static_symbols():
    with tempfile.TemporaryDirectory() as folder:
        library = f"{folder}/lib.o"
        subprocess.run(["gcc", "-c", "-x", "c", "-", "-o", library], check=True, text=True,
                       input="int sally_f(void) { return 0; }\nint inner;\nstatic int own;\n"
                             "int *sally_g(void) { return &own; }\n")
        for listed, kept in (("inner\nsally_f\nsally_g\n", True), ("sally_f\nsally_g\n", False),
                             ("inner\nsally_f\nsally_g\nsally_h\n", False)):
            found = judge("static_symbols", {}, {"symbols.txt": listed}, static=library)
            yield f"static_symbols of {listed.split()}", (found == []) == kept


def main():
    bad = []
    tested = {"symbols", "static_symbols"}
    for number, (rule, breaking, keeping, lists) in enumerate(CASES):
        tested.add(rule)
        if rule == "format_clean" and not shutil.which("clang-format-14"):
            print("skipped: format_clean: clang-format-14 is not installed")
            continue
        if not judge(rule, breaking, lists):
            bad.append(f"case {number}: {rule} passes a tree that breaks it: {breaking}")
        kept = judge(rule, keeping, lists)
        if kept:
            bad.append(f"case {number}: {rule} fails a tree that keeps it: {kept}")
    bad += [what for what, good in (*check_symbols(), *check_static_symbols()) if not good]
    bad += [f"{rule.__name__}: no case" for rule in tidy.RULES if rule.__name__ not in tested]
    for line in bad:
        print(line)
    print(f"{len(CASES) + 7} cases, {len(bad)} wrong")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
