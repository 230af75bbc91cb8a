// kvbm_bench: times the library, one process per case, one JSON line per case.
#include <spawn.h>
#include <sys/wait.h>

#include <algorithm>
#include <charconv>
#include <chrono>
#include <cstddef>
#include <cstdio>
#include <cstdlib>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <system_error>
#include <vector>

import kvbm.bench;

namespace {

using namespace kvbm::bench;

constexpr std::string_view usage =
    "usage: kvbm_bench [--list | --golden | --only NAME] [--samples N] [--target-ms N]\n"
    "                  [--trace PATH] [--capacities N,N...] [PREFIX...]\n"
    "\n"
    "Runs the cases whose names begin with a prefix, or all but scale/, each in a process of its\n"
    "own.\n"
    "  --list        print the names only\n"
    "  --golden      print the check values of the inputs only\n"
    "  --only NAME   run exactly one case, in this process\n"
    "  --samples     samples per case, 21\n"
    "  --target-ms   least time of a sample, 5\n"
    "  --trace       the recorded trace of the cases replay/\n"
    "  --capacities  pool sizes of the cases replay/, 10000,50000\n";

struct Arguments {
    Settings settings;
    bool list = false;
    bool golden = false;
    std::string only;
    std::vector<std::string> prefixes;
    std::vector<std::string> passed_on;  ///< to the process of a case
};

[[noreturn]] void refuse(const std::string& text) {
    std::fprintf(stderr, "kvbm_bench: %s\n%.*s", text.c_str(), static_cast<int>(usage.size()),
                 usage.data());
    std::exit(2);
}

std::size_t number_of(std::string_view text) {
    std::size_t number = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
    if (error != std::errc() || end != text.data() + text.size() || number == 0) {
        refuse("not a positive number: " + std::string(text));
    }
    return number;
}

std::vector<std::size_t> numbers_of(std::string_view text) {
    std::vector<std::size_t> numbers;
    for (;;) {
        const std::size_t comma = text.find(',');
        numbers.push_back(number_of(text.substr(0, comma)));
        if (comma == std::string_view::npos) {
            return numbers;
        }
        text.remove_prefix(comma + 1);
    }
}

Arguments parse(std::span<char*> words) {
    Arguments arguments;
    arguments.settings.trace = KVBM_SOURCE_DIR "/data/mooncake_conversation_trace.jsonl";
    for (std::size_t i = 1; i < words.size(); ++i) {
        const std::string word = words[i];
        const auto value = [&] {
            if (i + 1 == words.size()) {
                refuse(word + " wants a value");
            }
            return std::string(words[++i]);
        };
        const auto passed_value = [&] {
            const std::string text = value();
            arguments.passed_on.insert(arguments.passed_on.end(), {word, text});
            return text;
        };
        if (word == "--list") {
            arguments.list = true;
        } else if (word == "--golden") {
            arguments.golden = true;
        } else if (word == "--only") {
            arguments.only = value();
        } else if (word == "--samples") {
            arguments.settings.samples = number_of(passed_value());
        } else if (word == "--target-ms") {
            arguments.settings.target = std::chrono::milliseconds(number_of(passed_value()));
        } else if (word == "--trace") {
            arguments.settings.trace = passed_value();
        } else if (word == "--capacities") {
            arguments.settings.capacities = numbers_of(passed_value());
        } else if (word.starts_with("-")) {
            refuse("unknown option " + word);
        } else {
            arguments.prefixes.push_back(word);
        }
    }
    return arguments;
}

Cases all_cases(const Settings& settings) {
    Cases cases;
    add_token_cases(cases);
    add_match_cases(cases);
    add_many_cases(cases);
    add_allocate_cases(cases);
    add_assignment_cases(cases);
    add_request_cases(cases);
    add_replay_cases(cases, settings);
    add_registry_cases(cases);
    add_thread_cases(cases);
    add_memory_cases(cases);
    return cases;
}

/// A process that has run for a while: glibc raises its thresholds for giving memory back when a
/// large block is freed. Without this a young process returns its memory after each operation and
/// pays for fresh pages in the next one.
void settle_allocator() {
    const std::vector<char> touched(std::size_t{31} << 20, 1);
    keep(touched.data());
}

/// Runs this program again for one case. False if it failed.
bool run_alone(const std::string& name, const Arguments& arguments) {
    std::vector<std::string> words{"kvbm_bench", "--only", name};
    words.insert(words.end(), arguments.passed_on.begin(), arguments.passed_on.end());
    std::vector<char*> pointers;
    for (std::string& word : words) {
        pointers.push_back(word.data());
    }
    pointers.push_back(nullptr);
    pid_t child = 0;
    int status = 0;
    const bool done =
        posix_spawn(&child, "/proc/self/exe", nullptr, nullptr, pointers.data(), environ) == 0 &&
        waitpid(child, &status, 0) == child && status == 0;
    if (!done) {
        std::fprintf(stderr, "%s: failed, status %d\n", name.c_str(), status);
    }
    return done;
}

}  // namespace

int main(int argc, char** argv) {
    const Arguments arguments = parse({argv, static_cast<std::size_t>(argc)});
    const Cases cases = all_cases(arguments.settings);
    if (!arguments.only.empty()) {
        const auto wanted = std::ranges::find(cases, arguments.only, &Case::name);
        if (wanted == cases.end()) {
            refuse("no case " + arguments.only);
        }
        settle_allocator();
        wanted->run(Run(wanted->name, arguments.settings));
        return 0;
    }
    if (!arguments.list) {
        check_inputs(arguments.golden);
    }
    if (arguments.golden) {
        return 0;
    }
    bool any = false;
    bool failed = false;
    for (const Case& each : cases) {
        const bool selected =
            (arguments.prefixes.empty() && !each.named) ||
            std::ranges::any_of(arguments.prefixes, [&](const std::string& prefix) {
                return each.name.starts_with(prefix);
            });
        if (!selected) {
            continue;
        }
        any = true;
        if (arguments.list) {
            std::printf("%s\n", each.name.c_str());
        } else {
            failed = !run_alone(each.name, arguments) || failed;
        }
    }
    if (!any) {
        refuse("no case has such a name");
    }
    return failed ? 1 : 0;
}
