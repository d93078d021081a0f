"""A library that links libstdc++ statically shares parts of it with the process all the same.

The library writes a number into a message by an ostringstream, in a process that has loaded
libstdc++.so.6 before, as every process that imports torch has. Symbols of the kind STB_GNU_UNIQUE
exist once in a process, even where a library is loaded with RTLD_LOCAL.

Guess, before the first run, for GCC 12: linked with -static-libstdc++ the library exports about a
hundred such symbols, and its message ends before the number, since the stream does not find its own
facet for numbers under the shared identity; with -Wl,--exclude-libs,ALL it exports none and the
message is whole, as it is without -static-libstdc++.

Seen with GCC 12.2.0 of Debian 12: as guessed; 106 symbols.

Under other compilers than GCC 12 the library is not called, and nothing was seen.
"""

import ctypes
import subprocess
import sys
import tempfile
from pathlib import Path

from packages import compare

SOURCE = """
#include <sstream>
#include <string>
extern "C" __attribute__((visibility("default"))) const char* message(long number) {
  static std::string text;
  std::ostringstream out;
  out << "expected at most " << number << " rows";
  text = out.str();
  return text.c_str();
}
"""
LINKED = {
    "shared": [],
    "static": ["-static-libstdc++"],
    "private": ["-static-libstdc++", "-Wl,--exclude-libs,ALL"],
}
WHOLE = "expected at most 12 rows"
SEEN = {
    "shared": {"exports unique symbols": False, "message": WHOLE},
    "static": {"exports unique symbols": True, "message": "expected at most "},
    "private": {"exports unique symbols": False, "message": WHOLE},
}


def observe(library: Path, flags: list[str]) -> dict[str, object]:
    command = ["g++", "-shared", "-fPIC", "-O2", "-fvisibility=hidden", "-x", "c++", "-"]
    subprocess.run([*command, "-o", str(library), *flags], input=SOURCE, text=True, check=True)
    symbols = subprocess.check_output(["readelf", "-W", "--dyn-syms", str(library)], text=True)
    message = ctypes.CDLL(str(library)).message
    message.restype, message.argtypes = ctypes.c_char_p, [ctypes.c_long]
    return {"exports unique symbols": " UNIQUE " in symbols, "message": message(12).decode()}


if __name__ == "__main__":
    version = subprocess.check_output(["g++", "-dumpfullversion"], text=True).strip()
    if not version.startswith("12."):
        sys.exit(f"needs g++ 12, got {version}")
    ctypes.CDLL("libstdc++.so.6")
    with tempfile.TemporaryDirectory() as folder:
        now = {name: observe(Path(folder, f"{name}.so"), flags) for name, flags in LINKED.items()}
    sys.exit(compare(SEEN, now))
