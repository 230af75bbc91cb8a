"""Outputs that fail, pipes that close, interrupts at each stage: the exit code is the described one, nothing is
half-said, and a file is the old one or the whole new one."""
import os
import pty
import re
import resource
import signal
import stat
import subprocess
import unittest

from program import SMALL_TRACE, TRACE, ToolTest, default_signals, environment, read_terminal, run, start

MANY_ROWS = ("replay", "--generate", "flood", "--requests", "2", "--output", "csv", "--capacity",
             ",".join(map(str, range(1, 2001))))


class Output(ToolTest):
    def test_a_full_disk_is_an_error(self):
        trace = self.small_trace()
        for arguments in (("replay", trace), ("inspect", trace), ("generate", "flood"), ("--help",), ("--version",)):
            with open("/dev/full", "wb") as full:
                done = run(*arguments, stdout=full)
            self.assertEqual((done.returncode, done.stderr),
                             (1, b"standard output: No space left on device\n"), arguments)

    def test_a_closed_standard_output_is_an_error(self):
        def close_output():
            default_signals()
            os.close(1)

        done = run("replay", self.small_trace(), stdout=None, prepare=close_output)
        self.assertEqual((done.returncode, done.stderr), (1, b"standard output: Bad file descriptor\n"))

    def test_a_closed_pipe_ends_quietly(self):
        for arguments in (("replay", self.small_trace()), ("generate", "flood"), ("--help",)):
            reading, writing = os.pipe()
            os.close(reading)
            done = run(*arguments, stdout=writing)
            os.close(writing)
            self.assertEqual((done.returncode, done.stderr), (0, b""), arguments)

    def test_a_pipe_that_closes_in_the_middle_ends_quietly(self):
        process = start(*MANY_ROWS, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        self.assertTrue(process.stdout.read(10))
        process.stdout.close()
        with process.stderr as errors:
            self.assertEqual(errors.read(), b"")
        self.assertEqual(process.wait(), 0)

    def test_expected_rows_are_compared_though_nobody_reads(self):
        table = self.file("expected.csv", "capacity,block_hits\n2,7\n")
        reading, writing = os.pipe()
        os.close(reading)
        done = run("replay", self.small_trace(), "--capacity", "2", "--expect", table, stdout=writing)
        os.close(writing)
        self.assertEqual(done.returncode, 4)


class Plot(ToolTest):
    def setUp(self):
        super().setUp()
        self.directory = self.scratch / "plots"
        self.directory.mkdir()
        self.target = self.directory / "hits.svg"

    def draw(self, target, **options):
        return run("replay", self.small_trace(), "--capacity", "2,5", "--plot", target, **options)

    def gnuplot(self, script):
        """An environment in which `gnuplot` is this Python script."""
        path = self.scratch / "bin"
        path.mkdir(exist_ok=True)
        program = path / "gnuplot"
        program.write_text("#!/usr/bin/python3\n" + script)
        program.chmod(0o755)
        return environment(PATH=str(path))

    def fails_and_leaves(self, content, sentence, **options):
        """Code 1 with this sentence, no result, and in the directory what was there before."""
        done = self.draw(options.pop("target", self.target), **options)
        self.assertEqual((done.returncode, done.stdout), (1, b""))
        self.assertIn(sentence, done.stderr.decode())
        self.assertEqual({path.name: path.read_text() for path in self.directory.iterdir()}, content)

    def test_replaces_a_file_and_keeps_its_access_rights(self):
        self.target.write_text("old")
        self.target.chmod(0o640)
        self.assertEqual(self.draw(self.target).returncode, 0)
        self.assertIn("<svg", self.target.read_text())
        self.assertEqual(stat.S_IMODE(self.target.stat().st_mode), 0o640)
        self.assertEqual([path.name for path in self.directory.iterdir()], ["hits.svg"])

    def test_a_new_file_has_the_usual_access_rights(self):
        def with_mask():
            default_signals()
            os.umask(0o027)

        self.assertEqual(self.draw(self.target, prepare=with_mask).returncode, 0)
        self.assertEqual(stat.S_IMODE(self.target.stat().st_mode), 0o640)

    def test_follows_a_link(self):
        real = self.directory / "real.svg"
        real.write_text("old")
        self.target.symlink_to(real)
        self.assertEqual(self.draw(self.target).returncode, 0)
        self.assertTrue(self.target.is_symlink())
        self.assertIn("<svg", real.read_text())

    def test_writes_to_a_device_and_leaves_it_one(self):
        done = self.draw("/dev/full")
        self.assertEqual((done.returncode, done.stdout), (1, b""))
        self.assertEqual(done.stderr, b"/dev/full: No space left on device\n")
        self.assertTrue(stat.S_ISCHR(os.stat("/dev/full").st_mode))
        self.assertEqual(self.draw("/dev/null").returncode, 0)
        self.assertTrue(stat.S_ISCHR(os.stat("/dev/null").st_mode))
        self.assertEqual([name for name in os.listdir("/dev") if name.startswith(("full.", "null."))], [])

    def test_into_a_directory_that_is_missing(self):
        target = self.directory / "missing" / "hits.svg"
        self.fails_and_leaves({}, f"{target}: No such file or directory", target=target)

    def test_onto_a_directory(self):
        self.fails_and_leaves({}, f"{self.directory}: Is a directory", target=self.directory)

    def test_name_that_is_too_long(self):
        self.fails_and_leaves({}, "File name too long", target=self.directory / ("x" * 252))
        self.fails_and_leaves({}, "File name too long", target=str(self.directory) + "/." * 2100 + "/x")

    def test_without_gnuplot_says_what_to_install(self):
        self.target.write_text("old")
        self.fails_and_leaves({"hits.svg": "old"}, "--plot needs gnuplot, which was not found: install it (Debian: "
                                                   "apt-get install gnuplot-nox)",
                              env=environment(PATH=str(self.directory)))

    def test_gnuplot_that_fails_is_quoted(self):
        self.target.write_text("old")
        self.fails_and_leaves({"hits.svg": "old"}, "--plot: gnuplot failed: no fonts today",
                              env=self.gnuplot("import sys; print('<svg></svg>'); sys.exit('no fonts today')"))

    def test_a_drawing_that_breaks_off_is_none(self):
        self.target.write_text("old")
        self.fails_and_leaves({"hits.svg": "old"}, "--plot: gnuplot failed", env=self.gnuplot("print('<svg><g>')"))

    def test_a_disk_that_fills_up_leaves_the_old_file(self):
        # Once it has drawn, this gnuplot limits the size of files that its parent may write.
        def without_signal():
            default_signals()
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)

        self.target.write_text("old")
        env = self.gnuplot("import os, resource\nprint('<svg>' + 'x' * 1000 + '</svg>', flush=True)\n"
                           "resource.prlimit(os.getppid(), resource.RLIMIT_FSIZE, (100, 100))\n")
        self.fails_and_leaves({"hits.svg": "old"}, f"{self.target}: File too large", env=env, prepare=without_signal)

    def test_no_room_for_temporary_files(self):
        def limited():
            default_signals()
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
            resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))

        self.target.write_text("old")
        self.fails_and_leaves({"hits.svg": "old"}, "--plot: temporary file: File too large", prepare=limited)

    def test_has_a_line_per_policy(self):
        done = run("replay", self.small_trace(), "--policy", "lru,multi-lru,lineage-tick,lineage-fifo,fifo", "--plot",
                   self.target)
        self.assertEqual((done.returncode, done.stderr), (0, b""))
        drawing = self.target.read_text()
        self.assertTrue(drawing.startswith("<?xml"))
        self.assertTrue(drawing.endswith("</svg>\n"))
        for policy in ("lru", "multi-lru", "lineage-tick", "lineage-fifo", "fifo"):
            self.assertEqual(drawing.count(f"<text>{policy}</text>"), 1, policy)
        self.assertEqual(len(re.findall(r'id="gnuplot_plot_\d+"', drawing)), 5)
        self.assertNotEqual(done.stdout, b"")

    def test_title_with_quotes_is_drawn_as_it_is(self):
        trace = self.file("it's `date` $x.jsonl", SMALL_TRACE)
        done = run("replay", trace, "--plot", self.target)
        self.assertEqual((done.returncode, done.stderr), (0, b""))
        drawing = self.target.read_text()
        self.assertTrue("it's `date` $x.jsonl" in drawing or "it&apos;s `date` $x.jsonl" in drawing or
                        "it&#39;s `date` $x.jsonl" in drawing)


