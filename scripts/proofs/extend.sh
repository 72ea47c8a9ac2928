# A strategy and a member of one's own: made by one command each in a copy of the project, tested, built into the program, traded and heard by
# configuration alone, and replayed.
# Sourced by prove.

prove_extend() {
    local copy=$work/copy config=$work/copy/extended.toml
    mkdir -p "$copy"
    git ls-files -z | xargs -0 cp --parents -t "$copy"
    "$program" new strategy contrarian --root "$copy" >"$work/new.txt" 2>&1
    case_is "a strategy is made by one command" 0 $?
    "$program" new strategy contrarian --root "$copy" >"$work/again.txt" 2>&1
    case_is "control: not twice under one name" 2 $?
    "$program" new member swings --root "$copy" >"$work/member.txt" 2>&1
    case_is "a member is made by one command" 0 $?
    "$program" new member contrarian --root "$copy" >"$work/taken.txt" 2>&1
    case_is "control: not under the name of a strategy" 2 $?
    "$program" new strategy Not_a_name --root "$copy" >"$work/wrong.txt" 2>&1
    case_is "control: nor under what is no name" 2 $?
    # The copy's crates are others than ours, everything they need from outside is the same: one folder for both.
    (cd "$copy" && CARGO_TARGET_DIR="$OLDPWD/target" cargo test --locked --quiet -p kimera-extension-contrarian -p kimera-extension-swings) >"$work/test.txt" 2>&1
    case_is "what was made compiles and passes its tests" 0 $?
    (cd "$copy" && CARGO_TARGET_DIR="$OLDPWD/target" cargo clippy --locked --quiet -p kimera-extension-contrarian -p kimera-extension-swings --all-targets -- -D warnings) >"$work/clippy.txt" 2>&1
    case_is "and has no warnings" 0 $?
    (cd "$copy" && CARGO_TARGET_DIR="$OLDPWD/target" cargo build --locked --quiet --bin kimera) >"$work/build.txt" 2>&1
    case_is "the program builds with both" 0 $?
    { sed 's/^\[ensemble\]$/&\nfurther = ["swings"]/' "$copy/config/profiles/paper.toml"; printf '\n[[session]]\nnumber = 2\nkind = "contrarian"\ncapital = "10000"\n'; } >"$config"
    local extended=target/debug/kimera
    "$extended" supervise --config "$config" --state "$work/run" --for 150s --speed 50 --json >"$work/run.json" 2>"$work/run.err"
    case_is "it trades in a run by configuration alone" 0 $?
    case_is "its session is there" "2 contrarian" "$(python3 -c 'import json,sys; s=json.load(open(sys.argv[1]))["sessions"][1]; print(s["session"], s["kind"])' "$work/run.json")"
    case_over "its member has voted" "$("$extended" stat "$work/run" | awk '$1 == "ensemble.votes.swings" { print $2 }')" 1000
    case_is "with the weight that a member from outside begins with" 0.02 "$(python3 -c 'import json,sys; print(json.load(open(sys.argv[1]))["weights"]["start"]["swings"])' "$work/run.json")"
    case_is "the replay of the run" identical "$("$extended" replay "$work/run" | head -c 9)"
    "$program" supervise --config "$config" --state "$work/without" --for 5s >"$work/without.txt" 2>&1
    case_is "control: a program without it knows no such kind" 3 $?
    sed 's/^\[ensemble\]$/&\nfurther = ["swings"]/' config/profiles/paper.toml >"$work/member.toml"
    "$program" topology --config "$work/member.toml" >"$work/unknown.txt" 2>&1
    case_is "control: nor such a member" 3 $?
    case_is "control: and says so" yes "$(grep -q 'no member is called "swings"' "$work/unknown.txt" && echo yes || echo no)"
}
