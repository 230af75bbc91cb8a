"""What the program tells its caller: exit codes 0 to 4, each with its sentence, and nothing half-said."""
import unittest

from program import SMALL_TRACE, ToolTest, run


class Done(ToolTest):
    def test_is_0(self):
        self.succeeds("replay", self.small_trace(), "--capacity", "2")

    def test_standard_input_is_a_trace(self):
        text = self.succeeds("replay", "-", "--capacity", "2", stdin=SMALL_TRACE)
        self.assertTrue(text.startswith("standard input: 2 requests, 5 block references, block size 512\n"), text)

    def test_version(self):
        self.assertRegex(self.succeeds("--version"), r"\Akvbm \d+\.\d+\.\d+\n\Z")


class InputOrOutputError(ToolTest):
    def test_missing_file(self):
        path = self.scratch / "missing.jsonl"
        for command in ("replay", "inspect", "hash"):
            self.fails(1, f"{path}: No such file or directory\n", command, path)

    def test_directory(self):
        for command in ("replay", "inspect", "hash"):
            self.fails(1, f"{self.scratch}: Is a directory\n", command, self.scratch)

    def test_file_below_a_file(self):
        path = self.small_trace() / "x"
        self.fails(1, f"{path}: Not a directory\n", "replay", path)

    def test_missing_file_of_expected_rows(self):
        path = self.scratch / "missing.csv"
        done = run("replay", self.small_trace(), "--capacity", "2", "--expect", path)
        self.assertEqual((done.returncode, done.stderr.decode()), (1, f"{path}: No such file or directory\n"))


