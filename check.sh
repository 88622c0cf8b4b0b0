#!/bin/sh
# Installs what is missing, builds, and runs every test. The last line is the result: "N passed,
# N failed", with ", N skipped" when something was skipped, each of which is named before with its
# cause. Exit status 0 only when nothing failed.
#   ./check.sh [--quick] [--no-install] [--long]
#     --quick       one configuration, release, instead of five
#     --no-install  says what is missing instead; without mingw-w64 and Wine, Windows is skipped
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

# shellcheck disable=SC2154
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

# Two lanes, since the tests of one configuration leave the processors idle half of the time: here
# are the tests of this machine's programs, one configuration after the other; behind them the next
# ones are built, and the programs of Windows are run, whose calls all wait for Wine's one server.
# Each has at most one long command; who is stopped ends it, with all that it has started.
child=
behind=
wine_prefix=$(pwd)/build-mingw/wineprefix
long() {
    timeout -k 5 1800 "$@" &
    child=$!
    status=0
    wait "$child" || status=$?
    child=
    return $status
}
end() {
    [ -z "$child" ] || kill "$child" 2>/dev/null || :
    [ -z "$behind" ] || kill "$behind" 2>/dev/null || :
}
wine_end() {
    [ ! -d "$wine_prefix" ] || WINEPREFIX=$wine_prefix wineserver -k >/dev/null 2>&1 || :
}
trap 'end; wine_end' EXIT
trap 'exit 1' INT TERM

# build PRESET [COMMAND]: a configuration that can't be built is one failed test. $logs/PRESET-built
# says how it went.
build() {
    echo "== $1: build"
    built=no
    if long cmake --preset "$1" >"$logs/$1-build.log" 2>&1 &&
        long ${2-} cmake --build --preset "$1" -j "$jobs" -- -k 0 >>"$logs/$1-build.log" 2>&1; then
        built=yes
    else
        grep -E 'error:|Error|undefined' "$logs/$1-build.log" >&2 ||
            tail -n 40 "$logs/$1-build.log" >&2
        echo "$1 build failed" >>"$logs/broken"
    fi
    echo $built >"$logs/$1-built"
    [ $built = yes ]
}

# built PRESET: waits for the other lane's build.
built() {
    while [ ! -s "$logs/$1-built" ]; do
        if ! kill -0 "$behind" 2>/dev/null && [ ! -s "$logs/$1-built" ]; then
            echo "$1 was not built" >>"$logs/broken"
            return 1
        fi
        sleep 0.2
    done
    [ "$(cat "$logs/$1-built")" = yes ]
}

# run_tests PRESET [CTEST OPTION]...: never stops the script, the report counts what came out.
run_tests() {
    preset=$1
    shift
    echo "== $preset: test"
    rm -rf "build-$preset/scenario"
    long $plain_layout ctest --test-dir "build-$preset" -j "$test_jobs" --no-tests=error \
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

# Windows needs packages that not every machine can have: what is missing is a skip, with its cause.
windows_need() {
    need "$need_windows" "$install" 2>"$logs/mingw-missing" && return 0
    cat "$logs/mingw-missing" >&2
    echo "mingw: $(tail -n 1 "$logs/mingw-missing")" >>"$logs/skipped"
    return 1
}
windows_test() {
    export WINEPREFIX="$wine_prefix" WINEDEBUG=-all WINEDLLOVERRIDES=mscoree,mshtml=
    export LC_ALL=C.UTF-8 # by which Wine writes the names of files
    if long sh tests/win32/wine.sh "$wine_prefix" >"$logs/mingw-wine.log" 2>&1; then
        SALLY_SEEDS=1000 run_tests mingw
    else
        echo "mingw tests: Wine does not run on this machine" >>"$logs/skipped"
    fi
    wine_end
}

behind() {
    trap end EXIT
    trap 'exit 1' TERM
    behind=
    polite=
    nice true 2>/dev/null && polite=nice
    build asan $polite || :
    build tsan $polite || :
    if [ "$windows" = yes ] && build mingw $polite; then
        echo "mingw build" >>"$logs/passed"
        windows_test
    fi
    build clang $polite && echo "clang build" >>"$logs/passed"
}

build check || :
if [ "$quick" = no ]; then
    windows=no
    windows_need && windows=yes
    behind &
    behind=$!
fi
if [ "$(cat "$logs/check-built")" = yes ]; then
    SALLY_SEEDS=${SALLY_SEEDS:-10000} run_tests check
fi
if [ "$quick" = no ]; then
    export ASAN_OPTIONS=detect_stack_use_after_return=1:strict_string_checks=1
    export UBSAN_OPTIONS=print_stacktrace=1
    export TSAN_OPTIONS=halt_on_error=1:second_deadlock_stack=1
    if built asan; then SALLY_SEEDS=300 run_tests asan -L code; fi
    if built tsan; then SALLY_SEEDS=100 run_tests tsan -L threads; fi
    wait "$behind" || :
    behind=
fi

python3 tests/report.py "$logs"
