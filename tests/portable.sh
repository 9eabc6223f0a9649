#!/usr/bin/env bash
# tools/portable-deps packs a Criterion, a cJSON and a libzip that need nothing of this machine but the C library and
# the compiler's runtime: programs built against the copy find every library, and the libraries' own needs, in it.
set -euo pipefail
cc=${CC:-cc}
top=$(mktemp -d)
trap 'rm -rf "$top"' EXIT
fail() { echo "portable: $*"; exit 1; }
for library in criterion cjson zip; do
  [ "$($cc -print-file-name=lib$library.so)" != "lib$library.so" ] || { echo "lib$library is itself an unpacked copy here"; exit 77; }
done

tools/portable-deps "$top" >/dev/null
cat >"$top/a.c" <<'C'
#include <criterion/criterion.h>
#include <cjson/cJSON.h>
#include <zip.h>
Test(portable, runs) {
  cJSON *list = cJSON_Parse("[1, 2]");
  cr_assert(cJSON_GetArraySize(list) == 2);
  cJSON_Delete(list);
  cr_assert(zip_libzip_version() != NULL);
}
C
paths=()
for folder in "$top" "$top/criterion"; do
  paths+=(-I"$folder/include" -L"$folder/lib" -Wl,--disable-new-dtags,-rpath,"$folder/lib")
done
# -nostdinc would hide the C library too: what the compiler read is checked instead.
$cc "$top/a.c" "${paths[@]}" -MD -MF "$top/a.d" -lcriterion -lcjson -lzip -o "$top/a"
! grep -E '(criterion|cjson|zip|zipconf)[^ ]*\.h' "$top/a.d" | grep -v "$top" || fail "headers from elsewhere"
own='^(linux-vdso|/lib|libc\.|libm\.|libdl\.|libpthread\.|librt\.|libresolv\.|libutil\.|libgcc_s\.|libstdc)'
ldd "$top/a" | awk '{print $1, $3}' | while read -r name path; do
  [[ $name =~ $own ]] || [[ $path == "$top"/* ]] || fail "$name comes from $path"
done
"$top/a" 2>&1 | grep -q 'Tested: 1 | Passing: 1' || fail "the program does not run"
