# Sourced by run.sh and check.sh: installs what is missing. Nothing is asked of the network when
# nothing is missing, and neither root nor apt is needed then.

# "COMMAND:PACKAGE" or "FILE:PACKAGE"; found when the command can be run or the file is there.
need_build='gcc:gcc /usr/include/stdio.h:libc6-dev cmake:cmake ninja:ninja-build
    /usr/include/liburing.h:liburing-dev'
need_check="$need_build"' g++:g++ clang:clang clang-format-14:clang-format-14 python3:python3
    pytest-3:python3-pytest /usr/include/cmocka.h:libcmocka-dev pkg-config:pkgconf
    redis-benchmark:redis-tools ncat:ncat socat:socat patch:patch git:git nm:binutils man:man-db
    strace:strace valgrind:valgrind curl:curl microsocks:microsocks tinyproxy:tinyproxy-bin
    /usr/include/zlib.h:zlib1g-dev
    /usr/lib/python3/dist-packages/websockets/client.py:python3-websockets'

need_windows='x86_64-w64-mingw32-gcc:gcc-mingw-w64-x86-64 wine:wine wineserver:wine64'

need__missing() {
    for pair in $1; do
        what=${pair%%:*}
        case $what in
        /*) [ -e "$what" ] && continue ;;
        *) command -v "$what" >/dev/null 2>&1 && continue ;;
        esac
        printf '%s ' "${pair##*:}"
    done
}

# need PAIRS INSTALL(yes|no): 0 when everything is there in the end.
need() {
    missing=$(need__missing "$1")
    [ -z "$missing" ] && return 0
    if [ "$2" = no ]; then
        echo "missing: $missing- install them, or leave out --no-install" >&2
        return 1
    fi
    if ! command -v apt-get >/dev/null 2>&1; then
        echo "missing: $missing- these are Debian's names; install them by your system's means" >&2
        return 1
    fi
    sudo=
    if [ "$(id -u)" != 0 ]; then
        sudo=$(command -v sudo) || {
            echo "missing: $missing- run as root: apt-get install $missing" >&2
            return 1
        }
    fi
    echo "installing: $missing" >&2
    $sudo apt-get update -qq >&2 &&
        $sudo env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends \
            $missing >/dev/null || {
        echo "apt-get could not install: $missing" >&2
        return 1
    }
    missing=$(need__missing "$1")
    [ -z "$missing" ] || { echo "still missing after the install: $missing" >&2; return 1; }
}
