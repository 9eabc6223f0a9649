#!/usr/bin/env bash
# tools/setup: silent where all is there; asks apt for what is missing and for nothing else; takes unpacked copies for
# what they hold; without apt it names the packages. The apt-get and sudo here are stand-ins that only write down.
set -euo pipefail
top=$(mktemp -d)
trap 'rm -rf "$top"' EXIT
fail() { echo "setup: $*"; exit 1; }
real=$(command -v "${CC:-cc}")

said=$(tools/setup 2>&1) || fail "fails where all is there: $said"
[ -z "$said" ] || fail "not silent where all is there: $said"

# A Python that has more than NumPy, where there is one; nothing is made for it.
$(tools/python --installed json ctypes) -c 'import numpy, json, ctypes' || fail "tools/python gives a Python that lacks what was asked for"
found=$(tools/python --installed no_such_module 2>"$top/out") && fail "tools/python says that $found has no_such_module"
grep -q '^tools/python: .*no_such_module' "$top/out" && [ "$(wc -l <"$top/out")" = 1 ] || fail "without a module says: $(cat "$top/out")"

# A compiler that cannot find what MISSING names (a pattern of its arguments). Not named cc: ccache would find it again.
printf '#!/bin/bash\nfor a in "$@"; do [[ $a =~ ^($MISSING)$ ]] && exit 1; done\nexec %q "$@"\n' "$real" >"$top/compiler"
printf '#!/bin/bash\necho "$*" >>%q\n' "$top/asked" >"$top/apt-get"
printf '#!/bin/bash\n[ "$1" = -n ] && shift; [ "$1" = true ] && exit 0; exec "$@"\n' >"$top/sudo"
chmod +x "$top"/*
export CC=$top/compiler PATH=$top:$PATH

MISSING='-lzip|-lcriterion' tools/setup >"$top/out" 2>&1 && fail "passes though libraries are still missing"
[ "$(cat "$top/asked")" = "install -y --no-install-recommends libzip-dev libcriterion-dev" ] ||
  fail "asks apt for: $(cat "$top/asked")"
grep -q 'still missing after the installation: libzip-dev libcriterion-dev' "$top/out" || fail "says: $(cat "$top/out")"

rm "$top/asked"
MISSING=-lcriterion tools/setup build >"$top/out" 2>&1 || fail "building alone needs no Criterion: $(cat "$top/out")"
[ ! -e "$top/asked" ] || fail "asks apt for: $(cat "$top/asked")"

# A machine without apt-get and without root's rights: the folders of PATH without that one program.
mkdir "$top/bin"
for folder in /bin /usr/bin /usr/local/bin; do
  find "$folder/" -maxdepth 1 ! -type d -exec ln -sf -t "$top/bin" {} +
done
rm -f "$top/bin/apt-get" "$top/bin/sudo"
MISSING=-lcjson PATH=$top/bin tools/setup >"$top/out" 2>&1 && fail "passes without cJSON and apt"
[ "$(wc -l <"$top/out")" = 1 ] && grep -q 'no apt-get here.* libcjson-dev' "$top/out" || fail "without apt says: $(cat "$top/out")"