class Usage(ToolTest):
    def test_no_subcommand(self):
        self.refuses("A subcommand is required")

    def test_unknown_subcommand(self):
        done = run("play")
        self.assertEqual((done.returncode, done.stdout), (2, b""))

    def test_unknown_option(self):
        self.refuses("The following argument was not expected: --fast", "replay", "--fast")

    def test_two_traces(self):
        done = run("replay", "a", "b")
        self.assertEqual((done.returncode, done.stdout), (2, b""))

    def test_capacities_that_are_none(self):
        trace = self.small_trace()
        for text in ("x", "-1", "1.5", "1k", "1KK", "K", "1G", "unlimitedx", "0x10", " 1"):
            self.refuses(f"--capacity: {text}: not a number of blocks, of tokens with K or M, or unlimited",
                         "replay", trace, f"--capacity={text}")

    def test_capacities_of_less_than_a_block(self):
        trace = self.small_trace()
        for text in ("0", "0K", "0M"):
            self.refuses(f"--capacity: {text}: less than one block of 512 tokens", "replay", trace, "-c", text)
        self.refuses("--capacity: 1K: less than one block of 2048 tokens", "replay", "--generate", "flood",
                     "--block-size", "2048", "-c", "1K")

    def test_capacities_too_large_to_count(self):
        trace = self.small_trace()
        for text in ("18446744073709551616", "99999999999999999999K", "18446744073709551615M"):
            self.refuses(f"--capacity: {text}: too large", "replay", trace, "-c", text)

    def test_empty_lists(self):
        for option in ("--capacity", "--policy"):
            self.assertEqual(run("replay", self.small_trace(), option, "").returncode, 2)

    def test_names_that_are_none(self):
        for option, name in (("--policy", "clock"), ("--policy", "LRU"), ("--mode", "real"), ("--order", "up"),
                             ("--output", "xml"), ("--sketch", "wide"), ("--format", "vllm"), ("--sessions", "all"),
                             ("--generate", "noise")):
            done = run("replay", option, name)
            self.assertEqual((done.returncode, done.stdout), (2, b""), option)
            self.assertIn(f"{option}: {name} not in", done.stderr.decode())

    def test_numbers_that_are_none(self):
        for option in ("--count-from", "--limit", "--jobs", "--block-size", "--max-bad", "--max-line", "--max-blocks",
                       "--seed", "--shared-prefix", "--requests", "--users"):
            for text in ("x", "-1", "+1", "1e3", "1.5", " 1", "18446744073709551616", ""):
                done = run("replay", f"{option}={text}")
                self.assertEqual((done.returncode, done.stdout), (2, b""), (option, text))
        for text in ("x", "-1", "nan", "inf", "1e999", ""):
            done = run("replay", self.small_trace(), f"--session-gap={text}")
            self.assertEqual((done.returncode, done.stdout), (2, b""), text)
        for text in ("0", "0.5", "1e3"):
            self.succeeds("replay", self.small_trace(), f"--session-gap={text}")

    def test_jobs_out_of_range(self):
        for jobs in ("0", "1025"):
            self.assertEqual(run("replay", "--jobs", jobs).returncode, 2)

    def test_policy_of_another_mode(self):
        self.refuses('policy "lineage-fifo" does not run in mode "ideal"', "replay", self.small_trace(), "--mode",
                     "ideal", "--policy", "lineage-fifo")

    def test_block_size_that_no_manager_has(self):
        trace = self.file("t.jsonl", '{"timestamp":0,"input_length":3,"output_length":0,"hash_ids":[1]}\n')
        self.refuses("Builder validation failed: Invalid block_size 3: must be a power of 2 between 1 and 1024",
                     "replay", trace, "--block-size", "3")
        self.succeeds("replay", trace, "--block-size", "3", "--mode", "ideal")
        self.assertEqual(run("replay", trace, "--block-size", "0").returncode, 2)

    def test_nothing_to_count(self):
        self.refuses("counting from request 2 of 2 leaves nothing to count", "replay", self.small_trace(),
                     "--count-from", "2")
        self.refuses("counting from request 0 of 0 leaves nothing to count", "replay", self.small_trace(),
                     "--limit", "0")

    def test_options_of_the_other_kind_of_workload(self):
        trace = self.small_trace()
        self.refuses("--requests is an option of generated workloads, not of files (--generate NAME)", "replay", trace,
                     "--requests", "5")
        self.refuses("--format is an option of trace files, not of generated workloads", "replay", "--generate",
                     "flood", "--format", "qwen")
        self.assertEqual(run("replay", trace, "--generate", "flood").returncode, 2)

    def test_parameters_that_a_generator_lacks_or_refuses(self):
        self.refuses('generator "flood" has no parameter "users"', "replay", "--generate", "flood", "--users", "3")
        self.refuses("per-mille must be 0 to 1000, got 1001", "generate", "preempt", "--per-mille", "1001")
        self.refuses("requests must be 1 to 4294967296, got 0", "generate", "flood", "--requests", "0")

    def test_inspect_without_a_trace(self):
        self.refuses("inspect needs a file or --generate NAME", "inspect")

    def test_options_of_a_cache_without_a_replay(self):
        for option, value in (("--capacity", "5"), ("--policy", "lru"), ("--order", "tail"), ("--sketch", "compat"),
                              ("--limit", "5"), ("--top", "5")):
            done = run("inspect", self.small_trace(), option, value)
            self.assertEqual((done.returncode, done.stdout), (2, b""), option)
            self.assertIn("--after-replay", done.stderr.decode())

    def test_two_salts(self):
        done = run("hash", "-", "--salt", "a", "--salt-hash", "1")
        self.assertEqual((done.returncode, done.stdout), (2, b""))

    def test_the_first_mistake_is_found_before_the_trace_is_read(self):
        self.assertEqual(run("replay", self.scratch / "missing", "--policy", "clock").returncode, 2)


class BadData(ToolTest):
    def test_empty_file(self):
        path = self.file("empty.jsonl", "")
        for command in ("replay", "inspect"):
            self.fails(3, f"{path}: no requests\n", command, path)
        self.fails(3, "-: no requests\n", "replay", "-")

    def test_strict_reading_prints_no_result(self):
        path = self.file("bad.jsonl", SMALL_TRACE + "{\n" + SMALL_TRACE)
        self.fails(3, f"{path}:3: not a JSON object\n", "replay", path)

    def test_skipped_lines_are_told_and_reported(self):
        path = self.file("bad.jsonl", SMALL_TRACE + "{\n[]\n")
        done = run("replay", path, "--skip-bad", "--capacity", "2", "--output", "csv")
        self.assertEqual((done.returncode, done.stderr.decode()),
                         (0, f"2 bad lines skipped (first: {path}:3: not a JSON object)\n"))
        self.assertIn("skipped_lines", done.stdout.decode().splitlines()[0])
        done = run("inspect", path, "--skip-bad")
        self.assertEqual((done.returncode, done.stderr.decode()),
                         (0, f"2 bad lines skipped (first: {path}:3: not a JSON object)\n"))

    def test_one_bad_line_more_than_allowed_is_an_error(self):
        path = self.file("bad.jsonl", SMALL_TRACE + "{\n[]\n")
        self.assertEqual(run("replay", path, "--skip-bad", "--max-bad", "2").returncode, 0)
        self.fails(3, f"{path}:4: not a JSON object\n", "replay", path, "--skip-bad", "--max-bad", "1")
        self.fails(3, f"{path}:3: not a JSON object\n", "replay", path, "--max-bad", "1")

    def test_limits_of_lines_and_blocks(self):
        path = self.small_trace()
        longest = max(map(len, SMALL_TRACE.splitlines()))
        self.succeeds("replay", path, "--max-line", longest, "--max-blocks", 3)
        self.fails(3, f"{path}:1: line longer than {longest - 1} bytes\n", "replay", path, "--max-line", longest - 1)
        self.fails(3, f"{path}:1: more than 2 blocks\n", "replay", path, "--max-blocks", 2)

    def test_unknown_format(self):
        path = self.file("t.txt", "hello\n")
        self.fails(3, f"{path}: unknown trace format\n", "replay", path)


