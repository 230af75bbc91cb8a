// Counting and printing.
module;

#include <algorithm>
#include <array>
#include <cstddef>
#include <initializer_list>
#include <ostream>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

module kvbm.conformance;

namespace kvbm::conformance {
namespace {

constexpr std::size_t records_per_group_max = 3;
constexpr std::size_t places_per_record_max = 4;
constexpr std::array<std::string_view, 2> remarks{"note", "what"};

}  // namespace

Tally& Tally::operator+=(const Tally& other) {
    passed += other.passed;
    failed += other.failed;
    skipped += other.skipped;
    return *this;
}

std::string Tally::to_string() const {
    return std::to_string(passed) + " passed, " + std::to_string(failed) + " failed, " +
           std::to_string(skipped) + " skipped";
}

Report::Report(std::ostream& out, std::string file) : out_(out), file_(std::move(file)) {}

void Report::print_name() {
    if (!std::exchange(named_, true)) {
        out_ << file_ << '\n';
    }
}

void Report::record(std::string_view group, std::string_view place,
                    const std::vector<Difference>& differences) {
    if (differences.empty()) {
        ++tally_.passed;
        return;
    }
    ++tally_.failed;
    const std::size_t nth = ++failed_of_group_[std::string(group)];
    if (nth > records_per_group_max) {
        return;
    }
    print_name();
    out_ << "  " << place << '\n';
    const std::size_t shown = std::min(differences.size(), places_per_record_max);
    for (std::size_t i = 0; i < shown; ++i) {
        const Difference& difference = differences[i];
        out_ << "    " << difference.path << ": expected " << difference.expected << ", got "
             << difference.got << '\n';
    }
    if (shown < differences.size()) {
        out_ << "    and " << differences.size() - shown << " more\n";
    }
}

void Report::skip(std::string reason) {
    ++tally_.skipped;
    ++skipped_[std::move(reason)];
}

void Report::finish() {
    print_name();
    for (const auto& [group, failed] : failed_of_group_) {
        if (failed > records_per_group_max) {
            out_ << "  " << group << ": " << failed << " records differ, the first "
                 << records_per_group_max << " are shown\n";
        }
    }
    for (const auto& [reason, count] : skipped_) {
        out_ << "  " << count << " skipped: " << reason << '\n';
    }
    out_ << "  " << tally_.to_string() << '\n';
}

void check_vector(Report& report, std::string_view group, const Fields& recorded,
                  std::initializer_list<std::string_view> inputs, const Object& actual) {
    if (recorded.trouble().any()) {
        return;
    }
    Object expected;
    if (const auto* members = recorded.value().as<Object>()) {
        for (const Member& member : *members) {
            if (std::ranges::find(inputs, member.name) == inputs.end() &&
                std::ranges::find(remarks, member.name) == remarks.end()) {
                expected.push_back(member);
            }
        }
    }
    report.record(group, recorded.path(), differences(expected, actual, Ids::compared));
}

}  // namespace kvbm::conformance
