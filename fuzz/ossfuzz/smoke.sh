#!/usr/bin/env bash
# fuzz/ossfuzz/smoke.sh [SECONDS]: what OSS-Fuzz would do with the tracked files, without docker. Three builds by build.sh
# with nothing but a compiler, ar, ld, zip and coreutils on the PATH; the platform's checks of each target; its seeds in
# both orders; a search where nothing can be written but a directory below /tmp; a planted bug per target, which must be
# found. The searches take 20 s each, or less where the whole would exceed SECONDS (180): never less than 2.
set -euo pipefail
cd "$(dirname "$0")/../.."
budget=${1:-180}

tree=$(mktemp -d /tmp/kvbm-smoke.XXXXXX)
trap 'kill $(jobs -p) 2> /dev/null || true; rm -rf "$tree"' EXIT
chmod 755 "$tree"
fail() {
    echo "smoke: $1" >&2
    [[ ! -f ${2:-} ]] || tail -n 30 "$2" >&2
    exit 1
}
# The steps run beside each other, one per processor; the first that fails ends the script.
running=0
beside() {
    if ((running == $(nproc))); then
        wait -n
        running=$((running - 1))
    fi
    "$@" &
    running=$((running + 1))
}
together() {
    for (( ; running > 0; running -= 1)); do wait -n; done
}

# --- builds ---

mkdir -p "$tree/src/kvbm" "$tree/bin"
edited=$(git stash create)
git archive "${edited:-HEAD}" | tar -x -C "$tree/src/kvbm"
for tool in ar basename bash cp ld mkdir nproc rm zip; do
    ln -s "$(command -v $tool)" "$tree/bin/"
done
ln -s "$(command -v clang-19)" "$tree/bin/clang"
ln -s "$(command -v clang++-19)" "$tree/bin/clang++"
for tool in clang-scan-deps cmake ninja; do
    ! PATH=$tree/bin command -v $tool > /dev/null || fail "$tool is on the PATH of the builds"
done

# The flags of the platform, but for -stdlib=libc++: the library is the system's.
common="-fno-omit-frame-pointer -gline-tables-only -DFUZZING_BUILD_MODE_UNSAFE_FOR_PRODUCTION"
ub=array-bounds,bool,builtin,enum,function,integer-divide-by-zero,null,object-size,return,returns-nonnull-attribute
ub+=,shift,signed-integer-overflow,unreachable,vla-bound,vptr
declare -A flags=(
    [address]="-O1 $common -fsanitize=address -fsanitize-address-use-after-scope -fsanitize=fuzzer-no-link"
    [undefined]="-O1 $common -fsanitize=$ub,unsigned-integer-overflow -fno-sanitize-recover=$ub -fsanitize=fuzzer-no-link"
    [coverage]="-O0 $common -fprofile-instr-generate -fcoverage-mapping -pthread"
)
in_image() {
    env -i PATH="$tree/bin" CC=clang CXX=clang++ CFLAGS="${flags[$sanitizer]}" CXXFLAGS="${flags[$sanitizer]}" \
        LIB_FUZZING_ENGINE=-fsanitize=fuzzer SRC="$tree/src" WORK="$tree/work/$sanitizer" OUT="$tree/out/$sanitizer" "$@"
}
build() {
    sanitizer=$1
    in_image bash "$tree/src/kvbm/fuzz/ossfuzz/build.sh" > "$tree/$1.log" 2>&1 || fail "$1: the build fails" "$tree/$1.log"
    ! grep -q 'warning:' "$tree/$1.log" || fail "$1: the build warns" "$tree/$1.log"
}
# All at once, since each begins with a stretch of work for one processor.
builds=()
for sanitizer in "${!flags[@]}"; do
    build "$sanitizer" &
    builds+=($!)
