"""How results look: table, csv, json; the same for any number of jobs; what each option does to them."""
import hashlib
import json
import re
import unittest

from program import SMALL_TRACE, SOURCE, TRACE, ToolTest

BURST = ("Timestamp,Session ID,Model,Request tokens,Response tokens\n5,a,x,472,18\n45,,x,1087,230\n"
         "118,a,x,2100,1\n130,,x,0,0\n")


class Formats(ToolTest):
    def test_csv_and_json_have_the_same_fields_in_the_same_order(self):
        arguments = ("replay", self.small_trace(), "--capacity", "2,unlimited", "--policy", "lru,multi-lru")
        rows = self.csv_of(*arguments)
        runs = self.json_of(*arguments)["runs"]
        self.assertEqual(len(rows), 4)
        self.assertEqual(len(runs), 4)
        for row, run in zip(rows, runs):
            self.assertEqual(list(row), list(run))
            for name, value in run.items():
                if isinstance(value, float):
                    self.assertEqual(float(row[name]), value)
                else:
                    self.assertEqual(row[name], json.dumps(value) if not isinstance(value, str) else value)

    def test_a_run_has_the_fields_of_the_description(self):
        run = self.json_of("replay", self.small_trace(), "--capacity", "2")["runs"][0]
        self.assertEqual({name: run[name] for name in run if not isinstance(run[name], float)}, {
            "policy": "lru", "mode": "manager", "order": "tail", "capacity": 2, "sketch": "", "requests": 2,
            "block_references": 5, "input_tokens": 2200, "block_hits": 1, "token_hits": 512, "evictions": 1,
            "resident": 2, "duplicates": 0, "requests_with_hit": 1, "cut_requests": 1, "skipped_blocks": 1,
            "skipped_lines": 0, "synthesised": False})
        self.assertEqual({name: round(run[name], 6) for name in run if isinstance(run[name], float)}, {
            "block_hit_rate": 0.2, "token_hit_rate": 0.232727, "full_block_token_rate": 0.232727,
            "mean_block_hit_rate": 0.25, "mean_token_hit_rate": 0.284444, "ceiling": 1.0})

    def test_json_names_the_tool_and_the_trace(self):
        path = self.small_trace()
        whole = self.json_of("replay", path)
        self.assertEqual(list(whole), ["tool", "version", "trace", "runs"])
        self.assertEqual(whole["tool"], "kvbm")
        self.assertEqual("kvbm " + whole["version"] + "\n", self.succeeds("--version"))
        self.assertEqual(whole["trace"], {
            "path": str(path), "sha256": hashlib.sha256(SMALL_TRACE.encode()).hexdigest(), "format": "mooncake",
            "synthesised": False, "sessions": "", "block_size": 512, "requests": 2, "block_references": 5,
            "distinct_blocks": 4, "skipped_lines": 0, "blank_lines": 0, "empty_rows": 0})

    def test_a_path_that_is_no_text_does_not_break_json(self):
        path = self.scratch / b"\xff\"\\.jsonl".decode(errors="surrogateescape")
        path.write_text(SMALL_TRACE)
        self.assertEqual(self.json_of("replay", path)["trace"]["path"], str(self.scratch) + '/\ufffd"\\.jsonl')

    def test_unlimited_is_a_word_and_other_capacities_are_numbers(self):
        runs = self.json_of("replay", self.small_trace(), "--capacity", "3,unlimited")["runs"]
        self.assertEqual([run["capacity"] for run in runs], [3, "unlimited"])

    def test_the_table_is_aligned_with_thousands_separated_and_rates_of_four_digits(self):
        text = self.succeeds("replay", TRACE, "--capacity", "32,10000,unlimited")
        self.assertEqual(text, f"""\
{TRACE}: 12,031 requests, 288,500 block references, block size 512
mode manager, order tail, policy lru

 capacity  block_hits  token_hits  evictions  block_hit_rate  token_hit_rate  ceiling
       32      12,030   6,159,360    185,071          0.0417          0.0425   0.1138
   10,000      61,046  31,238,981    217,454          0.2116          0.2157   0.5775
unlimited     105,710  54,098,411          0          0.3664          0.3736   1.0000
""")

    def test_the_table_groups_policies(self):
        text = self.succeeds("replay", self.small_trace(), "--capacity", "2,5", "--policy", "lineage-fifo,multi-lru")
        self.assertEqual(text.split("\n", 1)[1], """\
mode manager, order tail, sketch compat

policy        capacity  block_hits  token_hits  evictions  block_hit_rate  token_hit_rate  ceiling
lineage-fifo         2           1         512          1          0.2000          0.2327   1.0000
lineage-fifo         5           1         512          0          0.2000          0.2327   1.0000

multi-lru            2           1         512          1          0.2000          0.2327   1.0000
multi-lru            5           1         512          0          0.2000          0.2327   1.0000
""")

    def test_the_table_of_a_trace_has_a_fact_a_line(self):
        text = self.succeeds("inspect", TRACE)
        for line in ("format                          mooncake",
                     "requests                             12,031",
                     "input_tokens                    144,793,823",
                     "span_ms                           3,536,999",
                     "blocks_per_request_p50                   14"):
            self.assertIn(f"\n{line}\n", text)

    def test_facts_of_a_trace_are_the_same_in_csv_and_json(self):
        facts = self.json_of("inspect", self.small_trace())["trace"]
        rows = self.csv_of("inspect", self.small_trace())
        self.assertEqual(len(rows), 1)
        self.assertEqual(list(rows[0]), list(facts))
        self.assertEqual(rows[0]["input_tokens"], "2200")
        self.assertEqual(rows[0]["reuse_distance_p50"], str(facts["reuse_distance_p50"]))

    def test_csv_quotes_what_must_be_quoted(self):
        path = self.file('a,"b.jsonl', SMALL_TRACE)
        self.assertEqual(self.csv_of("inspect", path)[0]["path"], str(path))


