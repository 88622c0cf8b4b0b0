#!/bin/sh
# Makes the Wine prefix $1 of a build, once, and leaves its server running for five minutes after
# the last program: with a cold server the first test would wait for the pipes of its helpers.
set -eu
mkdir -p "$1"
wineserver -p300 >/dev/null 2>&1 || : # one runs already
if [ ! -e "$1/ready" ]; then
    wine wineboot -i </dev/null >/dev/null 2>&1
    wine winecfg -v win10 </dev/null >/dev/null 2>&1
    touch "$1/ready"
fi
wine cmd /c exit </dev/null >/dev/null 2>&1
