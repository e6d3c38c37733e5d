"""Prints pacl's times over the peers' from the lines that run.sh collected: python3 table.py times.jsonl"""
import json
import statistics
import sys

peers, ours = {}, {}
for line in open(sys.argv[1]):
    r = json.loads(line)
    if r["peer"] != "pacl":
        peers.setdefault((r["peer"].split()[0], r["work"], r["dtype"]), []).append((r["ms"], r["cpu_ms"]))
        continue
    ms = next(r[k] for k in ("ms_per_image", "ms_per_text", "ms_per_step", "ms_per_product") if k in r)
    key = r["work"], r.get("batch"), r["dtype"], r["instruction_set"]
    ours.setdefault(key, []).append((ms, r["processor_ms"], r["share"], r["processor_share"]))


def medians(rows):
    return [statistics.median(column) for column in zip(*rows)]


def over(runs, others):
    """Medians of the quotients of columns: round by round where both have as many."""
    if len(runs) != len(others):
        return [a / b for a, b in zip(medians(runs), medians(others))]
    return medians([[a / b for a, b in zip(*rows)] for rows in zip(runs, others)])


print(f"{'work':34} {'dtype':5} {'ms':>9} {'cpu ms':>9} {'% peak':>7} {'by cpu':>7}  over the peer (clock, processor time)")
for (work, batch, dtype, cpu), runs in ours.items():
    ms, used, share, by_cpu = medians(runs)
    names = {"encoder": f"vision batch {batch}, per image" if batch == 8 else f"vision batch {batch}", "dense": "vision stride 4",
             "text": "text, 50 prompts padded to 77, per prompt", "train": "PACL step B=64 T=196 768-768-512"}
    name = names.get(work, "")
    ratios = []
    for (peer, peer_work, peer_dtype), peer_runs in peers.items():
        if peer_work == name:
            clock, processor = over([run[:2] for run in runs], peer_runs)
            ratios.append(f"{peer} {peer_dtype} {clock:.2f}, {processor:.2f}")
    label = f"{work} {batch or ''} {cpu}"
    print(f"{label:34} {dtype:5} {ms:9.2f} {used:9.2f} {100 * share:7.0f} {100 * by_cpu:7.0f}  {'; '.join(ratios)}")
one, eight = (next((runs for (work, batch, dtype, _), runs in ours.items() if (work, batch, dtype) == ("encoder", n, "bf16")), []) for n in (1, 8))
if one and eight:
    print(f"batch 1 over batch 8, an image: {over(one, eight)[0]:.2f}")
