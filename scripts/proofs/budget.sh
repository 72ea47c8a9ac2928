# What the line costs, in numbers that are the same on a busy machine: instructions, allocations, hops; and times of ours
# against others' as ratios taken side by side. Never an absolute time. Sourced by prove.

# Frames of the first two of sixteen parts of the shipped recording.
FRAMES=16900
# Instructions a frame that the line may take: what it took when this was last changed, and 3 %. A compiler's new version may
# move it; a change of the line that does has to say so here.
INSTRUCTIONS_MAX=24300
# Messages that seats say for 100 frames.
MESSAGES_MAX=1720

# The line over some parts of the recording, counted: NAME, and what it is asked on stdin.
counted() {
    valgrind --tool=callgrind --callgrind-out-file="$work/$1.callgrind" "$program" bench frame-to-order --serve \
        <<<"$2" >/dev/null 2>"$work/$1.valgrind"
}

# Medians of a criterion benchmark: `name<tab>nanoseconds` a line.
medians() {
    cargo bench --locked --quiet -p "$1" --bench "$2" -- --quick --noplot 2>/dev/null | "$python" -c '
import re, sys
unit = {"ns": 1, "µs": 1e3, "us": 1e3, "ms": 1e6, "s": 1e9}
name = ""
for line in sys.stdin:
    time = re.search(r"^(.*?)\s*time:\s+\[\S+ \S+ (\S+) (\S+) ", line)
    if time and "%" not in line:
        print((time[1].strip() or name) + "\t" + str(float(time[2]) * unit[time[3]]))
    elif line.strip() and not line.startswith("Benchmarking"):
        name = line.strip()'
}

# ratio_is NAME FILE OURS THEIRS LIMIT: the ratio of two medians, in hundredths, and whether it is under the limit.
ratio_of() {
    awk -F'\t' -v ours="$2" -v theirs="$3" '$1 == ours { o = $2 } $1 == theirs { t = $2 }
        END { if (o && t) printf "%d", 100 * o / t; else print "none" }' "$1"
}
ratio_is_under() {
    local ratio
    ratio=$(ratio_of "$2" "$3" "$4")
    case_is "$1: ratio $ratio of 100, at most $5" yes "$([ "$ratio" -le "$5" ] 2>/dev/null && echo yes || echo no)"
}

prove_budget() {
    command -v valgrind >/dev/null 2>&1 || apt-get install -y -qq valgrind >"$work/apt.txt" 2>&1
    if ! command -v valgrind >/dev/null 2>&1; then
        case_is "Debian has valgrind for us" yes no
        return
    fi
    python=python3
    counted load "0 60000"
    counted work "0 16
1 16"
    local a_frame
    a_frame=$(python3 scripts/proofs/count_instructions.py "$work/work.callgrind" "$work/load.callgrind" $FRAMES)
    case_over "instructions a frame, at most $INSTRUCTIONS_MAX: $a_frame" "$((INSTRUCTIONS_MAX - ${a_frame:-9999999}))" -1
    case_over "and they are the line's: those of its seats" \
        "$(python3 scripts/proofs/count_instructions.py "$work/work.callgrind" "$work/load.callgrind" $FRAMES Desk::work)" 1000
    counted more "0 16
1 16
2 16"
    a_frame=$(python3 scripts/proofs/count_instructions.py "$work/more.callgrind" "$work/load.callgrind" $FRAMES)
    case_is "control: half as much again for as many frames is over it" over \
        "$([ "${a_frame:-0}" -gt $INSTRUCTIONS_MAX ] && echo over || echo "not over: $a_frame")"

    run counts --for 120s --speed 20
    case_is "allocations of sealed seats" 0 "$(first_field "$work/counts.json" sealed_allocations)"
    local messages
    messages=$(python3 scripts/proofs/count_instructions.py --calls "$work/work.callgrind" "$work/load.callgrind" $FRAMES Outbox::reserve)
    case_over "messages that seats say for 100 frames, at most $MESSAGES_MAX: $messages" "$((MESSAGES_MAX - ${messages:-9999999}))" -1
    case_over "and there are some" "$messages" 100
    case_is "hops from a feed to the gateway, on the longest way" 9 "$("$program" topology --json | python3 -c '
import json, sys
edges = [(e["from"], e["to"]) for e in json.load(sys.stdin)["edges"] if e["port"] in ("input", "line", "vote", "orders")]
def longest(at, seen=()):
    ways = [1 + longest(to, seen + (at,)) for a, to in edges if a == at and to not in seen and not (at != "feed.usdm" and a.startswith("gateway"))]
    return max(ways, default=0 if at.startswith("gateway") else -99)
print(longest("feed.usdm"))')"

    medians kimera-runtime ring >"$work/ring.tsv"
    ratio_is_under "a hop against rtrb" "$work/ring.tsv" "ring hop, same thread, read in place" "rtrb hop, same thread, read in place" 125
    ratio_is_under "one ring with four readers against four rings" "$work/ring.tsv" \
        "fan-out to 4, 16 messages/one ring, N readers" "fan-out to 4, 16 messages/N rings" 80
    case_is "control: four rings against one ring are not under it" no "$([ "$(ratio_of "$work/ring.tsv" \
        "fan-out to 4, 16 messages/N rings" "fan-out to 4, 16 messages/one ring, N readers")" -le 80 ] 2>/dev/null && echo yes || echo no)"
    medians kimera-venues decode >"$work/decode.tsv"
    ratio_is_under "a ticker read, against sonic-rs" "$work/decode.tsv" "decode bookTicker (7 level pairs a frame)/fast path" \
        "decode bookTicker (7 level pairs a frame)/sonic-rs to a value" 90
    ratio_is_under "a trade read, against sonic-rs" "$work/decode.tsv" "decode trade (6 level pairs a frame)/fast path" \
        "decode trade (6 level pairs a frame)/sonic-rs to a value" 70
    ratio_is_under "a depth frame read, against sonic-rs" "$work/decode.tsv" "decode depth (64 level pairs a frame)/fast path" \
        "decode depth (64 level pairs a frame)/sonic-rs to a value" 130
}
