"""tools/mutants.py edits what it says, inside bodies of functions only, and nothing that cannot matter."""
import sys
import unittest
from pathlib import Path

ROOT = Path(sys.argv.pop(1))
sys.path.insert(0, str(ROOT / "tools"))
from mutants import mutants_of  # noqa: E402


def edits(body: str, head: str = "void f(std::size_t n) {", operator: str | None = None) -> list[str]:
    """The bodies after each edit."""
    source = f"{head}\n{body}\n}}\n"
    return [mutant.apply(source)[len(head) + 1:-3] for mutant in mutants_of("x.cpp", source)
            if operator is None or mutant.operator == operator]


class Mutants(unittest.TestCase):
    def test_operators_between_values_change(self):
        self.assertEqual(edits("return a < b;"), ["return a <= b;", "return a >= b;"])
        self.assertEqual(edits("return a == b;"), ["return a != b;"])
        self.assertEqual(edits("return a - b;"), ["return a + b;"])
        self.assertEqual(edits("return !a && b;"), ["return a && b;", "return !a || b;"])
        self.assertEqual(edits("i += b;", operator="arithmetic"), ["i -= b;"])
        self.assertEqual(edits("++i;", operator="arithmetic"), ["--i;"])

    def test_types_are_no_operators(self):
        self.assertEqual(edits("const std::vector<int>& a = g(); T&& b = h(); return *a;"), [])

    def test_constants_move_by_one(self):
        self.assertEqual(edits("return 0;"), ["return 1;"])
        self.assertEqual(edits("return 2u;"), ["return 1u;", "return 3u;"])
        self.assertEqual(edits("return true;"), ["return false;"])
        self.assertEqual(edits("return 0x10;"), [])

    def test_conditions_are_negated_where_nothing_else_does_it(self):
        self.assertEqual(edits("if (a) {}", operator="condition"), ["if (!(a)) {}"])
        self.assertEqual(edits("if (a < b && c) {}", operator="condition"), ["if (!(a < b && c)) {}"])
        self.assertEqual(edits("if (auto x = g(); x.ok()) {}", operator="condition"),
                         ["if (auto x = g(); !(x.ok())) {}"])
        self.assertEqual(edits("if (a < b) {} if (!a) {} if (auto x = g()) {}", operator="condition"), [])

    def test_statements_are_left_out_and_declarations_stay(self):
        self.assertEqual(edits("a.push(b);"), [";"])
        self.assertEqual(edits("for (;;) { break; }"), ["for (;;) { ; }"])
        self.assertEqual(edits("if (a) b();", operator="drop"), ["if (a) ;"])
        self.assertEqual(edits("g([&] { b(); });", operator="drop"), [";", "g([&] { ; });"])
        self.assertEqual(edits("Slot& slot = g(); std::vector<int> list(n); auto c = d();", operator="drop"), [])

    def test_locks_are_left_out(self):
        self.assertEqual(edits("const Lock lock(mutex);"), [";"])
        self.assertEqual(edits("const std::lock_guard<Mutex> lock(mutex);"), [";"])

    def test_arguments_are_swapped_and_ends_exchanged(self):
        self.assertEqual(edits("return g(a, b);"), ["return g(b, a);"])
        self.assertEqual(edits("return list.front();"), ["return list.back();"])
        self.assertEqual(edits("return std::min(a, b);"), ["return std::max(a, b);"])

    def test_comments_texts_and_preprocessor_stay(self):
        self.assertEqual(edits('// a < b\n#if A < 1\n/* c == d */ return "e + f";\n#endif'), [])

    def test_only_bodies_of_functions_are_edited(self):
        self.assertEqual(mutants_of("x.cpp", "constexpr int a = 1 + 2;\nstruct S { int b = 3; };\nint c[]{4, 5};\n"), [])
        inside = "namespace n {\nclass C {\n  public:\n    template <class T> int f() const noexcept { return 1; }\n};\n}\n"
        self.assertEqual([mutant.after for mutant in mutants_of("x.cppm", inside)], ["0", "2"])
        constructor = "C::C(int a) : a_{a}, b_(a) {\n    g(1);\n}\n"
        self.assertEqual([mutant.after for mutant in mutants_of("x.cpp", constructor)], ["", "0", "2"])

    def test_what_only_hastens_or_is_there_for_tests_stays(self):
        self.assertEqual(edits('index.prefetch(probe); core::pause_point("a");'), [])
        self.assertEqual(edits("a.store(b, std::memory_order_relaxed);", operator="swap"), [])
        self.assertEqual(edits('expects(a, "rule");', operator="swap"), [])

    def test_a_mutant_knows_its_place(self):
        mutant = mutants_of("x.cpp", "int f() {\n    return a +\n           b;\n}\n")[0]
        self.assertEqual((mutant.line, mutant.column, mutant.before, mutant.after), (2, 14, "+", "-"))
        self.assertEqual(mutant.key, ("x.cpp", 2, 14, "arithmetic", "+", "-"))


if __name__ == "__main__":
    unittest.main()
