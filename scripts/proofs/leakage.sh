# Nothing that is forecast knows what comes later: what was said is the same without what follows, labels that were dealt by chance teach nothing, and
# somebody who has seen the end of the tape is noticed. Sourced by prove.

# evaluated NAME EXPRESSION: a Python expression over an evaluation `e` and its rows by name `r`.
evaluated() {
    python3 - "$work/$1.json" "$2" <<'PY'
import json, sys
e = json.load(open(sys.argv[1]))["evaluations"][0]
r = {row["name"]: row for row in e["rows"]}
print(eval(sys.argv[2]))
PY
}

evaluate() { "$program" evaluate --on data/binance-20240808 --json "${@:2}" >"$work/$1.json" 2>"$work/$1.err"; }

prove_leakage() {
    evaluate own
    case_is "members and ensemble over the shipped recording" 0 $?
    case_is "marks at which anybody knew what comes" 0 "$(evaluated own 'e["leakage"]["differ"]')"
    case_over "marks that were compared" "$(evaluated own 'e["leakage"]["compared"]')" 50000
    case_over "samples left out before test parts, for their outcome overlaps" "$(evaluated own 'e["purged"]')" 5
    case_is "what is fitted to shuffled labels has no skill" True "$(evaluated own 'r["the same on shuffled labels"]["skill"] < 0.05')"
    case_is "claims that too little was decided for are not called met" 0 "$(evaluated own 'sum(t["verdict"] == "met" for t in e["targets"])')"
    evaluate planted --plant-look-ahead
    case_is "control: somebody who has seen the end of the tape fails it" 1 $?
    case_over "control: marks at which that is seen" "$(evaluated planted 'e["leakage"]["differ"]')" 100
    case_is "skill is seen where there is some: it is right in" True "$(evaluated planted 'r["sentiment"]["accuracy"] > 0.8 and r["sentiment"]["skill"] > 0.2')"
    evaluate shuffled --plant-look-ahead --shuffle-labels
    case_is "with outcomes dealt by chance even that one knows nothing" True "$(evaluated shuffled 'r["sentiment"]["skill"] < 0.05 and abs(r["sentiment"]["mcc"]) < 0.15')"
    evaluate again
    case_is "measured again it is the same" "" "$(diff "$work/own.json" "$work/again.json")"
}