done
for one in "${builds[@]}"; do wait "$one"; done
targets=()
for source in fuzz/*_fuzz.cpp; do
    target=$(basename "$source" .cpp)
    [[ $target == canary_fuzz ]] || targets+=("$target")
done
echo "smoke: ${#targets[@]} targets built for ${!flags[*]} after $SECONDS s"

# --- the platform's checks ---

# Where targets run: the file system is not theirs, but for one directory; no home, no tools, another working directory.
mkdir -m 777 "$tree/tmp"
runner=(env -i TMPDIR="$tree/tmp" ASAN_OPTIONS=allocator_may_return_null=1
    UBSAN_OPTIONS=print_stacktrace=1:silence_unsigned_overflow=1)
[[ $(id -u) != 0 ]] || runner=(setpriv --reuid=65534 --regid=65534 --clear-groups "${runner[@]}")
run() { # log, then the command
    local log=$1
    shift
    (cd / && exec "${runner[@]}" "$@") > "$log" 2>&1
}
limits=(-rss_limit_mb=2560 -timeout=25)

check() {
    local sanitizer=$1 target=$2
    local out=$tree/out/$sanitizer log=$tree/$sanitizer.$target.log seeds=$tree/seeds/$target
    local name="$sanitizer/$target" program=$tree/out/$sanitizer/$target
    [[ -f $out/$target.options ]] || fail "$name: no options"
    run "$log" "$program" -runs=0 "${limits[@]}" "$seeds" || fail "$name: a seed fails" "$log"
    local files=("$seeds"/*) backwards=()
    for file in "${files[@]}"; do backwards=("$file" "${backwards[@]}"); done
    run "$log" "$program" "${limits[@]}" "${files[@]}" || fail "$name: seeds fail forwards" "$log"
    run "$log" "$program" "${limits[@]}" "${backwards[@]}" || fail "$name: seeds fail backwards" "$log"
    [[ $sanitizer != coverage ]] || return 0

    run "$log" "$program" -seed=1337 -runs=4 || fail "$name: startup fails" "$log"
    grep -q 'Done 4 runs' "$log" || fail "$name: startup does not end 'Done 4 runs'" "$log"
    local edges
    edges=$(sed -n 's/^INFO: Loaded .* counters): *\([0-9]*\) .*/\1/p' "$log")
    ((${edges:-0} >= 100)) || fail "$name: ${edges:-0} edges" "$log"
    local asan ubsan
    read -r asan ubsan < <(objdump -d "$program" |
        awk '/call.*<__asan/ {asan++} /call.*<__ubsan/ {ubsan++} END {print asan + 0, ubsan + 0}')
    if [[ $sanitizer == address ]]; then
        ((asan >= 1000 && ubsan < 200)) || fail "$name: $asan calls of __asan and $ubsan of __ubsan"
    else
        ((asan == 0 && ubsan >= 168)) || fail "$name: $asan calls of __asan and $ubsan of __ubsan"
    fi
}
for target in "${targets[@]}"; do
    mkdir -p "$tree/seeds/$target"
    python3 -m zipfile -e "$tree/out/address/${target}_seed_corpus.zip" "$tree/seeds/$target"
    [[ ! -f fuzz/$target.dict ]] || [[ -f $tree/out/address/$target.dict ]] || fail "$target: no dictionary"
done
chmod -R a+rX,a-w "$tree/out" "$tree/seeds"
for target in "${targets[@]}"; do
    for sanitizer in "${!flags[@]}"; do beside check "$sanitizer" "$target"; done
done
together
echo "smoke: ${#targets[@]} targets checked, their seeds in both orders, after $SECONDS s"

# --- planted bugs ---

plant() {
    local target=$1 file=$2 edit=$3 sanitizer=address
    local work=$tree/planted/$target log=$tree/planted.$target.log
    local object=${file//\//_}.o built=$tree/work/address
    mkdir -p "$work"
    mkdir -m 777 "$work/found"
    sed -E "$edit" "$tree/src/kvbm/$file" > "$work/edited.cpp"
    ! cmp -s "$work/edited.cpp" "$tree/src/kvbm/$file" || fail "$target: the edit of $file changes nothing"
    cp "$built/libkvbm.a" "$work/"
    in_image clang++ "@$built/flags" -c "$work/edited.cpp" -o "$work/$object" > "$log" 2>&1 ||
        fail "$target: the edit of $file does not compile" "$log"
    ar r "$work/libkvbm.a" "$work/$object"
    # shellcheck disable=SC2086
    in_image clang++ ${flags[address]} "$built/$target.o" "$work/libkvbm.a" -fsanitize=fuzzer "@$built/libraries" \
        -o "$work/$target" >> "$log" 2>&1 || fail "$target: the edit of $file does not link" "$log"
    chmod 755 "$work"
    ! run "$log" "$work/$target" "${limits[@]}" -max_total_time=60 -artifact_prefix="$work/found/" "$tree/seeds/$target" ||
        fail "$target: the bug planted in $file is not found in 60 s" "$log"
    [[ -n $(ls "$work/found") ]] || fail "$target: fails with the bug planted in $file, without an input" "$log"
}
planted=()
while read -r target file edit; do
    [[ $target != '#' ]] || continue
    [[ " ${targets[*]} " == *" $target "* ]] || fail "planted.txt: there is no target $target"
    planted+=("$target")
    beside plant "$target" "$file" "$edit"
done < fuzz/ossfuzz/planted.txt
together
for target in "${targets[@]}"; do
    [[ " ${planted[*]} " == *" $target "* ]] || fail "planted.txt: no bug for $target"
done
echo "smoke: ${#planted[@]} planted bugs found after $SECONDS s"

# --- search ---

searches=$((2 * ${#targets[@]}))
length=$(((budget - SECONDS) * $(nproc) / searches))
length=$((length > 20 ? 20 : length < 2 ? 2 : length))
search() {
    local sanitizer=$1 target=$2
    local found=$tree/tmp/$sanitizer.$target log=$tree/$sanitizer.$target.log program=$tree/out/$sanitizer/$target
    mkdir -m 777 "$found"
    local dictionary=()
    [[ ! -f $program.dict ]] || dictionary=(-dict="$program.dict")
    run "$log" "$program" "${limits[@]}" -max_len=4096 "${dictionary[@]}" -max_total_time="$length" \
        -artifact_prefix="$found/" "$found" "$tree/seeds/$target" || fail "$sanitizer/$target: the search ends badly" "$log"
    grep -q '^Done [0-9]* runs' "$log" || fail "$sanitizer/$target: the search does not end" "$log"
}
for target in "${targets[@]}"; do
    beside search address "$target"
    beside search undefined "$target"
done
together
echo "smoke: passed, with $searches searches of $length s, after $SECONDS s"
