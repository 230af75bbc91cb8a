//! kvbm.conformance: replays recorded behaviour and says where the library differs.
//!
//! A recording is a script (a header line, then scripts of operations, each with its result and the
//! state after it) or one document of vectors. The runner performs each call, writes what it got as
//! a Value in the form of the recording, and compares the two trees leaf by leaf. So a recorded
//! member that the runner does not compute is a difference, never overlooked.
//!
//!   file -> Value (json) -> Fields (typed reading) -> Machine or document replay -> Value ->
//!   Report
//!
//! Bad input is never an abort: typed reads note the first trouble and give a default; whoever
//! performs a call looks at the trouble first.
module;

#include <concepts>
#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <iosfwd>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include <tl/expected.hpp>

export module kvbm.conformance;

import kvbm.core;
import kvbm.hash;

namespace kvbm::conformance {

export class Value;
/// A template only because a Value holds some, before it is complete.
export template <class Content>
struct NamedValue {
    std::string name;
    Content value;
};
export using Member = NamedValue<Value>;
export using Array = std::vector<Value>;
/// Members in the order written; a repeated name keeps the last value.
export using Object = std::vector<Member>;

/// A block id of ours. Written like any number; may be left out of a comparison.
export struct Id {
    BlockId value = 0;
};

/// One JSON value, recorded or made by the runner.
export class Value {
  public:
    using Content = std::variant<std::nullptr_t, bool, std::uint64_t, std::int64_t, double,
                                 std::string, Id, Array, Object>;

    Value() = default;
    Value(std::nullptr_t) {}
    Value(std::same_as<bool> auto flag) : content_(flag) {}
    template <std::unsigned_integral Number>
        requires(!std::same_as<Number, bool>)
    Value(Number number) : content_(std::uint64_t{number}) {}
    /// Held as unsigned unless negative.
    template <std::signed_integral Number>
    Value(Number number) {
        if (number < 0) {
            content_ = std::int64_t{number};
        } else {
            content_ = static_cast<std::uint64_t>(number);
        }
    }
    Value(std::floating_point auto number) : content_(double{number}) {}
    Value(const char* text) : content_(std::string(text)) {}
    Value(std::string text) : content_(std::move(text)) {}
    Value(Id id) : content_(id) {}
    Value(Array elements) : content_(std::move(elements)) {}
    Value(Object members) : content_(std::move(members)) {}
    /// A half-open range: [first, last].
    Value(const IndexRange& range);
    /// Nothing is null.
    template <class T>
    Value(const std::optional<T>& maybe) {
        if (maybe) {
            *this = Value(*maybe);
        }
    }

    const Content& content() const { return content_; }
    Content& content() { return content_; }
    /// The alternative held, or null.
    template <class T>
    const T* as() const {
        return std::get_if<T>(&content_);
    }
    /// The member of an object, or null.
    const Value* find(std::string_view name) const;

  private:
    Content content_;
};

/// One value per element, made by `make`.
export template <class Range, class Make>
Array list(const Range& range, Make make) {
    Array values;
    for (const auto& element : range) {
        values.emplace_back(make(element));
    }
    return values;
}
/// One value per element.
export template <class Range>
Array list(const Range& range) {
    return list(range, [](const auto& element) { return Value(element); });
}

/// `0x` and 16 digits.
export std::string hex(std::uint64_t number);
/// `0x` and 32 digits.
export std::string hex(const SequenceHash& hash);
export std::string hex(const PositionalSequenceHash& hash);
/// Two digits per byte, no prefix.
export std::string hex_bytes(std::span<const std::uint8_t> bytes);

/// The value as JSON on one line.
export std::string to_json(const Value& value);

/// Text that is not JSON.
export struct NotJson {
    std::string reason;
    std::string message() const { return reason; }
};
/// One JSON value and nothing after it.
export Result<Value, NotJson> parse_json(std::string_view text);

/// Whether ids are part of a comparison.
export enum class Ids { compared, free };

/// A place in a record where recorded and computed value differ.
export struct Difference {
    std::string path;
    std::string expected;
    std::string got;
};
/// Where `actual` is not what was recorded. Order of members is free; a number and its text of 16
/// hexadecimal digits are equal.
export std::vector<Difference> differences(const Value& expected, const Value& actual, Ids ids);

/// The first thing wrong with an input; later ones follow from it and are dropped.
export class Trouble {
  public:
    void report(std::string text);
    bool any() const { return !text_.empty(); }
    const std::string& text() const { return text_; }

