# What detectors find of what is made to happen, what they take for it that is not, and that a severe word stops the taking of
# risk with the input that it is about. Sourced by prove.

# The shipped profile with a [detectors] section: NAME, and its lines.
profile_of_detectors() {
    { cat config/profiles/paper.toml; printf '\n[detectors]\n%b\n' "$2"; } >"$work/$1.toml"
}

# rate NAME DETECTOR KEY: a number of a detector's row.
rate() {
    "$python" - "$work/$1.json" "$2" "$3" <<'PY'
import json, sys
rows = json.load(open(sys.argv[1]))["detectors"]
print(next(row[sys.argv[3]] for row in rows if row["detector"] == sys.argv[2]))
PY
}

# Orders that were sent in a hold behind an alert and make the position larger; and alerts that hold.
sent_while_held() {
    "$program" journal cat "$work/$1" 2>/dev/null | "$python" -c '
import json, sys
held, sent, alerts, position, sizes = 0, 0, 0, 0.0, {}
records = [json.loads(line) for line in sys.stdin]
records.sort(key=lambda r: (r["seq"], r["kind"] != "alert"))
for r in records:
    body = r["body"]
    if r["kind"] == "alert" and body["severity"] in ("warning", "severe"):
        alerts += 1
        held = max(held, r["time"] + 60_000_000_000)
    elif r["kind"] == "order-update" and body["event"] in ("filled", "partfilled"):
        position += float(body["quantity"]) * (1 if body["side"] == "buy" else -1)
    elif r["kind"] == "new-order" and r["time"] < held:
        side = 1 if body["side"] == "buy" else -1
        reduces = position * side < 0 and float(body["quantity"]) <= abs(position) + 1e-9
        sent += not reduces
print(sent, alerts)'
}

prove_detectors() {
    python=python3
    "$program" cep rates --seeds 20 --days 1 --json >"$work/rates.json"
    case_is "scenarios are played" 0 $?
    local detector found mistaken
    for detector in price-spike price-jump volume-surge trade-burst momentum-shift flash-crash flash-rise \
        momentum-ignition pump-and-dump wash-trading quote-stuffing spoofing layering; do
        found=$(rate rates $detector found)
        mistaken=$(rate rates $detector mistaken)
        case_over "$detector: found of 20" "$found" 12
        case_is "$detector: near misses taken for it: $mistaken, at most 2" yes "$([ "$mistaken" -le 2 ] && echo yes || echo no)"
    done
    # The control: detectors whose limits nothing reaches.
    profile_of_detectors deaf 'spike_z = 1000.0\nstuffing_z = 10000.0\nfall_min = 0.9'
    "$program" cep rates --seeds 2 --days 1 --json --config "$work/deaf.toml" >"$work/deaf.json"
    for detector in price-spike quote-stuffing flash-crash flash-rise; do
        case_is "control: $detector with a limit that nothing reaches finds" 0 "$(rate deaf $detector found)"
    done
    # Two ten-thousandths in five minutes are a fall here, so that the recording has some.
    local nervous='fall_min = 0.0002\nfall_deviations = 0.0'
    profile_of_detectors held "$nervous\nreduce_at = \"warning\""
    profile_of_detectors heard "$nervous\nreduce_at = \"never\""
    for way in held heard; do
        run $way --config "$work/$way.toml" --for 300s --speed 20
        case_is "a run in which falls are said and $way" 0 $?
        "$program" replay "$work/$way" >/dev/null 2>&1
        case_is "and its replay says the same" 0 $?
    done
    local sent alerts
    read -r sent alerts < <(sent_while_held held)
    case_over "alerts that hold" "$alerts" 0
    case_is "orders that take risk while they hold" 0 "$sent"
    read -r sent alerts < <(sent_while_held heard)
    case_over "control: where nobody heeds them such orders are sent" "$sent" 0
}
