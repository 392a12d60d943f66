#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# run.sh PROGRAM TARGET SECONDS: searches with libFuzzer.  New inputs are merged
# into t/fuzz/corpus/TARGET when it ends; a finding stays in t/fuzz/regress/TARGET
# and fails `make check` until it is mended.
set -eu

program=$1 target=$2 seconds=$3
corpus=t/fuzz/corpus/$target
regress=t/fuzz/regress/$target
work=$(dirname "$program")/$target.work
mkdir -p "$corpus" "$regress" "$work"

set -- "$work" "$corpus" "$regress"
[ ! -f "t/fuzz/$target.dict" ] || set -- -dict="t/fuzz/$target.dict" "$@"
rc=0
"$program" -max_total_time="$seconds" -timeout=10 -rss_limit_mb=1024 -print_final_stats=1 \
    -artifact_prefix="$regress/" "$@" || rc=$?
"$program" -merge=1 "$corpus" "$work" >/dev/null 2>&1 || true
exit $rc