  private:
    std::string text_;
};

/// Typed reading of the members of one object. A member that is missing or of another form is noted
/// as trouble, and a default is given. Refers to the value and the trouble, owns neither.
export class Fields {
  public:
    Fields(const Value& value, std::string path, Trouble& trouble);

    const Value& value() const { return *value_; }
    const std::string& path() const { return path_; }
    Trouble& trouble() const { return *trouble_; }
    /// Notes trouble with this object.
    void refuse(std::string_view reason) const;

    /// Whether the member is there and not null.
    bool has(std::string_view name) const;
    /// A number, or its 16 hexadecimal digits.
    std::uint64_t number(std::string_view name) const;
    std::size_t size(std::string_view name) const;
    /// As number(), but -1 counts as nothing.
    std::optional<std::size_t> index_or_none(std::string_view name) const;
    std::uint64_t hash64(std::string_view name) const;
    /// The salt of a member that is null or missing is 0.
    SaltHash salt(std::string_view name) const;
    SequenceHash sequence_hash(std::string_view name) const;
    bool flag(std::string_view name) const;
    std::string text(std::string_view name) const;
    std::vector<std::uint8_t> bytes(std::string_view name) const;
    Token token(std::string_view name) const;
    std::vector<Token> tokens(std::string_view name) const;
    std::vector<std::uint64_t> numbers(std::string_view name) const;
    std::vector<std::uint64_t> hashes64(std::string_view name) const;
    std::vector<SequenceHash> sequence_hashes(std::string_view name) const;
    std::vector<std::string> texts(std::string_view name) const;
    std::vector<MultimodalRun> runs(std::string_view name) const;
    /// The elements of an array, as they are.
    const Array& elements(std::string_view name) const;
    Fields object(std::string_view name) const;
    std::vector<Fields> objects(std::string_view name) const;

  private:
    const Value* member(std::string_view name) const;
    std::string place(std::string_view name) const;
    template <class T, class Convert>
    T read(std::string_view name, std::string_view what, Convert convert) const;
    template <class T, class Convert>
    std::vector<T> read_all(std::string_view name, std::string_view what, Convert convert) const;

    const Value* value_;
    std::string path_;
    Trouble* trouble_;
};

/// What the value is if it is a number, or the 16 hexadecimal digits of one.
export std::optional<std::uint64_t> as_number(const Value& value);

/// Records that passed, differed, and were left out.
export struct Tally {
    std::size_t passed = 0;
    std::size_t failed = 0;
    std::size_t skipped = 0;

    friend bool operator==(const Tally&, const Tally&) = default;
    Tally& operator+=(const Tally& other);
    /// `N passed, N failed, N skipped`
    std::string to_string() const;
};

/// Counts the records of one file and prints what differed.
export class Report {
  public:
    Report(std::ostream& out, std::string file);

    /// Counts one record: passed if there are no differences. Prints the first few places of the
    /// first few records of a group (a script, a member).
    void record(std::string_view group, std::string_view place,
                const std::vector<Difference>& differences);
    void skip(std::string reason);
    /// Prints each reason for skipping once with its count, and the sums.
    void finish();
    const Tally& tally() const { return tally_; }

  private:
    void print_name();

    std::ostream& out_;
    std::string file_;
    bool named_ = false;
    Tally tally_;
    std::map<std::string, std::size_t> skipped_;
    std::map<std::string, std::size_t, std::less<>> failed_of_group_;
};

/// What an operation gave, and the state after it, in the form of the recording.
export struct Outcome {
    Value res;
    Value st;
    /// The operation worked on something that differs since an accident.
    bool follows_accident = false;
};

/// The objects of one script, and the operations on them.
export class Machine {
  public:
    Machine() = default;
    Machine(const Machine&) = delete;
    Machine& operator=(const Machine&) = delete;
    virtual ~Machine() = default;

