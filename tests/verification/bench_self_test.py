"""tools/bench and tools/growth make tables and drawings of figures of an earlier run, without running anything."""
import json
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

ROOT = Path(sys.argv.pop(1))

CASES = [
    ("match/active/8/lru/small", 38.6, 16.3, 2, 2.7, "floor"),
    ("match/inactive/8/lru/large", 464, 123.4, 5, 6.5, "BELOW FLOOR"),
    ("match/miss/128/lru/small", 2500, 1250, None, None, ""),
    ("growth/external_assign/65536", None, 10.1, 1.5, 5, "floor"),
    ("memory/lru/all_inactive", 660, 110, 170, 110, "goal"),
]
BENCH_TABLE = """\
| case                         | parent | ours | ratio | floor | goal | verdict     |
|------------------------------|-------:|-----:|------:|------:|-----:|-------------|
| match/active/8/lru/small     |   38.6 | 16.3 |  2.37 |     2 |  2.7 | floor       |
| match/inactive/8/lru/large   |    464 |  123 |  3.76 |     5 |  6.5 | BELOW FLOOR |
| growth/external_assign/65536 |        | 10.1 |       |   1.5 |    5 | floor       |
| memory/lru/all_inactive      |    660 |  110 |     6 |   170 |  110 | goal        |
"""
GROWTH_TABLES = """\
| operation and policy | 256 | 1,024 | 4,096 | exponent |
|----------------------|----:|------:|------:|---------:|
| churn/lineage_tick   |  10 |    40 |   160 |    +1.00 |
| churn/lru            |   8 |       |     8 |    +0.00 |
| drop/lru             |   3 |       |       |          |
""", """\
| operation      |   1 | 16 | exponent |
|----------------|----:|---:|---------:|
| match_inactive | 160 | 40 |    -0.50 |
""", """\
| policy | 65,536 | 262,144 | exponent |
|--------|-------:|--------:|---------:|
| lru    |     80 |      80 |    +0.00 |
""", """\
| case                     |  1 |    2 | gain |
|--------------------------|---:|-----:|-----:|
| match_active/32/disjoint | 15 | 12.5 | 1.20 |
"""
SCALE = {
    "scale/churn/lineage_tick/256": 10, "scale/churn/lineage_tick/1024": 40, "scale/churn/lineage_tick/4096": 160,
    "scale/churn/lru/256": 8, "scale/churn/lru/4096": 8, "scale/drop/lru/256": 3,
    "scale/match_inactive_chain/1": 160, "scale/match_inactive_chain/16": 40,
    "scale/memory/lru/65536/built": 78, "scale/memory/lru/65536/all_inactive": 80,
    "scale/memory/lru/262144/all_inactive": 80,
    "mt/match_active/32/disjoint/threads1": 15, "mt/match_active/32/disjoint/threads2": 12.5,
}


def case(name: str, parent: float | None, ours: float, floor=None, goal=None, verdict: str = "") -> dict:
    return {"case": name, "parent": parent, "ours": ours, "ratio": parent and parent / ours, "floor": floor,
            "goal": goal, "verdict": verdict}


