"""The program under test, and how to run it: on pipes, on terminals, in a scratch directory."""
import csv
import io
import json
import os
import pty
import signal
import subprocess
import tempfile
import unittest
from pathlib import Path

PROGRAM = os.environ["KVBM_PROGRAM"]
SOURCE = Path(os.environ["KVBM_SOURCE_DIR"])
TRACE = SOURCE / "data" / "mooncake_conversation_trace.jsonl"

# Two requests of three and two blocks, which share the first.
SMALL_TRACE = (
    '{"timestamp": 0, "input_length": 1300, "output_length": 5, "hash_ids": [0, 1, 2]}\n'
    '{"timestamp": 7, "input_length": 900, "output_length": 6, "hash_ids": [0, 3]}\n'
)


def default_signals():
    """Whoever started the tests may ignore interrupts; the program is to see the usual world."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)


def environment(**changes):
    """That of the tests, without what would change the output; None removes a variable."""
    values = {name: value for name, value in os.environ.items() if name not in ("NO_COLOR", "TERM")}
    values["TERM"] = "xterm"
    for name, value in changes.items():
        values.pop(name, None)
        if value is not None:
            values[name] = value
    return values


def run(*arguments, stdin=b"", env=None, stdout=subprocess.PIPE, stderr=subprocess.PIPE, prepare=default_signals,
        cwd=None):
    """Runs the program to its end."""
    if isinstance(stdin, str):
        stdin = stdin.encode()
    return subprocess.run([PROGRAM, *map(str, arguments)], input=stdin, env=env or environment(), stdout=stdout,
                          stderr=stderr, preexec_fn=prepare, cwd=cwd, check=False)


def start(*arguments, env=None, cwd=None, **streams):
    """Starts the program."""
    return subprocess.Popen([PROGRAM, *map(str, arguments)], env=env or environment(), preexec_fn=default_signals,
                            cwd=cwd, **streams)


def read_terminal(master):
    """What is written to a terminal until all its writers have gone."""
    written = b""
    while True:
        try:
            chunk = os.read(master, 65536)
        except OSError:  # EIO: nobody has the other end any more
            return written
        if not chunk:
            return written
        written += chunk


def run_on_terminal(*arguments, stream, env=None):
    """Runs the program with one of its streams on a terminal. Gives the exit code and what the terminal saw."""
    master, slave = pty.openpty()
    try:
        other = "stderr" if stream == "stdout" else "stdout"
        process = start(*arguments, env=env, stdin=subprocess.DEVNULL, **{stream: slave, other: subprocess.DEVNULL})
        os.close(slave)
        written = read_terminal(master)
        return process.wait(), written
    finally:
        os.close(master)


class ToolTest(unittest.TestCase):
    """A test in a scratch directory of its own."""

    maxDiff = None

    def setUp(self):
        scratch = tempfile.TemporaryDirectory(prefix="kvbm_tool_")
        self.addCleanup(scratch.cleanup)
        self.scratch = Path(scratch.name)

    def file(self, name, content):
        path = self.scratch / name
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    def small_trace(self):
        return self.file("small.jsonl", SMALL_TRACE)

    def succeeds(self, *arguments, **options):
        """Standard output as text; nothing may be said on standard error."""
        done = run(*arguments, **options)
        self.assertEqual((done.returncode, done.stderr.decode()), (0, ""), arguments)
        return done.stdout.decode()

    def json_of(self, *arguments, **options):
        return json.loads(self.succeeds(*arguments, "--output", "json", **options))

    def csv_of(self, *arguments, **options):
        return list(csv.DictReader(io.StringIO(self.succeeds(*arguments, "--output", "csv", **options))))

    def fails(self, code, message, *arguments, **options):
        """The exit code, the whole of standard error, and nothing on standard output."""
        done = run(*arguments, **options)
        self.assertEqual((done.returncode, done.stderr.decode(errors="replace"), done.stdout.decode()),
                         (code, message, ""), arguments)

    def refuses(self, sentence, *arguments):
        """A usage error, which also says where help is."""
        self.fails(2, f"kvbm: {sentence}\nkvbm --help lists what there is\n", *arguments)
