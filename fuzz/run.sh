#!/bin/sh
# Fuzzes one target, and keeps what is new in fuzz/corpus/TARGET: what reaches other code, and what crashes.
# usage: run.sh TARGET SECONDS COMMAND...
set -eu
target=$1
seconds=$2
shift 2
corpus=fuzz/corpus/$target
found=build/fuzz/found/$target
log=build/fuzz/merge-$target.log
mkdir -p "$found"

echo "fuzz    $target"
"$@" -max_total_time="$seconds" -max_len=4096 -timeout=20 -verbosity=0 -print_final_stats=1 \
    -artifact_prefix="$corpus/" "$found" "$corpus" || {
    echo "fuzz    $target: the input that it ended with is in $corpus, so that the tests feed it too" >&2
    exit 1
}

# Who clones the repository gets the corpus, and each test run feeds it: few inputs, and small ones.
# How often a line runs is not worth another.
"$@" -set_cover_merge=1 -use_counters=0 -max_len=1024 "$corpus" "$found" >"$log" 2>&1 || {
    cat "$log" >&2
    exit 1
}
count=$(find "$corpus" -type f | wc -l)
size=$(find "$corpus" -type f -exec cat {} + | wc -c)
echo "fuzz    $target: $count inputs, $size bytes in $corpus"
[ "$count" -le 300 ] && [ "$size" -le 300000 ] || {
    echo "fuzz    $target: more than 300 inputs or 300,000 bytes: leave out some of the new ones" >&2
    exit 1
}
