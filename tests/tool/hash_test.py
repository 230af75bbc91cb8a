"""`kvbm hash`: recorded hashes of the parent come out for every form of input; what is no token is told by line and
column."""
import json
import struct
import unittest

from program import SOURCE, ToolTest, run

RECORDED = json.loads((SOURCE / "data" / "vectors" / "hashing.json").read_text())


def as_text(tokens):
    return " ".join(map(str, tokens)).encode()


def as_json(tokens):
    return json.dumps(tokens).encode()


def as_words(tokens):
    return struct.pack(f"<{len(tokens)}I", *tokens)


FORMS = {"text": as_text, "json": as_json, "u32le": as_words}


class RecordedHashes(ToolTest):
    def blocks(self, recording, form, *arguments):
        tokens = recording["tokens"]
        whole = self.json_of("hash", "-", "--input", form, "--block-size", recording["block_size"], "--salt-hash",
                             int(recording["salt_hash"], 16), *arguments, stdin=FORMS[form](tokens))
        self.assertEqual(whole["tokens"], {
            "path": "-", "count": len(tokens), "block_size": recording["block_size"],
            "salt_hash": recording["salt_hash"][2:], "left_over": len(recording["partial"])})
        return whole["blocks"]

    def check(self, recording, form, *arguments):
        def plain(text):
            return text["value"][2:] if isinstance(text, dict) else text[2:]

        self.assertEqual(self.blocks(recording, form, *arguments), [
            {"position": block["position"], "block_hash": block["block_hash"][2:],
             "chain_hash": block["sequence_hash"][2:], "sequence_hash": plain(block["plh"])}
            for block in recording["blocks"]])

    def test_sequences(self):
        self.assertGreater(len(RECORDED["sequences"]), 20)
        for number, recording in enumerate(RECORDED["sequences"]):
            for form in FORMS:
                with self.subTest(number=number, form=form):
                    self.check(recording, form)

    def test_sequences_with_multimodal_runs(self):
        self.assertGreater(len(RECORDED["mm_sequences"]), 10)
        for number, recording in enumerate(RECORDED["mm_sequences"]):
            with self.subTest(number):
                runs = [{name: int(run[name], 16) if isinstance(run[name], str) else run[name]
                         for name in ("mm_hash", "offset", "length")} for run in recording["runs"]]
                path = self.file("runs.json", json.dumps(runs))
                self.check(recording, "text", "--runs", path)

    def test_salt_is_a_text_whose_hash_counts(self):
        checked = 0
        for recording in RECORDED["salt_hashes"]:
            payload = bytes.fromhex(recording["payload_hex"])
            if payload and b"\0" not in payload:
                # "=" keeps a leading dash from being an option.
                done = run("hash", "-", b"--salt=".decode() + payload.decode(errors="surrogateescape"), "--output",
                           "json", stdin="1")
                self.assertEqual(done.returncode, 0)
                self.assertEqual("0x" + json.loads(done.stdout)["tokens"]["salt_hash"], recording["salt_hash"])
                checked += 1
        self.assertGreater(checked, 3)

    def test_no_salt_is_salt_hash_0(self):
        with_none = self.json_of("hash", "-", "--block-size", "2", stdin="1 2 3")
        with_0 = self.json_of("hash", "-", "--block-size", "2", "--salt-hash", "0", stdin="1 2 3")
        self.assertEqual(with_none, with_0)


class Forms(ToolTest):
    def test_block_size_is_16_if_not_given(self):
        whole = self.json_of("hash", "-", stdin=as_text(range(33)))
        self.assertEqual((whole["tokens"]["block_size"], len(whole["blocks"]), whole["tokens"]["left_over"]),
                         (16, 2, 1))

    def test_all_forms_say_the_same_in_every_output(self):
        tokens = [0, 1, 2**32 - 1, 65536, 7]
        for output in ("table", "csv", "json"):
            texts = {self.succeeds("hash", "-", "--input", form, "--block-size", "2", "--output", output,
                                   stdin=FORMS[form](tokens)) for form in FORMS}
            self.assertEqual(len(texts), 1)

    def test_table_and_csv(self):
        path = self.file("tokens", "1 2 3 4 5")
        self.assertEqual(self.succeeds("hash", path, "--block-size", "2"), f"""\
{path}: 5 tokens, block size 2, salt hash 0000000000000000, 1 left over

position  block_hash        chain_hash        sequence_hash
       0  0389e2c8892d5450  0389e2c8892d5450  0000e278b2224b551400000000000000
       1  {self.second()['block_hash']}  {self.second()['chain_hash']}  {self.second()['sequence_hash']}
""")
        rows = self.csv_of("hash", path, "--block-size", "2")
        self.assertEqual([row["position"] for row in rows], ["0", "1"])
        self.assertEqual(rows[1], {name: str(value) for name, value in self.second().items()})

    def second(self):
        return self.json_of("hash", "-", "--block-size", "2", stdin="1 2 3 4 5")["blocks"][1]

    def test_any_white_space_separates(self):
        self.assertEqual(self.json_of("hash", "-", stdin="\n 1\t2\r\n\v3\f4 \n")["tokens"]["count"], 4)

    def test_no_token_is_no_block(self):
        for form, nothing in (("text", " \n"), ("json", " [ ] "), ("u32le", "")):
            whole = self.json_of("hash", "-", "--input", form, stdin=nothing)
            self.assertEqual((whole["tokens"]["count"], whole["blocks"]), (0, []))


