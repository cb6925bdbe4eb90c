#!/bin/sh
# Runs inside the builder root file system, without a network: compiles llama.cpp once, as shared
# libraries, and makes of them llama-server and the llama-cpp-python wheel. The wheel holds the
# libraries and stands by itself; the server finds them where the image has the wheel.
#   build-llama.sh SDIST WHEELS OUT PYTHON FLAGS...
#     WHEELS: scikit-build-core and what it needs, unpacked; PYTHON: the image's, as 3.11
# What /build holds of an earlier run with the same inputs is gone on with.
set -eu
umask 022
sdist=$1 wheels=$2 out=$3 python=$4
shift 4
: "${SOURCE_DATE_EPOCH:?expected the time that goes into the files}"
export SOURCE_DATE_EPOCH LC_ALL=C.UTF-8 HOME=/tmp
source=/build/source objects=/build/objects
libraries=$source/llama_cpp/lib
mkdir -p "$source" "$out"
tar -xzf "$sdist" -C "$source" --strip-components=1 --no-same-owner

# Shared libraries look beside themselves; the program looks where the image has the wheel.
beside="\$ORIGIN" elsewhere=
# CUDA's wheels hold the libraries under their versioned names only; a linker wants the plain one.
for library in /in/cuda/nvidia/*/lib/lib*.so.*; do
    [ -e "$library" ] || continue
    ln -sf "${library##*/}" "${library%.so.*}.so"
    toolkit=${library%/lib/*}
    ln -sfn lib "$toolkit/lib64"  # where nvcc looks
    beside="\$ORIGIN:\$ORIGIN/../../nvidia/${toolkit##*/}/lib"
    elsewhere=" -Wl,-rpath-link,$toolkit/lib"  # for linking only: what the libraries need
done
found=-Wl,-rpath,/usr/local/lib/python$python/dist-packages/llama_cpp/lib

# The paths of the build go into no file, so that the folder's name changes no byte.
same="-ffile-prefix-map=$source=. -ffile-prefix-map=$objects=."
# A flag for each thing that must not be in a hospital: no web page, no download, no TLS client,
# no RPC back end (CVE-2024-42479). NATIVE off: the build machine's processor is not the target's;
# what remains is AVX2, FMA and F16C, which every supported processor has. No versioned names: a
# wheel has no links, and would hold each library three times.
cmake -G Ninja -S "$source/vendor/llama.cpp" -B "$objects" -DCMAKE_BUILD_TYPE=Release \
    -DBUILD_SHARED_LIBS=ON -DCMAKE_PLATFORM_NO_VERSIONED_SONAME=ON -DCMAKE_SKIP_RPATH=ON \
    -DCMAKE_SHARED_LINKER_FLAGS="-Wl,-rpath,'$beside'" \
    -DCMAKE_EXE_LINKER_FLAGS="$found$elsewhere" \
    -DLLAMA_BUILD_UI=OFF -DLLAMA_USE_PREBUILT_UI=OFF -DLLAMA_OPENSSL=OFF -DLLAMA_CURL=OFF \
    -DGGML_RPC=OFF -DGGML_NATIVE=OFF -DGGML_CCACHE=OFF \
    -DLLAMA_BUILD_TESTS=OFF -DLLAMA_BUILD_EXAMPLES=OFF \
    -DCMAKE_C_FLAGS="$same" -DCMAKE_CXX_FLAGS="$same" "$@"
ninja -C "$objects" -j "$(nproc)" llama-server
strip --strip-unneeded -o "$out/llama-server" "$objects/bin/llama-server"
cp "$source/vendor/llama.cpp/LICENSE" "$out/LICENSE.llama.cpp"

rm -rf "$libraries" "$source/.gitignore"  # it would keep the libraries out of the wheel
mkdir "$libraries"
for library in "$objects"/bin/*.so; do
    strip --strip-unneeded -o "$libraries/${library##*/}" "$library"
done
export PYTHONPATH="$wheels" CMAKE_GENERATOR=Ninja CMAKE_ARGS='-DLLAMA_BUILD=OFF -DLLAVA_BUILD=OFF'
python3 -m pip wheel -q --no-deps --no-build-isolation --no-index -w "$out" "$source"
