# The laboratory's files, read by other hands than ours. Sourced by prove.

prove_latency() {
    "$program" bench latency --seconds 2 --no-shadow --json --out "$work/lab" >"$work/lab.json" 2>"$work/lab.err"
    case_is "the laboratory measures" 0 $?
    case_over "rows of the specification" "$(grep -o '"factor":' "$work/lab.json" | wc -l)" 8
    case_over "outliers with a label" "$(grep -o '"label":"\(queue\|stage\|journal\|scheduler-gap\)"' "$work/lab.json" | wc -l)" 2
    case_is "a machine that doctor fails gives unofficial figures" \
        "$("$program" doctor >/dev/null 2>&1 && echo true || echo false)" "$(first_field "$work/lab.json" official)"
    python_with hdrhistogram
    "$python" scripts/proofs/read_histograms.py "$work/lab" >"$work/read.txt" 2>&1
    local code=$?
    case_is "HdrHistogram's own reader finds the same in .hlog and .hgrm ($(tail -n 1 "$work/read.txt"))" 0 $code
    cp -r "$work/lab" "$work/changed"
    sed -i 's/\("p99": *\)\([0-9]*\)/\19\2/' "$work/changed/report.json"
    "$python" scripts/proofs/read_histograms.py "$work/changed" >>"$work/read.txt" 2>&1
    case_is "control: and would find another value" 1 $?
    [ $failed = 0 ] || tail -n 20 "$work/lab.err" "$work/read.txt" "$work/venv.txt" >&2
}
