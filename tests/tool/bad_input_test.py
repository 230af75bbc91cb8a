"""Every file of tests/bad_input through the command line: exit code, and the whole message or what was read. The list
is the one that the reader's unit test has."""
import json
import unittest

from program import SOURCE, ToolTest, run

DIRECTORY = SOURCE / "tests" / "bad_input"


def cases():
    for line in (DIRECTORY / "cases.tsv").read_text().splitlines():
        if not line.startswith("#"):
            name, options, code, message = line.split("\t")[:4]
            yield name, options.split(), int(code), message


def read(facts):
    """What was read, in the words of the list."""
    text = f"{facts['requests']} requests, {facts['block_references']} blocks"
    for name, word in (("blank_lines", "blank"), ("empty_rows", "empty"), ("skipped_lines", "skipped")):
        text += f", {facts[name]} {word}" if facts[name] else ""
    return text


class BadInput(ToolTest):
    def test_list_is_long_enough(self):
        self.assertGreaterEqual(len(list(cases())), 120)

    def test_files_are_read_or_refused(self):
        for name, options, code, message in cases():
            with self.subTest(name):
                path = DIRECTORY / name
                done = run("inspect", path, *options, "--output", "json")
                self.assertEqual(done.returncode, code)
                if code == 0:
                    facts = json.loads(done.stdout)["trace"]
                    self.assertEqual(read(facts), message)
                    notice = f"{facts['skipped_lines']} bad lines skipped (first: {path}:"
                    self.assertEqual(done.stderr.decode().startswith(notice), facts["skipped_lines"] > 0)
                else:
                    self.assertEqual((done.stderr.decode(), done.stdout),
                                     (message.replace("FILE", str(path), 1) + "\n", b""))

    def test_standard_input_is_read_or_refused_alike(self):
        for name, options, code, message in cases():
            with self.subTest(name):
                done = run("inspect", "-", *options, "--output", "json", stdin=(DIRECTORY / name).read_bytes())
                self.assertEqual(done.returncode, code)
                if code == 0:
                    self.assertEqual(read(json.loads(done.stdout)["trace"]), message)
                else:
                    self.assertEqual((done.stderr.decode(), done.stdout),
                                     (message.replace("FILE", "-", 1) + "\n", b""))

    def test_replay_refuses_what_inspect_refuses(self):
        for name, options, code, message in cases():
            if code != 0:
                with self.subTest(name):
                    path = DIRECTORY / name
                    self.fails(code, message.replace("FILE", str(path), 1) + "\n", "replay", path, *options)


if __name__ == "__main__":
    unittest.main()
