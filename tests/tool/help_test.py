"""--help teaches: every example in it runs, and every option that the program is described to have is in it."""
import gzip
import os
import subprocess
import unittest
from pathlib import Path

from program import PROGRAM, ToolTest, environment, run

COMMANDS = ("replay", "inspect", "hash", "generate")
OPTIONS = {
    "replay": """--capacity --policy --mode --order --count-from --limit --jobs --expect --format --block-size
                 --skip-bad --max-bad --max-line --max-blocks --sessions --session-gap --shared-prefix --generate
                 --seed --requests --interval-ms --output-length --sketch --output --quiet --plot --prompt-blocks
                 --concurrency --chunk --limit-output
                 --tail-blocks --users --turn-blocks --turns --stagger --branches --depth --hot --hot-blocks --period
                 --cold-blocks --blocks --per-mille --delay --rejected --tenants --salted""",
    "inspect": "--format --block-size --skip-bad --max-bad --output --after-replay --capacity --policy --order --top",
    "hash": "--block-size --salt --salt-hash --runs --input --output",
    "generate": "--seed --requests --block-size --interval-ms --output-length --users --turns",
}


def examples():
    """The command lines that the help shows, without what stands beside them."""
    for arguments in ((), *((command,) for command in COMMANDS)):
        for line in run(*arguments, "--help").stdout.decode().splitlines():
            if line.startswith("  ") and "kvbm " in line and line[2] != " ":
                yield line.strip().split("   ")[0]


class Help(ToolTest):
    def test_is_a_result(self):
        for arguments in (("--help",), ("-h",), *((command, "--help") for command in COMMANDS)):
            text = self.succeeds(*arguments)
            self.assertIn("Usage: kvbm", text)
            self.assertIn("Examples:", text)

    def test_of_the_program_names_subcommands_and_exit_codes(self):
        text = self.succeeds("--help")
        for command in COMMANDS:
            self.assertIn(f"\n  {command} ", text)
        for phrase in ("0 done", "1 input, output or internal error", "2 usage", "3 bad data", "4 --expect differs",
                       "130 interrupted"):
            self.assertIn(phrase, text.replace("\n", " "))

    def test_names_every_option(self):
        for command, options in OPTIONS.items():
            text = self.succeeds(command, "--help")
            for option in options.split():
                self.assertRegex(text, rf"(?m)^ +(-\w,)?{option}\b", command)

    def test_names_every_generator(self):
        text = self.succeeds("generate", "--help")
        for name in ("shared-prompt", "multi-turn", "agent", "fan-out", "scan", "flood", "preempt", "speculate",
                     "tenants"):
            self.assertRegex(text, rf"(?m)^  {name} +\w")

    def test_every_example_runs(self):
        lines = list(examples())
        self.assertGreater(len(lines), 15)
        self.prepare_examples()
        path = f"{self.scratch / 'bin'}{os.pathsep}{os.environ['PATH']}"
        for line in lines:
            with self.subTest(line):
                done = subprocess.run(["sh", "-c", line], cwd=self.scratch, env=environment(PATH=path),
                                      stdin=subprocess.DEVNULL, capture_output=True, check=False)
                self.assertEqual((done.returncode, done.stderr.decode()), (0, ""))

    def prepare_examples(self):
        """The files that the examples speak of, and the program under its name."""
        (self.scratch / "bin").mkdir()
        (self.scratch / "bin" / "kvbm").symlink_to(Path(PROGRAM).resolve())
        trace = self.file("trace.jsonl", self.succeeds("generate", "multi-turn", "--requests", "1100"))
        self.file("trace.jsonl.gz", gzip.compress(trace.read_bytes()))
        self.file("golden.csv", self.succeeds("replay", trace, "--output", "csv"))
        self.file("burst.csv", "Timestamp,Request tokens,Response tokens\n5,472,18\n45,1087,230\n")
        self.file("tokens.json", "[1, 2, 3]")
        self.file("tokens.bin", b"\1\0\0\0" * 40)
        self.file("images.json", '[{"mm_hash": 7, "offset": 3, "length": 20}]')


if __name__ == "__main__":
    unittest.main()
