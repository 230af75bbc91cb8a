"""kvbm replay --mode request: whole requests through the scheduler."""
import json
import re
import subprocess
import unittest

from program import TRACE, ToolTest, run

FIELDS = ["policy", "mode", "capacity", "concurrency", "chunk", "completed", "rejected", "preemptions", "steps",
          "prompt_tokens", "prompt_tokens_cached", "recomputed_tokens", "resumed_tokens_cached", "output_tokens",
          "evictions", "peak_active_blocks", "skipped_lines", "synthesised", "prompt_cache_rate"]
MODE = ("--mode", "request")


class Requests(ToolTest):
    def runs(self, *arguments):
        return self.json_of("replay", *arguments, *MODE)["runs"]

    def test_run_from_prompt_to_last_token(self):
        # A prefill of 1,300 tokens and 4 decodes; the other prompt finds the first block of 512.
        self.assertEqual(self.runs(self.small_trace(), "--capacity", "8", "--concurrency", "1"), [{
            "policy": "lru", "mode": "request", "capacity": 8, "concurrency": 1, "chunk": 2048, "completed": 2,
            "rejected": 0, "preemptions": 0, "steps": 11, "prompt_tokens": 2200, "prompt_tokens_cached": 512,
            "recomputed_tokens": 0, "resumed_tokens_cached": 0, "output_tokens": 11, "evictions": 0,
            "peak_active_blocks": 3, "skipped_lines": 0, "synthesised": False, "prompt_cache_rate": 512 / 2200}])

    def test_have_the_same_fields_in_csv_and_json(self):
        arguments = ("replay", self.small_trace(), "--capacity", "3,unlimited", "--policy", "lru,fifo", *MODE)
        rows, runs = self.csv_of(*arguments), self.json_of(*arguments)["runs"]
        self.assertEqual([(run["policy"], run["capacity"]) for run in runs],
                         [("lru", 3), ("lru", "unlimited"), ("fifo", 3), ("fifo", "unlimited")])
        for row, one in zip(rows, runs, strict=True):
            self.assertEqual(list(row), FIELDS)
            self.assertEqual(list(one), FIELDS)
            self.assertEqual(row["output_tokens"], str(one["output_tokens"]))

    def test_are_told_of_in_a_table(self):
        path = self.small_trace()
        text = self.succeeds("replay", path, "--capacity", "2,8", "--chunk", "1000", "--limit-output", "5", "--limit",
                             "2", *MODE)
        self.assertEqual(text, f"""\
{path}: 2 requests, block size 512
mode request, at most 16 at once, prefill in chunks of 1,000 tokens, policy lru, at most 5 tokens of output, the \
first 2 requests

capacity  completed  rejected  preemptions  steps  recomputed_tokens  evictions  peak_active_blocks  prompt_cache_rate
       2          1         1            0      5                  0          0                   2             0.0000
       8          2         0            0      6                  0          0                   5             0.0000
""")

    def test_give_way_when_blocks_run_out_and_still_end(self):
        arguments = ("--generate", "agent", "--requests", "200", "--output-length", "600", "--capacity")
        tight, ample = self.runs(*arguments, "60,unlimited")
        self.assertGreater(tight["preemptions"], 0)
        self.assertEqual(ample["preemptions"], 0)
        self.assertEqual((tight["completed"] + tight["rejected"], ample["completed"]), (200, 200))

    def test_alone_find_the_full_blocks_that_the_manager_finds(self):
        arguments = (TRACE, "--limit", "400", "--capacity", "unlimited")
        (whole,) = self.runs(*arguments, "--concurrency", "1", "--limit-output", "1")
        (blocks,) = self.json_of("replay", *arguments)["runs"]
        self.assertEqual((whole["completed"], whole["output_tokens"]), (400, 400))
        # A hit of the last block is given up where it is all of the prompt, or is a partial block.
        self.assertLessEqual(whole["prompt_tokens_cached"], 512 * blocks["block_hits"])
        self.assertGreaterEqual(whole["prompt_tokens_cached"], 512 * (blocks["block_hits"] - 400))

    def test_any_number_of_jobs_gives_the_same_bytes(self):
        arguments = ("replay", TRACE, "--limit", "150", "--capacity", "300,1000,unlimited", "--policy",
                     "lru,multi-lru,lineage-tick", "--limit-output", "20", *MODE)
        for output in ("table", "csv", "json"):
            self.assertEqual(len({self.succeeds(*arguments, "--output", output, "--jobs", jobs)
                                  for jobs in ("1", "2", "5")}), 1)

    def test_are_compared_with_expected_rows(self):
        arguments = ("replay", self.small_trace(), "--capacity", "8", *MODE)
        table = self.file("expected.csv", self.succeeds(*arguments, "--output", "csv"))
        self.succeeds(*arguments, "--expect", table)
        table = self.file("other.csv", "mode,capacity,completed\nrequest,8,3\n")
        done = run(*arguments, "--expect", table)
        self.assertEqual((done.returncode, done.stderr.decode()),
                         (4, "mode request, capacity 8: completed: expected 3, got 2\n"))


