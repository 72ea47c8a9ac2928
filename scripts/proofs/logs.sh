# What a run says of itself: each line by its schema, nothing left out that the journal has; and its memory does not grow.
# Sourced by prove.

# The shipped profile with a [log] section of its own.
profile_with() {
    { cat config/profiles/paper.toml; printf '\n[log]\n%s\n' "$1"; } >"$work/$2.toml"
}

# Lines of a log that are what the schema says, and those that are not.
lines_by_schema() {
    "$python" - docs/schema/log.json "$1" <<'EOF'
import json, sys
from jsonschema import Draft202012Validator
schema = Draft202012Validator(json.load(open(sys.argv[1])))
good = bad = 0
for line in open(sys.argv[2]):
    try:
        ok = schema.is_valid(json.loads(line))
    except ValueError:
        ok = False
    good, bad = good + ok, bad + (not ok)
print(good, bad)
EOF
}

# Lines of the log with these words, and records of the journal of that kind.
lines_of() { grep -cE "\"message\":\"($2)\"" "$work/$1/engine.log"; }
records_of() { "$program" journal cat "$work/$1" 2>/dev/null | grep -c "\"kind\":\"$2\""; }

prove_logs() {
    if ! python_with jsonschema; then
        case_is "PyPI has jsonschema for us" yes "no: $(tail -n 1 "$work/venv.txt")"
        return
    fi
    profile_with 'format = "json"' json
    run json --config "$work/json.toml" --for 200s --speed 20 &
    local job=$!
    sleep 4
    "$program" ctl trading.halt --state "$work/json" >/dev/null 2>&1
    case_is "trading is halted by hand" 0 $?
    sleep 0.5
    "$program" ctl trading.resume --state "$work/json" >/dev/null 2>&1
    case_is "and resumed" 0 $?
    printf 'nonsense\n' | "$python" -c 'import socket, sys
s = socket.socket(socket.AF_UNIX); s.connect(sys.argv[1]); s.sendall(sys.stdin.buffer.read()); s.recv(4096)' "$work/json/engine.sock" 2>/dev/null
    wait $job
    case_is "a run that logs JSON ends well" 0 $?
    local log="$work/json/engine.log" good bad
    read -r good bad < <(lines_by_schema "$log")
    case_over "lines of its log" "$good" 100
    case_is "all of them are what the schema says" 0 "$bad"
    sed 's/"category":"trading"/"category":"weather"/' "$log" >"$work/changed.log"
    read -r good bad < <(lines_by_schema "$work/changed.log")
    case_over "control: lines of a category that there is not are refused" "$bad" 10
    case_is "orders: as many lines as records in the journal" "$(records_of json new-order)" "$(lines_of json order)"
    case_is "what became of them: as many lines as records" "$(records_of json order-update)" \
        "$(lines_of json 'acknowledged|part-filled|filled|canceled|rejected|expired|unsent|silent|found-open|not-found|cancel-refused')"
    case_is "refusals: as many lines as records" "$(records_of json refusal)" "$(lines_of json refused)"
    case_is "lines that found no room" 0 "$("$program" stat "$work/json" | awk '$1 == "log.shed" { print $2 }')"
    case_is "both are there, of risk, in their order behind the beginning" "active halted active" "$(grep '"category":"risk"' "$log" |
        grep -oE '"message":"(active|halted):' | cut -d'"' -f4 | tr -d : | uniq | head -n 3 | tr '\n' ' ' | sed 's/ $//')"
    case_over "and who asked for it, of security" "$(grep -c '"category":"security".*"method":"trading.halt"' "$log")" 0
    case_over "and who was turned away" "$(grep -c '"category":"security".*turned away' "$log")" 0
    case_is "nothing of it is in what the run keeps of its configuration" 0 "$(cat "$work"/json/blobs/* | grep -c '^\[log\]')"
    profile_with 'level = "warn"
[log.levels]
system = "off"' quiet
    run quiet --config "$work/quiet.toml" --for 60s --speed 20
    case_is "a run that logs warnings alone ends well" 0 $?
    case_over "there are some" "$(grep -c ' WARN ' "$work/quiet/engine.log")" 0
    case_is "and it says nothing else" 0 "$(grep -cE '^[^ ]+ (INFO|DEBUG) |^[^ ]+ [A-Z]+ +system ' "$work/quiet/engine.log")"
    profile_with 'format = "json"
[log.levels]
trading = "off"' dying
    run dying --config "$work/dying.toml" --for 200s --speed 20 --faults &
    job=$!
    sleep 3
    case_is "lines of a category that is off" 0 "$(grep -c '"category":"trading"' "$work/dying/engine.log")"
    case_over "orders that were sent up to there" "$("$program" stat "$work/dying" | awk '$1 == "gateway.usdm.sent" { print $2 }')" 0
    "$program" ctl log.level trading=info --state "$work/dying" --json >"$work/level.txt" 2>&1
    case_is "it is asked for while the run goes on" 0 $?
    "$program" ctl log.level trading=loud --state "$work/dying" >"$work/loud.txt" 2>&1
    case_is "a level that there is not is an error of usage" 2 $?
    "$program" ctl log.level security=off --state "$work/dying" >"$work/hidden.txt" 2>&1
    case_is "and so is hiding what is asked for" 2 $?
    sleep 1
    "$python" -c 'import socket, sys
s = socket.socket(socket.AF_UNIX); s.connect(sys.argv[1]); s.sendall(sys.argv[2].encode() + b"\n"); s.recv(4096)' \
        "$work/dying/engine.sock" '{"jsonrpc":"2.0","id":1,"method":"faults.panic","params":{"seat":"risk"}}' 2>/dev/null
    wait $job
    read -r good bad < <(lines_by_schema "$work/dying/engine.log")
    case_is "lines that are none where a stage dies" 0 "$bad"
    case_over "the change is one of security" "$(grep '"category":"security"' "$work/dying/engine.log" |
        grep -cF 'category\":\"trading\",\"level\":\"info')" 0
    case_over "lines of the category that was asked for" "$(grep -c '"category":"trading"' "$work/dying/engine.log")" 0
    case_over "its panic is one" "$(grep -c '"kind":"defect".*panicked' "$work/dying/engine.log")" 0

    profile_with 'colour = "red"' wrong
    run wrong --config "$work/wrong.toml" --for 1s
    case_is "a key that there is not is an error of the configuration" 3 $?

    run memory --for 300s --speed 20
    case_is "a run of 300 s ends well" 0 $?
    "$program" stat memory "$work/memory" --json >"$work/memory.txt"
    case_is "its arena is locked" true "$(first_field "$work/memory.txt" arena_locked)"
    case_is "nothing found no room in it" 0 "$(first_field "$work/memory.txt" arena_overflow_bytes)"
    local grown
    grown=$(first_field "$work/memory.txt" grown_bytes)
    case_over "the engine did not grow by 2 MiB from 5 s after its start to its end: $grown bytes" $((2097152 - ${grown:-9999999})) 0
    run leaking --canary --for 300s --speed 20
    "$program" stat memory "$work/leaking" --json >"$work/leaking.txt"
    case_over "control: one that gives nothing back is seen" "$(first_field "$work/leaking.txt" grown_bytes)" 4194304
}
