"""Installs the build into a folder with a blank in its name, moves it, and builds and runs a
program that uses it there. So neither the CMake package nor sallyport.pc may name the old place.

  use_installed.py cmake_c|cmake_cxx|pkgconfig_c|pkgconfig_cxx|pkgconfig_static --cmake C --build B
"""
import argparse
import os
import pathlib
import shlex
import shutil
import subprocess
import sys
import tempfile

# What a user would write, C and C++ alike.
PROGRAM = """#include <sallyport.h>
#include <sallyport/error.h>
#include <stdio.h>
#ifdef __cplusplus
extern "C" {
#endif
/* names that the library has inside */
int door_close(void);
int mem_alloc(void);
int conn_send(void);
int port_create(void);
int wheel_set;
int door_close(void) { return 1; }
int mem_alloc(void) { return door_close(); }
int conn_send(void) { return mem_alloc(); }
int port_create(void) { return conn_send() + wheel_set; }
#ifdef __cplusplus
}
#endif
int main(void)
{
    sally_engine *engine = NULL;
    int err = sally_engine_create(&engine, NULL);
    if (!err) err = sally_listen(engine, "nonsense", NULL, NULL, NULL);
    printf("%s %s\\n", sally_version_string(), sally_strerror(err));
    sally_engine_destroy(engine);
    return (err == SALLY_EINVAL || err == SALLY_EADDRESS) && port_create() == 1 ? 0 : 1;
}
"""

PROJECT = """cmake_minimum_required(VERSION 3.16)
project(consumer LANGUAGES {language})
find_package(sallyport 0.1 REQUIRED CONFIG)
add_executable(consumer main.{suffix})
target_link_libraries(consumer PRIVATE sallyport::sallyport)
add_executable(consumer_shared main.{suffix})
target_link_libraries(consumer_shared PRIVATE sallyport::shared)
"""


def run(*command, **more):
    print("+", shlex.join(map(str, command)), flush=True)
    return subprocess.run(list(map(str, command)), check=True, timeout=120, **more)


def by_cmake(args, work, prefix, suffix):
    (work / "CMakeLists.txt").write_text(
        PROJECT.format(language="CXX" if suffix == "cpp" else "C", suffix=suffix))
    run(args.cmake, "-G", "Ninja", "-S", work, "-B", work / "out",
        f"-DCMAKE_PREFIX_PATH={prefix}")
    run(args.cmake, "--build", work / "out")
    run(work / "out/consumer")
    run(work / "out/consumer_shared")


def by_pkgconfig(work, prefix, suffix, static):
    library = next(prefix.rglob("libsallyport.a")).parent
    env = dict(os.environ, PKG_CONFIG_PATH=str(library / "pkgconfig"))
    ask = ["pkg-config", "--cflags", "--libs", *(["--static"] if static else []), "sallyport"]
    flags = shlex.split(run(*ask, env=env, text=True, stdout=subprocess.PIPE).stdout)
    if static:
        flags = [f"-l:lib{f[2:]}.a" if f == "-lsallyport" else f for f in flags]
    compiler = ["g++", "-std=c++17"] if suffix == "cpp" else ["gcc", "-std=c11"]
    run(*compiler, "-Wall", "-Wextra", "-Werror", "-pedantic", work / f"main.{suffix}", "-o",
        work / "consumer", *flags)
    run(work / "consumer", env=dict(os.environ, LD_LIBRARY_PATH=str(library)))


def check_complete(prefix):
    """What a user is promised to find."""
    for name in ("include/sallyport.h", "include/sallyport/error.h", "bin/sallyport",
                 "share/man/man1/sallyport.1"):
        if not (prefix / name).is_file():
            sys.exit(f"not installed: {name}")
    if list(prefix.rglob("port.h")):
        sys.exit("an internal header was installed")
    done = run(prefix / "bin/sallyport", "--version", text=True, stdout=subprocess.PIPE)
    if not done.stdout.startswith("sallyport 0."):
        sys.exit(f"the installed tool says {done.stdout!r}")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("way")
    parser.add_argument("--cmake", default="cmake")
    parser.add_argument("--build", required=True)
    args = parser.parse_args()
    way, _, kind = args.way.partition("_")
    suffix = "cpp" if kind == "cxx" else "c"
    if way == "pkgconfig" and not shutil.which("pkg-config"):
        print("skipped: pkg-config is not installed")
        return 77
    with tempfile.TemporaryDirectory() as folder:
        work = pathlib.Path(folder) / "a user folder"
        work.mkdir()
        first, prefix = work / "first place", work / "second place"
        run(args.cmake, "--install", args.build, "--prefix", first, stdout=subprocess.DEVNULL)
        first.rename(prefix)
        (work / f"main.{suffix}").write_text(PROGRAM)
        check_complete(prefix)
        if way == "cmake":
            by_cmake(args, work, prefix, suffix)
        else:
            by_pkgconfig(work, prefix, suffix, kind == "static")
    return 0


if __name__ == "__main__":
    sys.exit(main())
