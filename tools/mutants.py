"""What tools/mutate changes: one edit at a time inside the bodies of functions of a C++ source.

The source is cut into tokens, not parsed: comments, strings and preprocessor lines are left alone, and what is an
operator between two values shows in the blanks that clang-format puts around it. An edit that makes no sense does not
compile and counts as not viable.
"""
import re
from dataclasses import dataclass

TOKEN = re.compile(r"""
    (?P<blank>\s+ | //[^\n]* | /\*.*?\*/ | ^[ \t]*\#(?:[^\n]*\\\n)*[^\n]*)
  | (?P<text>(?:u8|[uUL])?R"(?P<mark>[^(]*)\(.*?\)(?P=mark)" | (?:u8|[uUL])?"(?:\\.|[^"\\])*" | '(?:\\.|[^'\\])+')
  | (?P<number>\d(?:'?[\w.])*)
  | (?P<word>[A-Za-z_]\w*)
  | (?P<operator><=>|<<=|>>=|->\*|\.\.\.|::|->|\+\+|--|<<|>>|<=|>=|==|!=|&&|\|\||[-+*/%&|^]=|.)
""", re.VERBOSE | re.DOTALL | re.MULTILINE)

BETWEEN = {
    "boundary": {"<": "<=", "<=": "<", ">": ">=", ">=": ">"},
    "comparison": {"==": "!=", "!=": "==", "<": ">=", "<=": ">", ">": "<=", ">=": "<"},
    "arithmetic": {"+": "-", "-": "+", "*": "/", "/": "*", "%": "/", "+=": "-=", "-=": "+=", "&": "|", "|": "&",
                   "^": "|", "<<": ">>", ">>": "<<", "|=": "&=", "&=": "|="},
    "logic": {"&&": "||", "||": "&&"},
}
WORDS = {
    "constant": {"true": "false", "false": "true"},
    "end": {"push_back": "push_front", "push_front": "push_back", "pop_back": "pop_front", "pop_front": "pop_back",
            "front": "back", "back": "front", "first": "last", "last": "first", "begin": "end", "end": "begin",
            "min": "max", "max": "min", "lower_bound": "upper_bound", "upper_bound": "lower_bound"},
}
# What begins a statement that is no expression.
NO_EXPRESSION = {"auto", "case", "const", "constexpr", "default", "do", "else", "for", "friend", "goto", "if", "namespace",
                 "return", "static", "static_assert", "struct", "switch", "template", "throw", "try", "typedef", "using",
                 "while"}
# Calls whose order of arguments does not matter, and what is of no consequence or there for the tests' sake.
COMMUTATIVE = {"min", "max", "swap"}
EXEMPT = {"prefetch", "pause_point"}
LOCKS = {"Lock", "SharedLock", "UniqueLock", "lock_guard", "scoped_lock", "shared_lock", "unique_lock"}
CLOSING = {"(": ")", "{": "}", "[": "]"}


@dataclass(frozen=True)
class Token:
    kind: str
    text: str
    begin: int

    @property
    def end(self) -> int:
        return self.begin + len(self.text)


@dataclass(frozen=True)
class Mutant:
    """An edit: the bytes begin..end of the file become `after`."""
    file: str
    line: int
    column: int
    operator: str
    before: str
    after: str
    begin: int
    end: int

    @property
    def key(self) -> tuple[str, int, int, str, str, str]:
        return (self.file, self.line, self.column, self.operator, shown(self.before), shown(self.after))

    def apply(self, source: str) -> str:
        return source[:self.begin] + self.after + source[self.end:]


def shown(text: str) -> str:
    """Text as one line of the log."""
    return " ".join(text.split())


def tokens_of(source: str) -> list[Token]:
    return [Token(match.lastgroup if match.lastgroup != "mark" else "text", match.group(), match.start())
            for match in TOKEN.finditer(source) if match.lastgroup != "blank"]


def partner(tokens: list[Token], at: int) -> int:
    """The index of the bracket that closes the one at `at`."""
    opening, closing = tokens[at].text, CLOSING[tokens[at].text]
    depth = 0
    for i in range(at, len(tokens)):
        if tokens[i].text == opening:
            depth += 1
        elif tokens[i].text == closing:
            depth -= 1
            if depth == 0:
                return i
    raise ValueError(f"no {closing} for the {opening} at {tokens[at].begin}")