class FromJson(unittest.TestCase):
    maxDiff = None

    def setUp(self):
        scratch = tempfile.TemporaryDirectory(prefix="kvbm_bench_")
        self.addCleanup(scratch.cleanup)
        self.scratch = Path(scratch.name)

    def figures(self, cases: list[dict]) -> Path:
        file = self.scratch / "figures.json"
        file.write_text(json.dumps({"cases": cases, "summary": "A machine."}))
        return file

    def document(self, tool: str) -> Path:
        file = self.scratch / "document.md"
        file.write_text(f"before\n<!-- figures of {tool}: begin -->\nold\n<!-- figures of {tool}: end -->\nafter\n")
        return file

    def run_tool(self, name: str, *arguments) -> subprocess.CompletedProcess:
        return subprocess.run([sys.executable, ROOT / "tools" / name, *map(str, arguments)], capture_output=True,
                              text=True, check=False)

    def test_bench_puts_judged_cases_into_the_document_and_all_on_the_terminal(self):
        document = self.document("tools/bench")
        done = self.run_tool("bench", "--from-json", self.figures([case(*row) for row in CASES]), "--update", document)
        self.assertEqual((done.returncode, done.stderr), (1, ""))  # one case is below its floor
        self.assertEqual(document.read_text(), "before\n<!-- figures of tools/bench: begin -->\n\n" + BENCH_TABLE +
                         "\nA machine.\n\n<!-- figures of tools/bench: end -->\nafter\n")
        self.assertIn("| match/miss/128/lru/small     |   2500 | 1250 |     2 |       |      |             |\n",
                      done.stdout)

    def test_bench_takes_cases_by_prefix_and_writes_what_it_has_read(self):
        again = self.scratch / "again.json"
        done = self.run_tool("bench", "--from-json", self.figures([case(*row) for row in CASES]), "--json", again,
                             "match/active", "memory")
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        self.assertEqual(json.loads(again.read_text()),
                         {"cases": [case(*CASES[0]), case(*CASES[4])], "summary": "A machine."})

    def test_bench_draws_a_plot_for_each_group_that_has_a_ratio(self):
        plots = self.scratch / "plots"
        done = self.run_tool("bench", "--from-json", self.figures([case(*row) for row in CASES]), "--plots", plots)
        self.assertEqual(done.stderr, "")
        self.assertEqual(sorted(file.name for file in plots.iterdir()), ["match.svg", "memory.svg"])
        match = (plots / "match.svg").read_text()
        for text in ("active/8/lru/small", "inactive/8/lru/large", "miss/128/lru/small", "floor", "goal"):
            self.assertIn(f">{text}</text>", match)
        self.assertTrue(match.endswith("</svg>\n"))

    def test_limits_in_bytes_are_drawn_as_ratios(self):
        plots = self.scratch / "plots"
        self.run_tool("bench", "--from-json", self.figures(
            [case("memory/a/all_inactive", 400, 100, 200, 100), case("memory/b/all_inactive", 1600, 100, 200, 100)]),
            "--plots", plots)
        sys.path.insert(0, str(ROOT / "tools"))
        sys.dont_write_bytecode = True
        from figures import Bar, bars
        commands = bars("memory", [Bar("a/all_inactive", 4, 2, 4), Bar("b/all_inactive", 16, 8, 16)])
        for block in ("$ratios << END\n4 2\n16 1\nEND\n", "$floors << END\n2 2\n8 1\nEND\n",
                      "$goals << END\n4 2\n16 1\nEND\n"):
            self.assertIn(block, commands)
        drawn = subprocess.run(["gnuplot", "-d"], input=commands, capture_output=True, text=True, check=True).stdout
        self.assertEqual((plots / "memory.svg").read_text().split(), drawn.split())

    def test_growth_fits_exponents(self):
        document, plot = self.document("tools/growth"), self.scratch / "plots" / "growth.svg"
        done = self.run_tool("growth", "--from-json",
                             self.figures([case(name, None, ours) for name, ours in SCALE.items()]),
                             "--update", document, "--plot", plot)
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        text = document.read_text()
        for table in GROWTH_TABLES:
            self.assertIn("\n\n" + table + "\n", text)
        self.assertTrue(text.endswith("\n\nA machine.\n\n<!-- figures of tools/growth: end -->\nafter\n"))
        drawn = plot.read_text()
        for words in ("policy lru, lists of 128 blocks", "policy lineage_tick, lists of 128 blocks", "churn", "drop",
                      "policy lru, pool of 65,536 blocks", "1,024"):
            self.assertIn(f">{words}</text>", drawn)

    def test_a_document_without_a_place_for_figures_is_left_alone(self):
        document = self.document("tools/other")
        before = document.read_text()
        for tool in ("bench", "growth"):
            done = self.run_tool(tool, "--from-json", self.figures([case("scale/drop/lru/256", None, 3)]), "--update",
                                 document)
            self.assertEqual(done.returncode, 1)
            self.assertIn(f"`<!-- figures of tools/{tool}: begin -->`", done.stderr)
            self.assertEqual(document.read_text(), before)


if __name__ == "__main__":
    unittest.main()
