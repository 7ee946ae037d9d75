#!/usr/bin/env bash
# Runs tests with the native library built under AddressSanitizer and UndefinedBehaviorSanitizer:
#     tests/cpu/sanitize.sh                  # some minutes
#     tests/cpu/sanitize.sh tests/cpu -x     # other arguments for pytest
# Needs g++, CMake, and this Python's jaxlib and onednn-devel-cpu-gomp. The build goes to
# build/sanitized; a library that is installed stays as it is.
set -euo pipefail
cd "$(dirname "$0")/../.."

cmake -S cnn_jax/cpu/native -B build/sanitized -DCMAKE_CXX_COMPILER=g++ -DCNN_JAX_SANITIZE=ON \
  -DCMAKE_BUILD_TYPE=RelWithDebInfo -DPython3_EXECUTABLE="$(command -v python)" >/dev/null
cmake --build build/sanitized --parallel

if [[ $# -eq 0 ]]; then
  set -- tests/cpu/test_native.py tests/cpu/test_processes.py tests/cpu/test_transformations.py \
    tests/cpu/test_hostile.py tests/cpu/test_dense.py tests/cpu/test_pooling_native.py \
    tests/cpu/test_fused.py tests/cpu/test_winograd.py tests/cpu/test_winograd_volumes.py \
    tests/cpu/test_outer_products.py tests/cpu/test_depthwise.py tests/cpu/test_narrow.py \
    tests/cpu/test_planar.py tests/cpu/test_implicit_product.py tests/cpu/test_tuning.py \
    --hypothesis-profile=thorough
fi

# The sanitizers' libraries must come first in a process that was not built with them, and libstdc++
# with them so that exceptions are seen. Python and XLA keep memory to the end: no leak is reported.
# pytest would keep to itself what a dying process writes, if it captured more than sys.
preload=""
for library in libasan.so libubsan.so libstdc++.so.6; do
  preload+="$(g++ -print-file-name="$library") "
done
CNN_JAX_NATIVE="$PWD/build/sanitized/libcnn_jax_cpu.so" \
  ASAN_OPTIONS="detect_leaks=0${ASAN_OPTIONS:+:$ASAN_OPTIONS}" \
  UBSAN_OPTIONS="print_stacktrace=1" PYTHONPATH="$PWD" LD_PRELOAD="$preload" \
  python -m pytest -n 0 --capture=sys "$@"