def is_container(head: list[Token]) -> bool:
    """Whether the brace behind these tokens opens what holds functions: a namespace, a class."""
    texts = [token.text for token in head]
    while texts[:1] == ["template"]:
        depth = 0
        for i, text in enumerate(texts[1:], 1):
            depth += {"<": 1, ">": -1, ">>": -2}.get(text, 0)
            if depth <= 0:
                break
        texts = texts[i + 1:]
    if texts[:1] in (["export"], ["extern"]):
        texts = texts[1:]
    return not texts or texts[0] in {"namespace", "class", "struct", "union"}


def bodies_of(tokens: list[Token]) -> list[tuple[int, int]]:
    """Ranges of tokens inside the outermost braces of functions, braces left out."""
    bodies = []
    head: list[Token] = []
    i = 0
    while i < len(tokens):
        text = tokens[i].text
        if text == "{":
            if is_container(head):
                head = []
            else:
                end = partner(tokens, i)
                if any(token.text == "(" for token in head) and not any(token.text == "=" for token in head):
                    bodies.append((i + 1, end))
                # Behind a member initializer in braces the head goes on.
                if i + 1 < len(tokens) and end + 1 < len(tokens) and tokens[end + 1].text in {",", "{", ")"}:
                    head.append(tokens[end])
                else:
                    head = []
                i = end
        elif text in {";", "}"}:
            head = []
        elif text == ":" and head and head[-1].text in {"public", "private", "protected"}:
            head = []
        else:
            head.append(tokens[i])
        i += 1
    return bodies


def arguments_of(tokens: list[Token], at: int) -> list[tuple[int, int]]:
    """The ranges of tokens of the arguments behind the bracket at `at`."""
    end = partner(tokens, at)
    arguments = []
    begin = at + 1
    i = begin
    while i < end:
        if tokens[i].text in CLOSING:
            i = partner(tokens, i)
        elif tokens[i].text == ",":
            arguments.append((begin, i))
            begin = i + 1
        i += 1
    if begin < end:
        arguments.append((begin, end))
    return arguments