class ExpectDiffers(ToolTest):
    def expect(self, table, *arguments):
        path = self.file("expected.csv", table)
        done = run("replay", self.small_trace(), "--capacity", "2,5", "--expect", path, *arguments)
        self.assertNotEqual(done.stdout, b"")  # results are results, expected or not
        return done.returncode, done.stderr.decode().replace(str(path), "FILE")

    def test_equal_rows_are_no_difference(self):
        self.assertEqual(self.expect("capacity,block_hits,evictions\n2,1,1\n5,1,0\n"), (0, ""))

    def test_each_cell_is_told(self):
        self.assertEqual(
            self.expect("capacity,block_hits,evictions,order\n2,7,8,tail\n5,1,9,tail\n"),
            (4, "capacity 2, order tail: block_hits: expected 7, got 1\n"
                "capacity 2, order tail: evictions: expected 8, got 1\n"
                "capacity 5, order tail: evictions: expected 9, got 0\n"))

    def test_a_difference_in_the_last_cell_alone_is_one(self):
        self.assertEqual(self.expect("block_hits,capacity,evictions\n1,5,0\n1,2,2\n"),
                         (4, "capacity 2: evictions: expected 2, got 1\n"))

    def test_rates_are_compared_as_far_as_they_are_written(self):
        self.assertEqual(self.expect("capacity,block_hit_rate\n5,.2\n5,0.2000\n5,.20\n"), (0, ""))
        self.assertEqual(self.expect("capacity,block_hit_rate\n5,.21\n"),
                         (4, "capacity 5: block_hit_rate: expected .21, got .20\n"))

    def test_a_capacity_that_was_not_replayed_differs(self):
        self.assertEqual(self.expect("capacity,block_hits\n2,1\n6,1\n"),
                         (4, "capacity 6: expected, but not replayed\n"))

    def test_rows_of_other_policies_modes_and_orders_are_left_alone(self):
        self.assertEqual(self.expect("policy,mode,order,capacity,block_hits\nfifo,manager,tail,2,7\n"
                                     "lru,ideal,tail,2,7\nlru,manager,head,2,7\nlru,manager,tail,2,1\n"), (0, ""))

    def test_a_table_about_nothing_that_was_replayed_differs(self):
        self.assertEqual(self.expect("policy,block_hits\nfifo,1\n"), (4, "FILE: no row is about what was replayed\n"))

    def test_the_programs_own_csv_is_expected(self):
        trace = self.small_trace()
        table = self.file("own.csv", self.succeeds("replay", trace, "--output", "csv", "--policy", "lru,multi-lru"))
        self.succeeds("replay", trace, "--expect", table, "--policy", "multi-lru,lru")

    def test_carriage_returns_and_blank_lines_are_no_difference(self):
        self.assertEqual(self.expect("capacity,block_hits\r\n\r\n2,1\r\n"), (0, ""))

    def test_a_file_that_is_no_table_is_bad_data(self):
        self.assertEqual(self.expect("capacity,speed\n2,1\n"), (3, 'FILE:1: unknown column "speed"\n'))
        self.assertEqual(self.expect("capacity,evictions\n2,1,3\n"), (3, "FILE:2: not CSV: 3 fields, header has 2\n"))
        self.assertEqual(self.expect("capacity,evictions\n"), (3, "FILE: no expected rows\n"))
        self.assertEqual(self.expect(""), (3, "FILE: no expected rows\n"))


if __name__ == "__main__":
    unittest.main()
