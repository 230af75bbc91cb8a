# Sourced by .ci/run and tools/nightly: steps one after the other, and the figures that they gave.

# step COMMAND...: runs it under a headline.
step() {
    echo "=== $* (after ${SECONDS} s)"
    "$@"
}

# Properties draw from one seed in all programs of a run. KVBM_SEED repeats another run's.
KVBM_SEED=${KVBM_SEED:-$(date +%s)}
export RC_PARAMS="seed=$KVBM_SEED"

figures=()
# figure NAME VALUE: a row of the table.
figure() {
    figures+=("$(printf '| %-34s | %s' "$1" "$2")")
}
# figure_from NAME PATTERN COMMAND...: a step whose last line that fits the pattern is the value.
figure_from() {
    local name=$1 pattern=$2 log status=0
    log=$(mktemp)
    step "${@:3}" | tee "$log" || status=$?
    figure "$name" "$(grep -E "$pattern" "$log" | tail -n 1 | sed -E "s/$pattern//; s/ +/ /g")"
    rm -f "$log"
    return "$status"
}
print_figures() {
    echo "=== figures (after ${SECONDS} s)"
    printf '%s\n' "${figures[@]}"
}