class Options(ToolTest):
    def hits(self, *arguments):
        return [run["block_hits"] for run in self.json_of("replay", *arguments)["runs"]]

    def test_any_number_of_jobs_gives_the_same_bytes(self):
        arguments = ("replay", TRACE, "--limit", "2000", "--capacity", "32,1000,5000,unlimited", "--policy",
                     "lru,multi-lru,lineage-fifo")
        for output in ("table", "csv", "json"):
            texts = {self.succeeds(*arguments, "--output", output, "--jobs", jobs) for jobs in ("1", "2", "7")}
            self.assertEqual(len(texts), 1)

    def test_results_come_in_the_order_asked_for(self):
        runs = self.json_of("replay", self.small_trace(), "--capacity", "5,2,unlimited,3", "--policy",
                            "fifo,lru", "--jobs", "3")["runs"]
        self.assertEqual([(run["policy"], run["capacity"]) for run in runs],
                         [(policy, capacity) for policy in ("fifo", "lru") for capacity in (5, 2, "unlimited", 3)])

    def test_capacities_of_tokens_are_rounded_down_to_blocks(self):
        runs = self.json_of("replay", self.small_trace(), "--capacity", "1K,3K,1M,64K")["runs"]
        self.assertEqual([run["capacity"] for run in runs], [2, 6, 2048, 128])
        runs = self.json_of("replay", "--generate", "flood", "--requests", "5", "--block-size", "1024", "--capacity",
                            "1K,1M")["runs"]
        self.assertEqual([run["capacity"] for run in runs], [1, 1024])
        trace = self.file("t.jsonl", '{"timestamp":0,"input_length":700,"output_length":0,"hash_ids":[1]}\n')
        runs = self.json_of("replay", trace, "--block-size", "700", "--mode", "ideal", "--capacity", "1K,2K")["runs"]
        self.assertEqual([run["capacity"] for run in runs], [1, 2])

    def test_a_capacity_beyond_memory_costs_no_memory(self):
        self.assertEqual(self.hits(self.small_trace(), "--capacity", "18446744073709551615"), [1])

    def test_without_a_list_there_are_15_capacities(self):
        runs = self.json_of("replay", self.small_trace())["runs"]
        self.assertEqual([run["capacity"] for run in runs],
                         [32, 128, 512, 1000, 2048, 5000, 5859, 8192, 10000, 20000, 30000, 32768, 50000, 97656,
                          "unlimited"])

    def test_without_a_trace_the_workload_is_multi_turn(self):
        arguments = ("--requests", "300", "--capacity", "100")
        whole = self.json_of("replay", *arguments)
        self.assertEqual(whole["trace"]["path"], "multi-turn")
        self.assertEqual(whole, self.json_of("replay", "--generate", "multi-turn", *arguments))

    def test_mode_and_order(self):
        self.assertEqual(self.hits(TRACE, "--capacity", "32", "--mode", "ideal", "--order", "head"), [9300])
        self.assertEqual(self.hits(TRACE, "--capacity", "32", "--order", "head"), [12030])

    def test_sketch(self):
        arguments = (TRACE, "--capacity", "1000", "--policy", "multi-lru")
        compat = self.json_of("replay", *arguments)["runs"][0]
        blocked = self.json_of("replay", *arguments, "--sketch", "blocked")["runs"][0]
        self.assertEqual((compat["sketch"], blocked["sketch"]), ("compat", "blocked"))
        self.assertEqual(compat, self.json_of("replay", *arguments, "--sketch", "compat")["runs"][0])
        self.assertNotEqual(compat["block_hits"], blocked["block_hits"])

    def test_count_from_and_limit(self):
        path = self.small_trace()
        self.assertEqual(self.json_of("replay", path, "--limit", "1")["runs"][0]["requests"], 1)
        run = self.json_of("replay", path, "--count-from", "1")["runs"][0]
        self.assertEqual((run["requests"], run["block_references"], run["block_hits"]), (1, 2, 1))
        text = self.succeeds("replay", path, "--count-from", "1", "--limit", "2")
        self.assertIn("policy lru, counted from request 1, the first 2 requests\n", text)

    def test_format_and_block_size(self):
        trace = self.file("t.jsonl", '{"timestamp":1,"input_length":40,"output_length":0,"hash_ids":[1,2,3]}\n')
        facts = self.json_of("inspect", trace, "--format", "qwen")["trace"]
        self.assertEqual((facts["format"], facts["block_size"], facts["first_time_ms"]), ("qwen", 16, 1000))
        facts = self.json_of("inspect", trace, "--block-size", "16")["trace"]
        self.assertEqual((facts["format"], facts["block_size"], facts["first_time_ms"]), ("mooncake", 16, 1))


