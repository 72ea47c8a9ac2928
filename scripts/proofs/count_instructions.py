"""What callgrind counted, as one number: of instructions, or with --calls of calls.

count_instructions.py [--calls] WORK NOTHING FRAMES [NAME]: WORK is a profile with the work, NOTHING one without it; the
difference by FRAMES. With NAME only functions whose name holds it count, without what they call.
"""
import re
import sys


def counts(path, wanted):
    """Instructions inside, and calls of, what is wanted."""
    instructions, calls, names, inside, callee, called = 0, 0, {}, not wanted, "", False
    for line in open(path, encoding="utf-8", errors="replace"):
        named = re.match(r"(c?fn)=\((\d+)\)(?: (.*))?", line)
        if named:
            if named[3]:
                names[named[2]] = named[3]
            if named[1] == "fn":
                inside = wanted in names.get(named[2], "")
            else:
                callee = names.get(named[2], "")
        elif line.startswith("calls="):
            calls += int(line[6:].split()[0]) if wanted in callee else 0
            called = True  # the next line is the price of the whole call: it is counted where it was paid
        elif line[:1].isdigit() or line[:1] in "+-*":
            if inside and not called:
                instructions += int(line.split()[1])
            called = False
    return instructions, calls


arguments = [a for a in sys.argv[1:] if a != "--calls"]
which = 1 if "--calls" in sys.argv else 0
wanted = arguments[3] if len(arguments) > 3 else ""
work, nothing = (counts(path, wanted)[which] for path in arguments[:2])
difference = (work - nothing) / int(arguments[2])
print(round(difference * 100) if which else round(difference))
