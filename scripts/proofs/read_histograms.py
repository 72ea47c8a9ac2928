"""Reads the laboratory's .hlog and .hgrm with HdrHistogram's own reader, and compares them with report.json."""
import json
import math
import pathlib
import re
import sys

from hdrh.histogram import HdrHistogram
from hdrh.log import HistogramLogReader

folder = pathlib.Path(sys.argv[1])
report = json.loads((folder / "report.json").read_text())
expected = {s["name"]: s["frame_to_order"] for s in report["scenarios"]}
expected |= {s["name"]: s["round_trip"] for s in report["sockets"]}


def tag(name):
    return "".join(c if c.isalnum() else "-" for c in name)


by_tag = {tag(name): row for name, row in expected.items()}
reader = HistogramLogReader(str(folder / "latencies.hlog"), HdrHistogram(1, 60_000_000_000, 3))
found = {}
while (histogram := reader.get_next_interval_histogram()) is not None:
    found[histogram.tag] = histogram
reader.close()
if set(found) != set(by_tag):
    sys.exit(f"tags {sorted(found)} are not {sorted(by_tag)}")



def around(histogram, percentile):
    """The values of the two ranks that may be meant by so many per cent: a product like 0.999 x 10000 is not exact."""
    wanted = math.ceil(histogram.get_total_count() * percentile / 100 - 1e-9)
    counted, low = 0, None
    for item in histogram.get_recorded_iterator():
        counted += item.count_added_in_this_iter_step
        if low is None and counted >= wanted:
            low = item.value_iterated_to
        if counted >= wanted + 1:
            return low, item.value_iterated_to
    return low, low


compared = 0
for name, row in by_tag.items():
    histogram = found[name]
    if row["count"] == 0:
        continue
    if histogram.get_total_count() != row["count"]:
        sys.exit(f"{name}: {histogram.get_total_count()} values, {row['count']} expected")
    text = (folder / f"{name}.hgrm").read_text()
    lines = [re.split(r"\s+", line.strip()) for line in text.splitlines()[2:] if not line.startswith("#")]
    for key, percentile in (("p50", 50.0), ("p90", 90.0), ("p99", 99.0), ("p999", 99.9), ("max", 100.0)):
        low, high = around(histogram, percentile)
        # Three digits: two neighbouring values may stand for the same.
        if row["count"] and not low * 0.998 <= row[key] <= high * 1.002:
            sys.exit(f"{name}: {key} is {low} to {high} in the log and {row[key]} in the report")
        compared += 1
    last, total = lines[-1], int(lines[-1][2])
    if float(last[1]) != 1.0 or total != row["count"] or abs(float(last[0]) - row["max"]) > row["max"] * 0.002:
        sys.exit(f"{name}: the .hgrm ends with {last}")
    counts = [int(line[2]) for line in lines]
    values = [float(line[0]) for line in lines]
    if counts != sorted(counts) or values != sorted(values):
        sys.exit(f"{name}: the .hgrm does not rise")
    compared += 1
print(f"{compared} figures of {len(by_tag)} histograms")