class Options(ToolTest):
    def test_of_another_mode_are_refused(self):
        for option, value in (("--order", "tail"), ("--sketch", "compat"), ("--count-from", "1")):
            self.refuses(f"{option} is an option of the modes manager and ideal", "replay", self.small_trace(), *MODE,
                         option, value)
        for option in ("--concurrency", "--chunk", "--limit-output"):
            for mode in ("manager", "ideal"):
                self.refuses(f"{option} is an option of the mode request (--mode request)", "replay",
                             self.small_trace(), "--mode", mode, option, "1")

    def test_that_are_zero_are_refused(self):
        for option in ("--concurrency", "--chunk", "--limit-output"):
            done = run("replay", self.small_trace(), *MODE, option, "0")
            self.assertEqual((done.returncode, done.stdout), (2, b""), option)
            self.assertIn(option, done.stderr.decode())

    def test_capacities_are_checked_before_anything_runs(self):
        self.refuses("--capacity: x: not a number of blocks, of tokens with K or M, or unlimited", "replay",
                     self.small_trace(), *MODE, "--capacity", "8,x")

    def test_limits_bound_what_runs_at_once(self):
        arguments = ("replay", "--generate", "flood", "--requests", "40", "--block-size", "16", *MODE, "--capacity",
                     "unlimited")
        peaks = [self.json_of(*arguments, "--concurrency", limit)["runs"][0]["peak_active_blocks"]
                 for limit in ("1", "2", "40")]
        self.assertEqual(peaks, sorted(set(peaks)))


class Plot(ToolTest):
    def draw(self, *arguments):
        target = self.scratch / "blocks.svg"
        done = run("replay", *MODE, *arguments, "--plot", target, stdout=subprocess.PIPE)
        self.assertEqual((done.returncode, done.stderr), (0, b""))
        return target.read_text()

    def test_has_a_panel_per_run_and_an_area_per_state(self):
        drawing = self.draw(self.small_trace(), "--capacity", "4,unlimited", "--policy", "lru,lineage-fifo")
        self.assertTrue(drawing.startswith("<?xml"))
        self.assertTrue(drawing.endswith("</svg>\n"))
        for policy in ("lru", "lineage-fifo"):
            for capacity in ("4 blocks", "unlimited"):
                self.assertEqual(drawing.count(f"<text>{policy}, {capacity}</text>"), 1)
        for state in ("free", "inactive", "being written", "registered, held"):
            self.assertEqual(drawing.count(f"<text>{state}</text>"), 4, state)
        self.assertEqual(len(re.findall(r'id="gnuplot_plot_\d+[a-d]"', drawing)), 16)

    def test_of_many_steps_stays_small(self):
        arguments = ("--generate", "flood", "--requests", "300", "--block-size", "16", "--capacity", "unlimited",
                     "--concurrency", "1", "--output-length", "100")
        steps = json.loads(run("replay", *MODE, *arguments, "--output", "json").stdout)["runs"][0]["steps"]
        self.assertGreater(steps, 10_000)
        self.assertLess(len(self.draw(*arguments)), 400_000)


if __name__ == "__main__":
    unittest.main()