class Finder:
    def __init__(self, file: str, source: str):
        self.file = file
        self.source = source
        self.tokens = tokens_of(source)
        self.found: list[Mutant] = []

    def add(self, operator: str, begin: int, end: int, after: str):
        before = self.source[begin:end]
        line = self.source.count("\n", 0, begin) + 1
        column = begin - (self.source.rfind("\n", 0, begin) + 1) + 1
        if before != after:
            self.found.append(Mutant(self.file, line, column, operator, before, after, begin, end))

    def text(self, begin: int, end: int) -> str:
        """The source of tokens begin..end."""
        return self.source[self.tokens[begin].begin:self.tokens[end - 1].end]

    def is_between(self, i: int) -> bool:
        """Whether the operator stands between blanks, so between two values."""
        token = self.tokens[i]
        return self.source[token.begin - 1].isspace() and self.source[token.end].isspace()

    def find(self) -> list[Mutant]:
        for begin, end in bodies_of(self.tokens):
            self.statements(begin, end)
            for i in range(begin, end):
                self.token(i)
        self.found.sort(key=lambda mutant: (mutant.begin, mutant.operator, mutant.after))
        return self.found

    def token(self, i: int):
        token = self.tokens[i]
        following = self.tokens[i + 1].text
        if token.kind == "operator":
            if self.is_between(i):
                for operator, table in BETWEEN.items():
                    if token.text in table:
                        self.add(operator, token.begin, token.end, table[token.text])
            elif token.text in {"++", "--"}:
                self.add("arithmetic", token.begin, token.end, "--" if token.text == "++" else "++")
            elif token.text == "!":
                self.add("logic", token.begin, token.end, "")
        elif token.kind == "number" and re.fullmatch(r"\d+[uU]?[lL]{0,2}|\d+U", token.text):
            value, suffix = re.fullmatch(r"(\d+)(\w*)", token.text).groups()
            self.add("constant", token.begin, token.end, f"{int(value) + 1}{suffix}")
            if int(value) > 0:
                self.add("constant", token.begin, token.end, f"{int(value) - 1}{suffix}")
        elif token.kind == "word":
            for operator, table in WORDS.items():
                if token.text in table and (operator == "constant" or following == "("):
                    self.add(operator, token.begin, token.end, table[token.text])
            if token.text in {"if", "while"} and following == "(":
                self.condition(i + 1)
            elif following == "(" and token.text not in NO_EXPRESSION | COMMUTATIVE:
                self.swap(i + 1)

    def condition(self, at: int):
        end = partner(self.tokens, at)
        begin = at + 1
        for i in range(begin, end):
            if self.tokens[i].text == ";":
                begin = i + 1
        texts = [token.text for token in self.tokens[begin:end]]
        compares = any(self.tokens[i].text in BETWEEN["comparison"] and self.is_between(i) for i in range(begin, end))
        joins = "&&" in texts or "||" in texts
        if "=" in texts or texts[0] == "!" or (compares and not joins):
            return  # a declaration, or what the operators `logic` and `comparison` negate
        self.add("condition", self.tokens[begin].begin, self.tokens[end - 1].end, f"!({self.text(begin, end)})")

    def swap(self, at: int):
        arguments = arguments_of(self.tokens, at)
        for (a, b), (c, d) in zip(arguments, arguments[1:]):
            swappable = not any(token.text in {"{", "["} or token.kind == "text" or token.text.startswith("memory_order")
                                for token in self.tokens[a:d])
            if a < b and c < d and swappable:
                self.add("swap", self.tokens[a].begin, self.tokens[d - 1].end,
                         f"{self.text(c, d)}, {self.text(a, b)}")

    def statements(self, begin: int, end: int):
        """Statements that can be left out: expressions, locks, jumps out of loops."""
        start = begin
        i = begin
        while i < end:
            text = self.tokens[i].text
            if text in {"(", "["}:
                closing = partner(self.tokens, i)
                self.lambdas(i + 1, closing)
                i = closing
            elif text in {"{", "}"} or (text == ":" and self.tokens[start].text in {"case", "default"}):
                start = i + 1
            elif text == ";":
                self.statement(start, i)
                start = i + 1
            i += 1

    def lambdas(self, begin: int, end: int):
        """Statements in the braces between brackets."""
        i = begin
        while i < end:
            if self.tokens[i].text == "{":
                closing = partner(self.tokens, i)
                self.statements(i + 1, closing)
                i = closing
            i += 1

    def statement(self, begin: int, end: int):
        if begin >= end:
            return
        while self.tokens[begin].text in {"if", "while", "for"} and self.tokens[begin + 1].text == "(":
            begin = partner(self.tokens, begin + 1) + 1  # its body without braces
            if begin >= end:
                return
        words = [token.text for token in self.tokens[begin:end]]
        if EXEMPT & set(words):
            return
        begins, stops = self.tokens[begin].begin, self.tokens[end - 1].end
        if words in (["break"], ["continue"]):
            self.add("drop", begins, stops, "")
        elif self.is_lock(words):
            self.add("lock", begins, stops, "")
        elif words[0] not in NO_EXPRESSION and not self.is_declaration(begin, end):
            self.add("drop", begins, stops, "")

    @staticmethod
    def is_lock(words: list[str]) -> bool:
        return any(word in LOCKS for word in words[:words.index("(") if "(" in words else 0])

    def is_declaration(self, begin: int, end: int) -> bool:
        """Whether two names follow each other, before anything is called or assigned: `Slot& slot = ...`."""
        head = []
        depth = 0
        for token in self.tokens[begin:end]:
            depth += {"<": 1, ">": -1, ">>": -2}.get(token.text, 0)
            if depth <= 0 and token.text in {"(", "=", "{", "[", ".", "->", "+=", "-=", "|=", "&=", "<<", "++", "--"}:
                break
            if depth <= 0 and token.text != ">":
                head.append(token)
        names = [token for token in head if token.text not in {"*", "&", "&&"}]
        return any(a.kind == "word" and b.kind == "word" for a, b in zip(names, names[1:]))


def mutants_of(file: str, source: str) -> list[Mutant]:
    """All edits of a source, in the order of the file; equal edits once."""
    unique = {}
    for mutant in Finder(file, source).find():
        unique.setdefault((mutant.begin, mutant.end, mutant.after), mutant)
    return list(unique.values())
