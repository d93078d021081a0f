#!/usr/bin/env bash
# A library that links libstdc++ statically shares parts of it with the process all the same.
#
# The library writes a number into a message by an ostringstream, in a process that has loaded
# libstdc++.so.6 before, as every process that imports torch has. Symbols of the kind STB_GNU_UNIQUE
# exist once in a process, even where a library is loaded with RTLD_LOCAL.
#
# Guess, before the first run, for GCC 12: linked with -static-libstdc++ the library exports about a
# hundred such symbols, and its message ends before the number, since the stream does not find its own
# facet for numbers under the shared identity; with -Wl,--exclude-libs,ALL it exports none and the
# message is whole, as it is without -static-libstdc++.
#
# Seen with GCC 12.2.0 of Debian 12: as guessed; 106 symbols.
#
# Under other compilers than GCC 12 the library is not called, and nothing was seen.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
version=$(g++ -dumpfullversion)
if [[ $version != 12.* ]]; then
  echo "needs g++ 12, got $version" >&2
  exit 1
fi
cat >"$folder/message.cpp" <<'CPP'
#include <sstream>
#include <string>
extern "C" __attribute__((visibility("default"))) const char* message(long number) {
  static std::string text;
  std::ostringstream out;
  out << "expected at most " << number << " rows";
  text = out.str();
  return text.c_str();
}
CPP

# link NAME FLAG...
link() {
  g++ -shared -fPIC -O2 -fvisibility=hidden "$folder/message.cpp" -o "$folder/$1.so" "${@:2}"
  echo "$1: $(readelf -W --dyn-syms "$folder/$1.so" | grep -c ' UNIQUE ' || true) unique symbols"
}
{
  link shared
  link static -static-libstdc++
  link private -static-libstdc++ -Wl,--exclude-libs,ALL
  python3 - "$folder" <<'PY'
import ctypes
import sys

ctypes.CDLL("libstdc++.so.6")
for name in ("shared", "static", "private"):  # the shared one has written a number first
    message = ctypes.CDLL(f"{sys.argv[1]}/{name}.so").message
    message.restype, message.argtypes = ctypes.c_char_p, [ctypes.c_long]
    print(f"{name}: {message(12).decode()!r}")
PY
} >"$folder/now"
cat "$folder/now"
diff - "$folder/now" <<'SEEN'
shared: 0 unique symbols
static: 106 unique symbols
private: 0 unique symbols
shared: 'expected at most 12 rows'
static: 'expected at most '
private: 'expected at most 12 rows'
SEEN
