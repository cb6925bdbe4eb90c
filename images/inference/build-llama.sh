#!/bin/sh
# Runs inside the builder root file system, without a network: compiles llama-server and the
# llama-cpp-python wheel from the one pinned source package.
#   build-llama.sh SDIST WHEELS OUT     (WHEELS: scikit-build-core and what it needs, unpacked)
set -eu
umask 022
sdist=$1 wheels=$2 out=$3
: "${SOURCE_DATE_EPOCH:?expected the time that goes into the files}"
export SOURCE_DATE_EPOCH LC_ALL=C.UTF-8 HOME=/tmp
jobs=$(nproc)
source=/build/source
rm -rf "$source" /build/server /build/wheel
mkdir -p "$source" "$out"
tar -xzf "$sdist" -C "$source" --strip-components=1 --no-same-owner

# The paths of the build go into no file, so that the folder's name changes no byte.
same="-ffile-prefix-map=$source=. -ffile-prefix-map=/build/server=. -ffile-prefix-map=/build/wheel=."
# A flag for each thing that must not be in a hospital: no web page, no download, no TLS client,
# no RPC back end (CVE-2024-42479). NATIVE off: the build machine's processor is not the target's;
# what remains is AVX2, FMA and F16C, which every supported processor has.
flags="-DCMAKE_BUILD_TYPE=Release -DLLAMA_BUILD_UI=OFF -DLLAMA_USE_PREBUILT_UI=OFF
 -DLLAMA_OPENSSL=OFF -DLLAMA_CURL=OFF -DGGML_RPC=OFF -DGGML_NATIVE=OFF
 -DLLAMA_BUILD_TESTS=OFF -DLLAMA_BUILD_EXAMPLES=OFF -DGGML_CCACHE=OFF"

# CUDA's wheels hold the libraries under their versioned names only; a linker wants the plain one.
for library in /in/cuda/nvidia/*/lib/lib*.so.*; do
    [ -e "$library" ] || continue
    ln -sf "${library##*/}" "${library%.so.*}.so"
    ln -sfn lib "${library%/lib/*}/lib64"  # where nvcc looks
done

# shellcheck disable=SC2086 # a list of flags
cmake -G Ninja -S "$source/vendor/llama.cpp" -B /build/server $flags -DBUILD_SHARED_LIBS=OFF \
    -DCMAKE_C_FLAGS="$same" -DCMAKE_CXX_FLAGS="$same" ${EXTRA_CMAKE_ARGS:-}
ninja -C /build/server -j "$jobs" llama-server
strip --strip-unneeded -o "$out/llama-server" /build/server/bin/llama-server
cp "$source/vendor/llama.cpp/LICENSE" "$out/LICENSE.llama.cpp"

export PYTHONPATH="$wheels" CFLAGS="$same" CXXFLAGS="$same" CMAKE_GENERATOR=Ninja
export CMAKE_BUILD_PARALLEL_LEVEL="$jobs" SKBUILD_INSTALL_STRIP=true
# shellcheck disable=SC2086 # a list of flags
CMAKE_ARGS=$(printf '%s ' $flags ${EXTRA_CMAKE_ARGS:-})
export CMAKE_ARGS
python3 -m pip wheel -q --no-deps --no-build-isolation --no-index -w "$out" \
    --config-settings=build-dir=/build/wheel "$source"