class Synthesised(ToolTest):
    def test_results_of_lengths_alone_say_so(self):
        path = self.file("burst.csv", BURST)
        text = self.succeeds("replay", path)
        self.assertTrue(text.startswith(f"{path} (synthesised): 3 requests"), text)
        self.assertEqual({row["synthesised"] for row in self.csv_of("replay", path)}, {"true"})
        whole = self.json_of("replay", path)
        self.assertIs(whole["trace"]["synthesised"], True)
        self.assertEqual(whole["trace"]["sessions"], "labelled")
        self.assertEqual(whole["trace"]["empty_rows"], 1)
        self.assertIs(whole["runs"][0]["synthesised"], True)
        self.assertIs(self.json_of("inspect", path)["trace"]["synthesised"], True)
        self.assertIn("(synthesised)", self.succeeds("inspect", path, "--after-replay"))

    def test_sessions_decide_what_is_shared(self):
        path = self.file("burst.csv", BURST)
        hits = lambda *options: self.json_of("replay", path, "--capacity", "unlimited",
                                             *options)["runs"][0]["block_hits"]
        self.assertEqual(hits(), 1)  # the second request of a has the first one's block
        self.assertEqual(hits("--sessions", "independent"), 0)
        self.assertEqual(hits("--sessions", "independent", "--shared-prefix", "1024"), 1 + 2)
        self.assertEqual(hits("--sessions", "greedy"), 1 + 3)
        self.assertEqual(hits("--sessions", "greedy", "--session-gap", "1"), 0)

    def test_the_seed_names_blocks_and_changes_no_hit(self):
        path = self.file("burst.csv", BURST)
        facts = [self.json_of("inspect", path, "--seed", seed)["trace"] for seed in ("1", "2")]
        self.assertNotEqual(facts[0]["largest_id"], facts[1]["largest_id"])
        self.assertEqual(facts[0]["reuses"], facts[1]["reuses"])


