"""`kvbm generate`: the same bytes each time, read back as what `--generate` replays."""
import hashlib
import json
import unittest

from program import ToolTest

GENERATORS = ("shared-prompt", "multi-turn", "agent", "fan-out", "scan", "flood", "preempt", "speculate", "tenants")


class Generate(ToolTest):
    def test_default_output_is_fixed(self):
        text = self.succeeds("generate", "multi-turn")
        self.assertEqual(text, self.succeeds("generate", "multi-turn", "--seed", "1", "--requests", "10000",
                                             "--block-size", "512", "--interval-ms", "100", "--output-length", "128",
                                             "--users", "100", "--turn-blocks", "2", "--turns", "10"))
        self.assertEqual(len(text.splitlines()), 10000)

    def test_written_and_read_back_it_replays_as_in_memory(self):
        for name in GENERATORS:
            with self.subTest(name):
                text = self.succeeds("generate", name, "--requests", "400", "--seed", "7")
                read = self.json_of("replay", "-", "--capacity", "50,200,unlimited", stdin=text)
                made = self.json_of("replay", "--generate", name, "--requests", "400", "--seed", "7", "--capacity",
                                    "50,200,unlimited")
                self.assertEqual(read["runs"], made["runs"])
                self.assertEqual(read["trace"]["sha256"], hashlib.sha256(text.encode()).hexdigest())
                self.assertEqual((made["trace"]["path"], made["trace"]["sha256"]), (name, ""))

    def test_lines_are_what_mooncake_has(self):
        for line in self.succeeds("generate", "flood", "--requests", "3", "--blocks", "2").splitlines():
            request = json.loads(line)
            self.assertEqual(list(request), ["timestamp", "input_length", "output_length", "hash_ids"])
            self.assertEqual((request["input_length"], request["output_length"], len(request["hash_ids"])),
                             (1024, 128, 2))

    def test_options_shape_the_workload(self):
        facts = self.json_of("inspect", "--generate", "shared-prompt", "--requests", "10", "--prompt-blocks", "3",
                             "--tail-blocks", "2", "--block-size", "16", "--interval-ms", "7", "--output-length",
                             "9")["trace"]
        self.assertEqual({name: facts[name] for name in (
            "requests", "block_references", "distinct_blocks", "block_size", "span_ms", "output_tokens",
            "blocks_in_every_request")}, {
                "requests": 10, "block_references": 50, "distinct_blocks": 23, "block_size": 16, "span_ms": 63,
                "output_tokens": 90, "blocks_in_every_request": 3})

    def test_another_seed_is_another_workload(self):
        texts = {self.succeeds("generate", "scan", "--requests", "20", "--seed", seed) for seed in ("1", "2", "3")}
        self.assertEqual(len(texts), 3)

    def test_replaying_twice_gives_the_same_bytes(self):
        for output in ("table", "csv", "json"):
            texts = {self.succeeds("replay", "--generate", "tenants", "--requests", "500", "--output", output)
                     for _ in range(2)}
            self.assertEqual(len(texts), 1)


if __name__ == "__main__":
    unittest.main()