    /// Performs one operation, or notes trouble and does nothing.
    virtual Outcome perform(std::string_view operation, const Fields& args) = 0;
    /// An operation marked as an accident of the recorded version differed, as decided. True: later
    /// outcomes say whether they follow from it. False: nothing later in the script is comparable.
    virtual bool follow_accident(const Fields& args);
    virtual Ids ids() const { return Ids::compared; }
};

/// Calls the member of the machine that the operation names; an unknown one is trouble. A table's
/// entries have a `name` and a pointer to member `apply`.
template <class Table, class Owner>
Value dispatch(const Table& table, Owner& machine, std::string_view operation, const Fields& args) {
    for (const auto& entry : table) {
        if (entry.name == operation) {
            return (machine.*entry.apply)(args);
        }
    }
    args.trouble().report("unknown operation \"" + std::string(operation) + "\"");
    return {};
}

/// Whether ours is another behaviour than the recorded version's accident of this name; nothing for
/// a name that is none.
std::optional<bool> decided_otherwise(std::string_view accident);

/// How a script begins: a machine, or the reason why its subject cannot be replayed yet, or
/// trouble.
export struct Start {
    std::unique_ptr<Machine> machine;
    std::string not_built;
    /// Recorded members of the configuration that are not what the library computes.
    std::vector<Difference> differences;
};

Start start_token_sequence(const Fields& header, const Fields& config);
Start start_assignments(const Fields& header, const Fields& config);
Start start_logical_assignments(const Fields& header, const Fields& config);
Start start_manager(const Fields& header, const Fields& config);
Start start_requests(const Fields& header, const Fields& config);
Start start_scheduled(const Fields& header, const Fields& config);

/// Notes trouble unless the header's version is the one this runner knows.
void check_version(const Fields& header);

/// A file of scripts while it is replayed line by line.
class ScriptReplay {
  public:
    ScriptReplay(Value header, Report& report);

    /// The next line after the header.
    void replay(const Value& line);
    /// What is wrong with the header or the last line.
    const Trouble& trouble() const { return trouble_; }

  private:
    void begin(const Fields& line);
    void replay_operation(const Fields& line);
    /// An operation that cannot be performed: malformed, or a consequence of an earlier difference.
    void refuse(const std::string& operation, const std::string& place, const std::string& reason);

    Value header_;
    Report& report_;
    Trouble trouble_;
    Start (*start_)(const Fields& header, const Fields& config) = nullptr;

    bool begun_ = false;
    std::string name_;
    std::unique_ptr<Machine> machine_;
    /// Why the rest of the script is left out; empty if it is not.
    std::string skip_reason_;
    std::uint64_t next_operation_ = 0;
    bool with_accidents_ = false;
    bool differed_ = false;
};

/// Counts one vector: `actual` against all members of `recorded` that are neither inputs nor
/// remarks. Counts nothing after trouble.
void check_vector(Report& report, std::string_view group, const Fields& recorded,
                  std::initializer_list<std::string_view> inputs, const Object& actual);

/// One member of a document, and the replay of its vectors; what is malformed is noted as trouble.
struct MemberReplay {
    std::string_view name;
    void (*replay)(const Fields& document, Report& report);
};
/// Replays every member of a document but its header. A member nobody knows is trouble.
void replay_members(const Fields& document, Report& report, std::span<const MemberReplay> known);

void replay_hashing(const Fields& document, Report& report);
void replay_tinylfu(const Fields& document, Report& report);
void replay_edge_cases(const Fields& document, Report& report);
void replay_attachments(const Fields& document, Report& report);

void replay_sequences(const Fields& document, Report& report);
void replay_long_sequence(const Fields& document, Report& report);
void replay_multimodal_sequences(const Fields& document, Report& report);
void replay_encodings(const Fields& document, Report& report);
void replay_decoded_msgpack(const Fields& document, Report& report);
void replay_decoded_json(const Fields& document, Report& report);

/// An error of the multimodal runs as recorded: the fields of its kind and the text, with the
/// kind's own name under `kind_member`.
Object recorded_runs_error(const MultimodalError& error, std::string_view kind_member);
Value recorded_runs(std::span<const MultimodalRun> runs);

/// What came of one file.
export struct FileResult {
    Tally tally;
    /// Where and why the file is no recording; empty if it is one.
    std::string malformed;
};

/// Replays one file given as text. `name` is what messages call it.
export FileResult replay_text(std::string_view name, std::string_view text, std::ostream& out);

/// The program: replays files, prints the sums. 0: nothing failed; 1: something did; 2: a file
/// could not be read or is malformed.
export int run(std::span<const std::string> files, std::ostream& out, std::ostream& err);

}  // namespace kvbm::conformance
