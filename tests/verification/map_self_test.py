"""tools/verification sees each fault that a document or a run can have. A check that finds nothing would pass for one
that is satisfied."""
import importlib.machinery
import importlib.util
import sys
import unittest
from pathlib import Path

ROOT = Path(sys.argv.pop(1))
loader = importlib.machinery.SourceFileLoader("verification", str(ROOT / "tools/verification"))
verification = importlib.util.module_from_spec(importlib.util.spec_from_loader("verification", loader))
sys.modules["verification"] = verification
loader.exec_module(verification)

DOCUMENT = """Text about `other.Suite.case`, which belongs to nothing.

- **P1** Blocks are not lost. `check_invariants()`,
  `blocks.Pool.loses_nothing`, `replay.pool_fuzz`
- **H8** Order does not show; statically `tests/blocks/blocks_static.cpp`.
  `blocks.Policies/Law.holds`

A paragraph: `blocks.Pool.other`
"""

LOG = """Start testing: Nov 27
----------------------------------------------------------
1/4 Testing: blocks.Pool.loses_nothing
1/4 Test: blocks.Pool.loses_nothing
Command: "/b/kvbm_blocks_pool_test" "--gtest_filter=Pool.loses_nothing" "--gtest_also_run_disabled_tests"
Output:
Test Passed.
<end of output>
Test time =   0.03 sec
----------------------------------------------------------
Test Passed.
"blocks.Pool.loses_nothing" end time: Nov 27
2/4 Testing: replay.pool_fuzz
2/4 Test: replay.pool_fuzz
Command: "/b/pool_fuzz" "/corpus"
Test time =   0.10 sec
----------------------------------------------------------
Test Passed.
3/4 Testing: blocks.Policies/Law.holds/lru  # GetParam() = lru
Command: "/b/kvbm_blocks_law_prop" "--gtest_filter=Policies/Law.holds/lru" "--gtest_also_run_disabled_tests"
Test time =   0.10 sec
----------------------------------------------------------
Test Passed.
4/4 Testing: blocks.Policies/Law.holds/8-byte object <01-00 00-00>
Command: "/b/kvbm_blocks_law_prop" "--gtest_filter=Policies/Law.holds/1" "--gtest_also_run_disabled_tests"
Test time =   0.10 sec
----------------------------------------------------------
Test Failed.
"""


class Map(unittest.TestCase):
    def setUp(self):
        self.invariants = verification.read_document(DOCUMENT)

    def test_a_line_belongs_to_the_invariant_above_it(self):
        self.assertEqual([invariant.name for invariant in self.invariants], ["P1", "H8"])
        self.assertEqual(self.invariants[0].tests, ["blocks.Pool.loses_nothing", "replay.pool_fuzz"])
        self.assertTrue(self.invariants[0].audited)
        self.assertEqual(self.invariants[1].tests, ["blocks.Policies/Law.holds"])
        self.assertEqual(self.invariants[1].files, ["tests/blocks/blocks_static.cpp"])

    def test_a_test_that_is_not_there_is_named_with_its_invariant(self):
        known = {"blocks.Pool.loses_nothing", "replay.pool_fuzz"}
        self.assertEqual(verification.missing_tests(self.invariants, known),
                         ["H8: no such test: blocks.Policies/Law.holds"])
        self.assertEqual(verification.missing_tests(self.invariants, known | {"blocks.Policies/Law.holds"}), [])

    def test_instances_that_failed_are_counted(self):
        outcomes = verification.outcomes_of(LOG)
        self.assertEqual(outcomes, {"blocks.Pool.loses_nothing": [True], "replay.pool_fuzz": [True],
                                    "blocks.Policies/Law.holds": [True, False]})
        self.assertEqual(verification.tests_that_did_not_pass(self.invariants, outcomes),
                         ["H8: 1 of 2 did not pass: blocks.Policies/Law.holds"])

    def test_a_test_that_was_not_run_is_a_fault(self):
        outcomes = verification.outcomes_of(LOG.replace("Testing: replay.pool_fuzz", "Testing: replay.other_fuzz"))
        self.assertIn("P1: was not run: replay.pool_fuzz",
                      verification.tests_that_did_not_pass(self.invariants, outcomes))

    def test_types_and_parameters_are_no_part_of_a_name(self):
        self.assertEqual(verification.plain_name("blocks.List/mutable.  # TypeParam = X.holds<List/mutable>",
                                                 "/b/lists --gtest_filter=List/mutable.holds"),
                         "blocks.List/mutable.holds")

    def test_an_invariant_without_tests_twice_or_unknown_to_the_auditor_is_a_fault(self):
        text = "- **P1** One. `check_invariants()`\n- **P2** Two. `a.B.c`\n- **P2** Two. `a.B.c` and `tests/none.cpp`\n"
        faults = verification.document_faults(verification.read_document(text), {"P2", "G4"})
        self.assertEqual(faults, ["P2: stands there twice", "G4: an auditor reports it, and it has no line", "P1: no test",
                                  "P1: no auditor reports it",
                                  "P2: the line does not say that an auditor reports it",
                                  "P2: the line does not say that an auditor reports it",
                                  "P2: no such file: tests/none.cpp"])

    def test_the_auditors_are_found(self):
        self.assertLessEqual({"P1", "P2", "R1", "G4", "B3", "S1", "V8"}, verification.audited_ids())


if __name__ == "__main__":
    unittest.main()