class AfterReplay(ToolTest):
    def test_shows_blocks_by_state_chains_uses_and_ages(self):
        whole = self.json_of("inspect", self.small_trace(), "--after-replay", "--capacity", "10")
        self.assertEqual(list(whole), ["tool", "version", "trace", "run", "cache", "most_used"])
        self.assertEqual(whole["run"], self.json_of("replay", self.small_trace(), "--capacity", "10")["runs"][0])
        self.assertEqual(whole["cache"], {
            "blocks": 10, "reset": 6, "mutable": 0, "staged": 0, "primary": 0, "duplicate": 0, "inactive": 4,
            "references": 0, "roots": 1, "chains": 2, "unreachable": 0, "chain_length_p50": 2, "chain_length_p90": 3,
            "chain_length_p99": 3, "chain_length_max": 3, "reused": 1, "uses_p50": 1, "uses_p90": 2, "uses_p99": 2,
            "uses_max": 2, "age_p50": 0, "age_p90": 1, "age_p99": 1, "age_max": 1})
        self.assertEqual([(block["position"], block["uses"], block["age"]) for block in whole["most_used"]],
                         [(0, 2, 0), (1, 1, 0), (1, 1, 1), (2, 1, 1)])
        self.assertEqual(whole["most_used"][0], {"block_id": 0, "position": 0, "uses": 2, "age": 0,
                                                 "sequence_hash": "0031deceaedbe1eb3640000000000000"})

    def test_csv_is_one_line_about_the_cache(self):
        rows = self.csv_of("inspect", self.small_trace(), "--after-replay")
        self.assertEqual(len(rows), 1)
        self.assertEqual((rows[0]["blocks"], rows[0]["inactive"]), ("4", "4"))

    def test_the_table_has_both(self):
        text = self.succeeds("inspect", TRACE, "--after-replay", "--capacity", "10000", "--top", "2", "--policy",
                             "lineage-fifo")
        self.assertRegex(text, r"the cache after 12,031 requests\npolicy lineage-fifo, order tail, capacity 10,000, "
                               r"block hit rate 0\.1651, 230,879 evictions\n")
        self.assertIn("\ninactive          10,000\n", text)
        self.assertRegex(text, r"\n\nblock_id  position    uses  age  sequence_hash\n"
                               r" +0 +0  12,031    0  0031deceaedbe1eb3640000000000000\n.*\n\Z")

    def test_order_sketch_and_limit_are_those_of_a_replay(self):
        arguments = ("--order", "head", "--policy", "multi-lru", "--sketch", "blocked", "--limit", "500", "--capacity",
                     "100")
        whole = self.json_of("inspect", TRACE, "--after-replay", *arguments)
        self.assertEqual(whole["run"], self.json_of("replay", TRACE, *arguments)["runs"][0])
        self.assertIn("sketch blocked", self.succeeds("inspect", TRACE, "--after-replay", *arguments))

    def test_a_capacity_that_is_none_is_refused(self):
        self.refuses("--capacity: x: not a number of blocks, of tokens with K or M, or unlimited", "inspect",
                     self.small_trace(), "--after-replay", "--capacity", "x")


class Readme(ToolTest):
    def test_the_line_that_the_readme_promises_prints_the_table(self):
        readme = (SOURCE / "README.md").read_text()
        line = re.search(r"^tools/run (replay data/\S+)", readme, re.MULTILINE)[1]
        text = self.succeeds(*line.split(), cwd=SOURCE)
        self.assertEqual(len(text.splitlines()), 3 + 1 + 15)


if __name__ == "__main__":
    unittest.main()
