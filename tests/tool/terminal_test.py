"""What only a terminal sees: progress on standard error, bold names on standard output; and that files never do."""
import re
import time
import unittest

from program import TRACE, ToolTest, environment, run, run_on_terminal

# Long enough that progress is shown in any build.
LONG_RUN = ("replay", TRACE)
WIPE = b"\r\x1b[K"


class Progress(ToolTest):
    def test_is_shown_on_a_terminal_and_wiped_at_the_end(self):
        begin = time.monotonic()
        code, written = run_on_terminal(*LONG_RUN, stream="stderr")
        spent = time.monotonic() - begin

        self.assertEqual(code, 0)
        updates = written.split(WIPE)
        self.assertEqual((updates[0], updates[-1]), (b"", b""))
        self.assertGreaterEqual(len(updates), 3)
        for update in updates[1:-1]:
            self.assertRegex(update, rb"\A[\d,]+ of 180,465 requests, \d+ %, \d+ s left\Z|\A0 of 180,465 requests\Z")
        done = [int(update.split(b" ")[0].replace(b",", b"")) for update in updates[1:-1]]
        self.assertEqual(done, sorted(done))
        self.assertLessEqual(len(updates) - 2, 10 * spent + 1)

    def test_is_not_shown_when_quiet(self):
        for option in ("--quiet", "-q"):
            self.assertEqual(run_on_terminal(*LONG_RUN, option, stream="stderr"), (0, b""))

    def test_never_goes_to_a_file(self):
        path = self.scratch / "errors"
        with path.open("wb") as errors:
            done = run(*LONG_RUN, stderr=errors)
        self.assertEqual(done.returncode, 0)
        self.assertEqual(path.read_bytes(), b"")


class Colour(ToolTest):
    def on_terminal(self, *arguments, env=None):
        code, written = run_on_terminal(*arguments, stream="stdout", env=env)
        self.assertEqual(code, 0)
        return written.replace(b"\r\n", b"\n")

    def test_names_are_bold_on_a_terminal(self):
        written = self.on_terminal("replay", self.small_trace(), "--capacity", "2")
        self.assertEqual(re.findall(rb"\x1b\[1m([^\x1b]*)\x1b\[0m\n", written),
                         [b"capacity  block_hits  token_hits  evictions  block_hit_rate  token_hit_rate  ceiling"])
        self.assertEqual(written.count(b"\x1b"), 2)
        written = self.on_terminal("inspect", self.small_trace())
        self.assertIn(b"\x1b[1mrequests\x1b[0m                            2\n", written)

    def test_without_escapes_the_text_is_the_same(self):
        for command in ("replay", "inspect"):
            written = self.on_terminal(command, self.small_trace())
            plain = self.succeeds(command, self.small_trace()).encode()
            self.assertEqual(re.sub(rb"\x1b\[\d+m", b"", written), plain)

    def test_no_color_is_obeyed_unless_it_is_empty(self):
        arguments = ("replay", self.small_trace(), "--capacity", "2")
        self.assertNotIn(b"\x1b", self.on_terminal(*arguments, env=environment(NO_COLOR="1")))
        self.assertNotIn(b"\x1b", self.on_terminal(*arguments, env=environment(NO_COLOR="0")))
        self.assertIn(b"\x1b", self.on_terminal(*arguments, env=environment(NO_COLOR="")))

    def test_a_dumb_terminal_gets_none(self):
        arguments = ("replay", self.small_trace(), "--capacity", "2")
        self.assertNotIn(b"\x1b", self.on_terminal(*arguments, env=environment(TERM="dumb")))

    def test_csv_and_json_have_none(self):
        for output in ("csv", "json"):
            self.assertNotIn(b"\x1b", self.on_terminal("replay", self.small_trace(), "--output", output))

    def test_files_and_pipes_get_none(self):
        path = self.scratch / "results"
        with path.open("wb") as results:
            run("replay", self.small_trace(), stdout=results)
        self.assertNotIn(b"\x1b", path.read_bytes())
        self.assertNotIn("\x1b", self.succeeds("replay", self.small_trace()))


if __name__ == "__main__":
    unittest.main()
