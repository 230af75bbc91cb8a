#!/bin/bash -eu
# Builds the fuzz harnesses for OSS-Fuzz and ClusterFuzzLite: build.sh [TARGET...], without targets all of them but the
# canary, whose bug would be reported for ever.
#
# Given: $CXX $CXXFLAGS $LIB_FUZZING_ENGINE, $SRC with this project as $SRC/kvbm, $WORK, $OUT. Needs no more than a
# compiler, ar, zip and coreutils: the image has no clang-scan-deps, without which CMake and ninja cannot find the
# imports, so modules.txt says what is compiled in which order. $CXXFLAGS alone decide library, sanitizer, optimisation
# and machine; what is added here is the same for every unit, since a compiled module is refused by an importer with
# other flags.
cd "$SRC/kvbm"
mkdir -p "$WORK" "$OUT"
modules=fuzz/ossfuzz/modules.txt

targets=("$@")
if ((!$#)); then
    for source in fuzz/*_fuzz.cpp; do
        target=$(basename "$source" .cpp)
        [[ $target == canary_fuzz ]] || targets+=("$target")
    done
fi

# A dependency lies beside the project, as the Dockerfile puts it, or is the system's. Those that are not header-only are
# compiled from one source of theirs, with our flags: only the C library OpenSSL is linked as it comes.
flags=($CXXFLAGS -std=c++20 -DXXH_INLINE_ALL=)
libraries=(-l:libcrypto.a -lpthread -ldl)
sources=()
for headers in xxHash expected/include range-v3/include boost fmt/include simdjson/singleheader; do
    [[ ! -d $SRC/$headers ]] || flags+=(-isystem "$SRC/$headers")
done
dependency() { # its single source, or else the system's library
    if [[ -f $SRC/$1 ]]; then sources+=("$SRC/$1"); else libraries+=("-l$2"); fi
}
dependency fmt/src/format.cc fmt
dependency simdjson/singleheader/simdjson.cpp simdjson

# The flags are kept in a file, where smoke.sh finds them, too; the modules compiled so far are added to it.
printf '%s\n' "${flags[@]}" > "$WORK/flags"
printf '%s\n' "${libraries[@]}" > "$WORK/libraries"

# Compiles beside others, on every processor; the first failure ends the script.
running=0
compile() {
    if ((running == $(nproc))); then
        wait -n
        running=$((running - 1))
    fi
    "$CXX" "@$WORK/flags" "$@" &
    running=$((running + 1))
}
compile_the_rest() {
    for (( ; running > 0; running -= 1)); do wait -n; done
}

# Modules one by one, each with those above it at hand.
objects=()
while read -r name source; do
    [[ $name != - && $name != '#' ]] || continue
    stem=$WORK/${name/:/-}
    compile -x c++-module -fmodule-output="$stem.pcm" -c "$source" -o "$stem.o"
    compile_the_rest
    echo "-fmodule-file=$name=$stem.pcm" >> "$WORK/flags"
    objects+=("$stem.o")
done < "$modules"

# Bodies and harnesses in any order.
while read -r name source; do
    [[ $name == - ]] || continue
    object=$WORK/${source//\//_}.o
    compile -c "$source" -o "$object"
    objects+=("$object")
done < "$modules"
for source in ${sources[@]+"${sources[@]}"}; do
    object=$WORK/$(basename "$source").o
    compile -c "$source" -o "$object"
    objects+=("$object")
done
for target in "${targets[@]}"; do
    compile -c "fuzz/$target.cpp" -o "$WORK/$target.o"
done
compile_the_rest
rm -f "$WORK/libkvbm.a"
ar rcs "$WORK/libkvbm.a" "${objects[@]}"

for target in "${targets[@]}"; do
    "$CXX" $CXXFLAGS "$WORK/$target.o" "$WORK/libkvbm.a" $LIB_FUZZING_ENGINE "@$WORK/libraries" -o "$OUT/$target"
    rm -f "$OUT/${target}_seed_corpus.zip"
    zip -q -j -r "$OUT/${target}_seed_corpus.zip" "fuzz/corpus/$target"
    [[ ! -f fuzz/$target.dict ]] || cp "fuzz/$target.dict" "$OUT/"
    # Harnesses pass over longer inputs.
    printf '[libfuzzer]\nmax_len = 4096\n' > "$OUT/$target.options"
done
