#!/usr/bin/env bash
# What `make install` puts down must serve a program that knows only pkg-config: with the shared library, and with the
# static one alone. A staged installation (DESTDIR) must not name its staging folder.
set -euo pipefail
build=${1:-build}
cc=${CC:-cc}
top=$(mktemp -d)
trap 'rm -rf "$top"' EXIT
fail() { echo "install: $*"; exit 1; }

${MAKE:-make} --no-print-directory install B="$build" PREFIX="$top/usr" DESTDIR= >/dev/null
version=$(PKG_CONFIG_PATH=$top/usr/lib/pkgconfig pkg-config --modversion actscope)
for file in include/actscope.h include/actscope_dlpack.h lib/libactscope.a "lib/libactscope.so.$version" lib/libactscope.so lib/pkgconfig/actscope.pc \
  bin/actscope; do
  [ -s "$top/usr/$file" ] || fail "$file is not there"
done
[ -x "$top/usr/bin/actscope" ] || fail "bin/actscope cannot be run"
[ "$(readlink "$top/usr/lib/libactscope.so")" = "libactscope.so.$version" ] || fail "libactscope.so points elsewhere"

export PKG_CONFIG_PATH=$top/usr/lib/pkgconfig
$cc -std=c11 examples/minimal.c $(pkg-config --cflags --libs actscope) -lm -o "$top/shared"
needed=$(readelf -d "$top/shared" | sed -n 's/.*NEEDED.*\[\(libactscope[^]]*\)\]/\1/p')
[ "$needed" = "libactscope.so.${version%%.*}" ] || fail "a program asks for '$needed', not for the soname"
LD_LIBRARY_PATH=$top/usr/lib "$top/shared" >"$top/shared.out"
grep -q '^correlation   mean |r|' "$top/shared.out" || fail "the program linked with the shared library says: $(cat "$top/shared.out")"

rm "$top"/usr/lib/libactscope.so*
$cc -std=c11 examples/minimal.c $(pkg-config --static --cflags --libs actscope) -o "$top/static"
! readelf -d "$top/static" | grep -q libactscope || fail "the static program still asks for libactscope.so"
"$top/static" >"$top/static.out"
cmp -s "$top/shared.out" "$top/static.out" || fail "the static program says something else than the shared one"

${MAKE:-make} --no-print-directory install B="$build" PREFIX=/opt/actscope DESTDIR="$top/stage" >/dev/null
[ -s "$top/stage/opt/actscope/include/actscope.h" ] || fail "DESTDIR is not in front of PREFIX"
! grep -q "$top" "$top/stage/opt/actscope/lib/pkgconfig/actscope.pc" || fail "actscope.pc names the staging folder"
grep -qx 'prefix=/opt/actscope' "$top/stage/opt/actscope/lib/pkgconfig/actscope.pc" || fail "actscope.pc has another prefix"
