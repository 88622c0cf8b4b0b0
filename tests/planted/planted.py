"""Plants a bug in a copy of the sources and shows that the simulator kills it.

usage: planted.py NAME --cc CC --build DIR [--seeds N]

NAME.patch, beside this file, is applied to a copy of src/; what it changes is compiled and linked
before the library, with the swarm test. The test passes when the swarm fails and names the seed.
A patch that doesn't apply any more is a failure: it has to follow the code.
"""
import argparse
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parents[1]
FLAGS = ["-std=c11", "-D_GNU_SOURCE", "-O1", "-g1"]


def run(command, **more):
    return subprocess.run([str(word) for word in command], text=True, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, **more)


def must(command):
    done = run(command)
    if done.returncode:
        sys.exit(f"{' '.join(str(word) for word in command)}\n{done.stdout}")


def plant(name, tree):
    shutil.copytree(ROOT / "src", tree / "src")
    patch = HERE / f"{name}.patch"
    must(["patch", "--batch", "-p1", "-d", tree, "-i", patch])
    return re.findall(r"^\+\+\+ b/(\S+\.c)$", patch.read_text(), re.M)


def build(tree, changed, options):
    """The changed files come first: the library's are then not taken."""
    program = tree / "swarm"
    includes = ["-I", tree / "src", "-I", ROOT / "include", "-I", ROOT / "tests"]
    support = sorted((ROOT / "tests/sim/support").glob("*.c"))
    support += sorted((ROOT / "tests/support").glob("*.c"))
    must([options.cc, *FLAGS, *includes, ROOT / "tests/sim/swarm_test.c", *support,
          *(tree / file for file in changed), options.build / "lib/libsallyport_internal.a",
          "-lcmocka", "-luring", "-lpthread", "-o", program])
    return program


def main():
    arguments = argparse.ArgumentParser()
    arguments.add_argument("name")
    arguments.add_argument("--cc", default="cc")
    arguments.add_argument("--build", type=pathlib.Path, required=True)
    arguments.add_argument("--seeds", type=int, default=1000)
    options = arguments.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        tree = pathlib.Path(folder)
        program = build(tree, plant(options.name, tree), options)
        environment = dict(os.environ, SALLY_SEEDS=str(options.seeds))
        environment.pop("SALLY_SEED", None)
        done = run([program], env=environment, timeout=200)
    seed = re.search(r"seed=\d+", done.stdout)
    if done.returncode == 0 or not seed:
        sys.exit(f"{options.name} was not killed in {options.seeds} seeds:\n{done.stdout[-2000:]}")
    why = [line for line in done.stdout.splitlines() if "ERROR" in line or "violat" in line]
    print(f"{options.name} is killed at {seed.group()}: {(why or ['see above'])[0]}")


if __name__ == "__main__":
    main()