class BadTokens(ToolTest):
    def refused(self, form, place, reason, content):
        path = self.file("tokens", content)
        self.fails(3, f"{path}:{place}: {reason}\n", "hash", path, "--input", form)
        self.fails(3, f"standard input:{place}: {reason}\n", "hash", "-", "--input", form, stdin=content)

    def test_text(self):
        for place, content in (("1:1", "-1"), ("1:3", "1 4294967296"), ("2:1", "1\n+2"), ("3:2", "1\n2\n 3x,4"),
                               ("1:3", "1 1.0"), ("1:1", "1e3"), ("1:1", "0x10"), ("1:3", "7 seven"), ("1:3", "1 2\0"),
                               ("1:1", "99999999999999999999"), ("2:3", "\n  \xff"), ("1:1", "[1, 2]")):
            self.refused("text", place, "not a token, 0 to 4294967295", content)

    def test_json_elements(self):
        for place, content in (("1:2", "[-1]"), ("1:2", "[4294967296]"), ("1:2", "[18446744073709551616]"),
                               ("3:2", "[1,\n2,\n -3]"), ("1:2", "[1.0]"), ("1:2", "[1e2]"), ("1:2", "[01]"),
                               ("1:2", "[-0]"), ("1:4", '[1,"2"]'), ("1:2", "[null]"), ("1:2", "[true]"),
                               ("1:2", "[[1]]"), ("1:2", '[{"a": 1}]'), ("1:2", "[,1]"), ("1:4", "[1,,2]")):
            self.refused("json", place, "not a token, 0 to 4294967295", content)

    def test_json_that_is_no_list(self):
        for place, content in (("1:1", ""), ("1:1", "{}"), ("1:1", "12"), ("1:1", "null"), ("1:4", "[1 2]"),
                               ("1:5", "[1,2"), ("1:6", "[1,2]x"), ("2:1", "[1,2]\nx"), ("1:6", "[1,2][3]"),
                               ("1:2", "tokens")):
            self.refused("json", place, "not a JSON list", content)

    def test_json_with_a_comma_too_many(self):
        path = self.file("tokens", "[1,2,]")
        done = run("hash", path, "--input", "json")
        self.assertEqual((done.returncode, done.stdout), (3, b""))
        self.assertRegex(done.stderr.decode(), r":1:6: not a (token, 0 to 4294967295|JSON list)\n\Z")

    def test_words_that_end_in_the_middle(self):
        for size in (1, 2, 3, 5):
            path = self.file("tokens", b"\1" * size)
            self.fails(3, f"{path}: {size} bytes are not a whole number of tokens\n", "hash", path, "--input", "u32le")

    def test_runs(self):
        for runs, reason in (("{}", "not a JSON list"), ("[", "not a JSON list"), ("", "not a JSON list"),
                             ('[{"mm_hash": 1, "offset": 0}]', 'run 0: field "length" is not a non-negative integer'),
                             ('[{"mm_hash": 1, "offset": 0, "length": 1}, 7]',
                              'run 1: field "mm_hash" is not a non-negative integer'),
                             ('[{"mm_hash": -1, "offset": 0, "length": 1}]',
                              'run 0: field "mm_hash" is not a non-negative integer'),
                             ('[{"mm_hash": 1, "offset": 1.5, "length": 1}]',
                              'run 0: field "offset" is not a non-negative integer'),
                             ('[{"mm_hash": 1, "offset": "0", "length": 1}]',
                              'run 0: field "offset" is not a non-negative integer')):
            path = self.file("runs.json", runs)
            self.fails(3, f"{path}: {reason}\n", "hash", "-", "--runs", path, stdin="1 2 3 4")

    def test_runs_that_do_not_fit_the_tokens(self):
        for runs in ([(1, 0, 0)], [(1, 3, 2)], [(1, 0, 2), (2, 1, 2)], [(1, 2**64 - 1, 2)]):
            path = self.file("runs.json", json.dumps(
                [dict(zip(("mm_hash", "offset", "length"), run)) for run in runs]))
            done = run("hash", "-", "--runs", path, stdin="1 2 3 4")
            self.assertEqual((done.returncode, done.stdout), (3, b""))
            self.assertTrue(done.stderr.decode().startswith(f"{path}: "), done.stderr)

    def test_missing_runs(self):
        path = self.scratch / "missing.json"
        self.fails(1, f"{path}: No such file or directory\n", "hash", "-", "--runs", path, stdin="1 2 3 4")


if __name__ == "__main__":
    unittest.main()
