"""Every integer of the golden tables, through the command line: compared by the program itself (--expect), and read
from its JSON by another reader."""
import csv
import json
import unittest

from program import SOURCE, TRACE, ToolTest, run

# Table: rows, and the runs of the program that give them.
PRINTED_CAPACITIES = "32,128,512,2048,8192,32768,unlimited"
MODES_AND_ORDERS = [["--mode", mode, "--order", order] for mode in ("manager", "ideal") for order in ("tail", "head")]
TABLES = {
    "lru": (60, MODES_AND_ORDERS),
    "external": (7, [["--mode", "ideal", "--order", "head", "--capacity", PRINTED_CAPACITIES]]),
    "second_half_tail": (14, [["--mode", mode, "--capacity", PRINTED_CAPACITIES, "--count-from", "6015"]
                              for mode in ("manager", "ideal")]),
    "second_half_head": (7, [["--mode", "ideal", "--order", "head", "--capacity", PRINTED_CAPACITIES,
                              "--count-from", "6015"]]),
    "means": (10, [["--mode", mode, "--capacity", "1000,5000,10000,30000,unlimited"] for mode in ("manager", "ideal")]),
    "policies": (35, [["--capacity", "1000,2048,5000,10000,20000,30000,50000",
                       "--policy", "lru,lineage-tick,lineage-fifo,fifo,multi-lru"]]),
}
KEYS = ("policy", "mode", "order", "capacity")


def key_of(row):
    return tuple(str(row[name]) for name in KEYS)


def agrees(recorded, counted):
    """An integer is equal; a rate, which is written without its 0, is equal as far as it is written."""
    if recorded.startswith("."):
        return f"{counted:.{len(recorded) - 1}f}"[1:] == recorded
    return isinstance(counted, int) and str(counted) == recorded


class GoldenTable(ToolTest):
    def check(self, name):
        path = SOURCE / "data" / "golden" / f"conversation_{name}.csv"
        rows, runs = TABLES[name]
        with path.open(newline="") as file:
            recorded = {key_of(row): row for row in csv.DictReader(file)}
        self.assertEqual(len(recorded), rows)
        for arguments in runs:
            done = run("replay", TRACE, *arguments, "--jobs", "2", "--expect", path, "--output", "json")
            self.assertEqual((done.returncode, done.stderr.decode()), (0, ""), arguments)
            for counted in json.loads(done.stdout)["runs"]:
                row = recorded.pop(key_of(counted))
                for column in row.keys() - set(KEYS):
                    self.assertTrue(agrees(row[column], counted[column]),
                                    f"{key_of(counted)}, {column}: {row[column]}, counted {counted[column]}")
        self.assertEqual(recorded, {}, "rows that no run is about")


for table in TABLES:
    setattr(GoldenTable, f"test_{table}", lambda self, name=table: self.check(name))


class ConversationTrace(ToolTest):
    def test_has_the_recorded_facts(self):
        facts = self.json_of("inspect", TRACE)["trace"]
        recorded = {
            "sha256": "b8cbb061a85206d729d91cdc2981f43c9e0d99209dce588d3af5f7934408b9df", "format": "mooncake",
            "synthesised": False, "requests": 12031, "first_time_ms": 0, "span_ms": 3536999, "block_size": 512,
            "block_references": 288500, "distinct_blocks": 182790, "distinct_ids": 182790, "smallest_id": 0,
            "largest_id": 182789, "input_tokens": 144793823, "blocks_per_request_p50": 14,
            "blocks_per_request_p99": 167, "blocks_per_request_max": 247, "blocks_referenced_once": 138646,
            "blocks_referenced_twice": 25455, "blocks_referenced_3_to_9": 17348, "blocks_referenced_10_or_more": 1341,
            "blocks_in_every_request": 1, "times_backwards": 0, "requests_repeating_ids": 0, "ids_under_two_parents": 0,
            "requests_without_partial_block": 0, "empty_rows": 0, "blank_lines": 0, "skipped_lines": 0}
        self.assertEqual({name: facts[name] for name in recorded}, recorded)


if __name__ == "__main__":
    unittest.main()
