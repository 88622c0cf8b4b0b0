"""Compiles a copy of a source with a bug in it, links a test program with it, and demands that the
tests which are named for that bug turn red.

usage: mutants.py NAME|--list --build DIR

mutants.json, beside this file, has the bugs: lines of a source file that occur in it once, what
comes instead, the program, and its tests; "any": one of them is enough, where the system decides
which meets it first. The file is compiled as the build compiles it and takes the place of the
build's object. Lines that aren't there any more are a failure: mutants follow the code.
"""
import argparse
import json
import os
import pathlib
import re
import shlex
import subprocess
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parents[1]
LIMIT_S = 30


def must(command, folder):
    done = subprocess.run(command, cwd=folder, text=True, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT)
    if done.returncode:
        sys.exit(f"{' '.join(str(word) for word in command)}\n{done.stdout}")
    return done.stdout


def changed_text(change):
    text = (ROOT / change["file"]).read_text()
    old, new = "\n".join(change["old"]), "\n".join(change["new"])
    if text.count(old) != 1:
        sys.exit(f"{change['file']}: the text occurs {text.count(old)} times:\n{old}")
    return text.replace(old, new)


def link_command(build, program):
    """What ninja would run last; cmake puts ':' and '&&' around it."""
    last = must(["ninja", "-t", "commands", f"bin/{program}"], build).strip().splitlines()[-1]
    return [word for word in shlex.split(last) if word not in (":", "&&")]


def object_of(build, file, link):
    """The build's object of a file that goes into the program, and how it is compiled: its own if
    the program has one, else the library's."""
    entries = [entry for entry in json.loads((build / "compile_commands.json").read_text())
               if pathlib.Path(entry["file"]) == ROOT / file]
    for entry in entries:
        words = shlex.split(entry["command"])
        output = words[words.index("-o") + 1]
        if output in link:
            return output, words
    for entry in entries:
        words = shlex.split(entry["command"])
        output = words[words.index("-o") + 1]
        if "sallyport_objects" in output:
            return output, words
    sys.exit(f"{file} is in no program")


def compile_change(build, folder, change, link):
    output, words = object_of(build, change["file"], link)
    name = change["file"].replace("/", "_")
    source, target = folder / name, folder / (name + ".o")
    source.write_text(changed_text(change))
    words[words.index("-o") + 1] = str(target)
    words[words.index("-c") + 1] = str(source)
    drop = [words.index(flag) for flag in ("-MD", "-MT", "-MF") if flag in words]
    for at in sorted(drop, reverse=True):
        del words[at:at + (1 if words[at] == "-MD" else 2)]
    # what is not used any more is part of the bug
    must([*words, "-Wno-error", "-w", "-I", (ROOT / change["file"]).parent], build)
    if output in link:
        link[link.index(output)] = str(target)
    else:  # before the library, whose own object is then not taken
        link.insert(link.index("lib/libsallyport_internal.a"), str(target))


def run(program, tests):
    """Each named test alone: the first one that hangs or dies would hide the others."""
    red = []
    environment = dict(os.environ, SALLY_STEP_MS="1000", SALLY_TRIAL_S="3")
    for test in tests:
        pattern = test.replace("[", "?").replace("]", "?")
        try:
            done = subprocess.run([program, pattern], env=environment, text=True, timeout=LIMIT_S,
                                  stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        except subprocess.TimeoutExpired:
            red.append((test, "it hangs"))
            continue
        if f"[ RUN      ] {test}" not in done.stdout or f"[  SKIPPED ] {test}" in done.stdout:
            sys.exit(f"{test} didn't run:\n{done.stdout[-2000:]}")
        if done.returncode:
            why = re.findall(r"(?:ERROR: |Assertion|exception|violat).*", done.stdout)
            red.append((test, (why or [f"status {done.returncode}"])[0].strip()))
    return red


def main():
    arguments = argparse.ArgumentParser()
    arguments.add_argument("name", nargs="?")
    arguments.add_argument("--list", action="store_true")
    arguments.add_argument("--build", type=pathlib.Path)
    options = arguments.parse_args()
    mutants = {mutant["name"]: mutant for mutant in json.loads((HERE / "mutants.json").read_text())}
    if options.list:
        print("\n".join(mutants))
        return
    mutant = mutants[options.name]
    build = options.build.resolve()
    link = link_command(build, mutant["program"])
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        for change in [mutant, *mutant.get("more", [])]:
            compile_change(build, folder, change, link)
        link[link.index("-o") + 1] = str(folder / "program")
        must(link, build)
        red = run(folder / "program", mutant["tests"])
    for test, why in red:
        print(f"{test}: {why}")
    wanted = 1 if mutant.get("any") else len(mutant["tests"])
    if len(red) < wanted:
        sys.exit(f"{options.name} ({mutant['is']}) was not found by all of {mutant['tests']}")


if __name__ == "__main__":
    main()
