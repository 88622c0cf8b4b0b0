#!/bin/sh
# Builds Sallyport and serves echo on 127.0.0.1:5002 until Ctrl-C.
#   ./run.sh [--build] [--no-install] [OPTION OF sallyport serve]...
#     --build       only build: build/bin/sallyport, build/lib/libsallyport.a and .so
#     --no-install  say what is missing instead of installing it
set -eu
cd "$(dirname "$0")"
. ./scripts/need.sh

build=no install=yes
while [ $# -gt 0 ]; do
    case $1 in
    --build) build=yes ;;
    --no-install) install=no ;;
    *) break ;;
    esac
    shift
done

need "$need_build" "$install"
mkdir -p build
if ! { cmake --preset release && cmake --build --preset release; } >build/build.log 2>&1; then
    tail -n 40 build/build.log >&2
    echo "the build failed; all of it is in $(pwd)/build/build.log" >&2
    exit 1
fi
if [ "$build" = yes ]; then
    echo "built: $(pwd)/build/bin/sallyport"
    exit 0
fi
exec build/bin/sallyport serve "$@"
