#!/bin/sh
# Installs what is missing, builds, and runs every test. The last line is the result: "N passed,
# N failed", with ", N skipped" when something was skipped, each of which is named before with its
# cause. Exit status 0 only when nothing failed.
#   ./check.sh [--quick] [--no-install] [--long]
#     --quick       one configuration, release, instead of four
#     --long        scenarios at full size (200,000 resets, longer runs of redis-benchmark)
set -eu
cd "$(dirname "$0")"
. ./scripts/need.sh

quick=no install=yes
while [ $# -gt 0 ]; do
    case $1 in
    --quick) quick=yes ;;
    --no-install) install=no ;;
    --long) export SALLY_LONG=1 ;;
    *)
        sed -n '2,/^set/s/^# \{0,1\}//p' "$0" >&2
        exit 2
        ;;
    esac
    shift
done

need "$need_check" "$install"
logs=$(pwd)/build-logs
rm -rf "$logs"
mkdir -p "$logs"
# Many tests wait more than they work.
jobs=$(nproc)
test_jobs=$((2 * jobs))

# ThreadSanitizer of this gcc can't stand the address layout of some kernels.
plain_layout=
setarch -R true 2>/dev/null && plain_layout='setarch -R'

# build PRESET: a configuration that can't be built is one failed test.
build() {
    echo "== $1: build"
    if cmake --preset "$1" >"$logs/$1-build.log" 2>&1 &&
        cmake --build --preset "$1" -j "$jobs" -- -k 0 \
            >>"$logs/$1-build.log" 2>&1; then
        return 0
    fi
    grep -E 'error:|Error|undefined' "$logs/$1-build.log" >&2 || tail -n 40 "$logs/$1-build.log" >&2
    echo "$1 build failed" >>"$logs/broken"
    return 1
}

# run_tests PRESET [CTEST OPTION]...: never stops the script, the report counts what came out.
run_tests() {
    preset=$1
    shift
    echo "== $preset: test"
    rm -rf "build-$preset/scenario"
    $plain_layout ctest --test-dir "build-$preset" -j "$test_jobs" --no-tests=error \
        --output-junit "$logs/$preset.xml" --test-output-size-passed 1000000 \
        --test-output-size-failed 1000000 "$@" >"$logs/$preset-test.log" 2>&1 || true
    if [ ! -s "$logs/$preset.xml" ]; then
        tail -n 20 "$logs/$preset-test.log" >&2
        echo "$preset tests did not run" >>"$logs/broken"
    fi
    rm -rf "$logs/$preset-scenario"
    if [ -d "build-$preset/scenario" ]; then
        cp -R "build-$preset/scenario" "$logs/$preset-scenario"
    fi
}

if build check; then
    SALLY_SEEDS=${SALLY_SEEDS:-10000} run_tests check
fi
if [ "$quick" = no ]; then
    export ASAN_OPTIONS=detect_stack_use_after_return=1:strict_string_checks=1
    export UBSAN_OPTIONS=print_stacktrace=1
    export TSAN_OPTIONS=halt_on_error=1:second_deadlock_stack=1
    if build asan; then SALLY_SEEDS=1000 run_tests asan -L code; fi
    if build tsan; then SALLY_SEEDS=100 run_tests tsan -L threads; fi
    build clang && echo "clang build" >>"$logs/passed" || true
fi

python3 tests/report.py "$logs"