class Interrupted(ToolTest):
    """No test waits for time to pass: each knows by what it sees that the stage is reached."""

    def ends_with(self, process, code, stdout=b""):
        process.send_signal(signal.SIGTERM if code == 143 else signal.SIGINT)
        output, _ = process.communicate()
        self.assertEqual((process.returncode, output), (code, stdout))

    def reading(self):
        """A program that waits for the rest of its trace."""
        process = start("replay", "-", stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        process.stdin.write(SMALL_TRACE.encode() * 2000)  # more than a pipe holds: some was read
        process.stdin.flush()
        return process

    def test_while_reading(self):
        self.ends_with(self.reading(), 130)

    def test_wish_to_terminate_while_reading(self):
        self.ends_with(self.reading(), 143)

    def test_while_replaying_wipes_the_progress(self):
        master, slave = pty.openpty()
        process = start("replay", TRACE, "--policy", "lru,multi-lru,lineage-tick,lineage-fifo,fifo",
                        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=slave)
        os.close(slave)
        seen = os.read(master, 1)  # progress is shown: it replays
        process.send_signal(signal.SIGINT)
        seen += read_terminal(master)
        os.close(master)
        output, _ = process.communicate()
        self.assertEqual((process.returncode, output), (130, b""))
        self.assertTrue(seen.endswith(b"\r\x1b[K"), seen)

    def test_while_drawing_leaves_the_old_plot(self):
        plots = self.scratch / "plots"
        plots.mkdir()
        target = plots / "hits.svg"
        target.write_text("old")
        program = self.scratch / "gnuplot"
        started = self.scratch / "started"
        os.mkfifo(started)
        program.write_text(f"#!/bin/sh\necho $$ > {started}\nexec /bin/sleep 600\n")
        program.chmod(0o755)
        process = start("replay", self.small_trace(), "--plot", target, env=environment(PATH=str(self.scratch)),
                        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        child = int(started.read_text())
        self.ends_with(process, 130)
        os.kill(child, signal.SIGKILL)
        self.assertEqual({path.name: path.read_text() for path in plots.iterdir()}, {"hits.svg": "old"})

    def test_while_writing_a_plot_leaves_no_temporary_file(self):
        # A pipe is no regular file, so the drawing goes into it; nobody reads, and it is too long for it.
        plots = self.scratch / "plots"
        plots.mkdir()
        pipe = plots / "pipe"
        os.mkfifo(pipe)
        program = self.scratch / "gnuplot"
        program.write_text("#!/usr/bin/python3\nprint('<svg>' + 'x' * 1000000 + '</svg>')\n")
        program.chmod(0o755)
        process = start("replay", self.small_trace(), "--plot", pipe, env=environment(PATH=str(self.scratch)),
                        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        with pipe.open("rb", buffering=0) as reader:
            self.assertEqual(reader.read(5), b"<svg>")
            self.ends_with(process, 130)
        self.assertEqual([path.name for path in plots.iterdir()], ["pipe"])

    def test_while_writing_results(self):
        process = start(*MANY_ROWS, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        self.assertEqual(process.stdout.read(6), b"policy")
        process.send_signal(signal.SIGINT)
        process.communicate()
        self.assertEqual(process.returncode, 130)

    def test_an_ignored_interrupt_stays_ignored(self):
        def ignore():
            signal.signal(signal.SIGINT, signal.SIG_IGN)

        process = subprocess.Popen([os.environ["KVBM_PROGRAM"], "replay", "-", "--capacity", "2"], preexec_fn=ignore,
                                   stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        process.stdin.write(SMALL_TRACE.encode() * 2000)
        process.stdin.flush()
        process.send_signal(signal.SIGINT)
        output, errors = process.communicate()
        self.assertEqual((process.returncode, errors), (0, b""))
        self.assertIn(b"4,000 requests", output)


if __name__ == "__main__":
    unittest.main()
