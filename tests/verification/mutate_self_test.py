"""tools/mutate tells apart what an edit can come to, puts the file back, and knows what it has logged."""
import importlib.machinery
import importlib.util
import sys
import tempfile
import unittest
from collections import Counter
from pathlib import Path

ROOT = Path(sys.argv.pop(1))
sys.path.insert(0, str(ROOT / "tools"))
loader = importlib.machinery.SourceFileLoader("mutate", str(ROOT / "tools/mutate"))
mutate = importlib.util.module_from_spec(importlib.util.spec_from_loader("mutate", loader))
sys.modules["mutate"] = mutate
loader.exec_module(mutate)
mutate.TEST_SECONDS_LEAST = 0.5


def program(name: str, script: str, directory: str = "tokens", **more) -> "mutate.Test":
    return mutate.Test(name, directory, name, ("/bin/sh", "-c", script), folder="/", **more)


class Suite(mutate.Suite):
    """Builds nothing: an edit compiles unless it says otherwise."""

    def __init__(self, path: Path, tests: list):
        self.jobs, self.slow, self.tests, self.path = 2, 20.0, tests, path
        self.usual = {test.name: 0.01 for test in tests}
        self.kills = Counter()
        self.measuring = 0.0
        self.built: list[str] = []

    def build(self, tests, seconds=mutate.BUILD_SECONDS):
        self.built += [test.name for test in tests]
        return {"refused": False, "endless": None}.get(self.path.read_text(), True)


class Verdicts(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.TemporaryDirectory()
        self.addCleanup(self.folder.cleanup)
        self.path = Path(self.folder.name, "source.cpp")
        self.path.write_text("original")

    def verdict(self, tests: list, edited: str = "edited"):
        self.suite = Suite(self.path, tests)
        verdict = self.suite.verdict("tokens", self.path, edited)
        self.assertEqual(self.path.read_text(), "original")
        return verdict

    def passes_unless_edited(self, text: str, name: str = "tokens.a_test", directory: str = "tokens"):
        return program(name, f'if grep -q edited {self.path}; then echo "{text}"; exit 1; fi', directory)

    def test_what_no_test_notices_survives_all_of_them(self):
        tests = [program("tokens.a_test", "true"), program("sequence.b_test", "true", "sequence"),
                 program("metrics.c_test", "false", "metrics")]
        self.assertEqual(self.verdict(tests), ("survived", ""))
        self.assertEqual(self.suite.built, ["tokens.a_test", "sequence.b_test"])

    def test_a_failed_case_is_named_and_ends_the_trial(self):
        tests = [self.passes_unless_edited("[  FAILED  ] All/Suite.case/3, where GetParam() = 3"),
                 program("sequence.b_test", "true", "sequence")]
        self.assertEqual(self.verdict(tests), ("killed", "tokens.All/Suite.case"))
        self.assertEqual(self.suite.built, ["tokens.a_test"])
        self.assertEqual(self.suite.kills["tokens", "tokens.a_test"], 1)

    def test_a_crash_is_laid_to_the_case_that_ran(self):
        self.assertEqual(self.verdict([self.passes_unless_edited("[ RUN      ] Suite.other")]),
                         ("killed", "tokens.Suite.other"))
        self.assertEqual(self.verdict([self.passes_unless_edited("nothing")]), ("killed", "tokens.a_test"))

    def test_a_test_that_does_not_end_is_a_timeout(self):
        self.assertEqual(self.verdict([program("tokens.a_test", "sleep 60")]), ("timeout", "tokens.a_test"))

    def test_what_does_not_compile_is_not_viable(self):
        self.assertEqual(self.verdict([program("tokens.a_test", "false")], "refused"), ("not viable", ""))
        self.assertEqual(self.verdict([program("tokens.a_test", "false")], "endless"), ("timeout", "the build"))

    def test_output_decides_where_a_pattern_says_so(self):
        self.assertEqual(self.verdict([program("tokens.a_test", "echo right; false", pattern="right")]), ("survived", ""))
        self.assertEqual(self.verdict([program("tokens.a_test", "echo wrong", pattern="right")]),
                         ("killed", "tokens.a_test"))

    def test_simulated_programs_and_other_directories_come_last(self):
        tests = [program("tokens.s_test", "true", simulated=True), program("tokens.a_test", "true"),
                 program("request.b_test", "true", "request"), program("sequence.c_test", "true", "sequence")]
        self.verdict(tests)
        self.assertEqual(self.suite.built, ["tokens.a_test", "sequence.c_test", "request.b_test", "tokens.s_test"])

    def test_tests_that_fail_without_an_edit_end_the_run(self):
        suite = Suite(self.path, [program("tokens.a_test", "false")])
        suite.usual = {}
        with self.assertRaises(SystemExit):
            suite.verdict("tokens", self.path, "edited")


class Log(unittest.TestCase):
    def test_the_last_line_of_an_edit_counts(self):
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "log.csv")
            mutant = mutate.Mutant("modules/tokens/a.cpp", 3, 5, "drop", 'f(\n  "a", b)', "", 10, 20)
            row = dict(zip(mutate.FIELDS, [*mutant.key, "survived", "", "1.0", "abc"]))
            mutate.append(path, row)
            mutate.append(path, {**row, "verdict": "equivalent", "by": "f changes nothing, on purpose"})
            log = mutate.read_log(path)
        self.assertEqual(list(log), [mutate.log_key(mutant)])
        self.assertEqual(log[mutate.log_key(mutant)]["verdict"], "equivalent")

    def test_every_module_has_its_tests(self):
        modules = {folder.name for folder in (ROOT / "modules").iterdir() if folder.is_dir()}
        directories = {folder.name for folder in (ROOT / "tests").iterdir()} | {"fuzz"}
        self.assertEqual(modules, set(mutate.TESTS))
        self.assertLessEqual({name for names in mutate.TESTS.values() for name in names}, directories)


if __name__ == "__main__":
    unittest.main()
