"""parse_exposition.py PROGRAM: another project's parser finds in the program's output what the program put in."""
import subprocess
import sys

try:
    from prometheus_client.parser import text_string_to_metric_families
except ImportError:
    sys.exit("the parser is missing: install python3-prometheus-client")

COUNTERS = """allocations allocations_from_reset evictions registrations duplicate_blocks registration_dedup stagings
match_hashes_requested match_blocks_returned scan_hashes_requested scan_blocks_returned eager_primary_to_inactive
allocate_atomic_rollback release_primary_noop release_duplicate_noop""".split()
GAUGES = "inflight_mutable inflight_immutable reset_pool_size inactive_pool_size".split()
POOLS = [("G1", 100), ('back\\slash "quoted"\nline, {braces} = \u00fc', 200)]
EXTERNAL = {"worker_id": "w0", "path": "C:\\new", "empty": ""}


def expected():
    """Per family its name, type, and a sample for each pool. The parser takes `_total` off the names of counters."""
    for index, name in enumerate(COUNTERS + GAUGES):
        kind = "counter" if name in COUNTERS else "gauge"
        suffix = "_total" if kind == "counter" else ""
        sign = -1 if name == "inflight_immutable" else 1
        yield (f"kvbm_{name}", kind,
               [(f"kvbm_{name}{suffix}", {"pool": pool, **EXTERNAL}, sign * (first + index)) for pool, first in POOLS])


def main():
    text = subprocess.run([sys.argv[1]], check=True, capture_output=True).stdout.decode()
    families = list(text_string_to_metric_families(text))
    found = [(family.name, family.type, [(sample.name, sample.labels, sample.value) for sample in family.samples])
             for family in families]
    assert found == list(expected()), found
    assert all(family.documentation for family in families)
    # Values are decimal integers, and pool comes first: a parser does not tell.
    for line in text.splitlines():
        if not line.startswith("#"):
            assert '{pool="' in line and line.rsplit(" ", 1)[1].lstrip("-").isdigit(), line
    assert text.endswith("\n")


main()
