// kvbm: replays traces, hashes tokens, generates and inspects workloads. See `kvbm --help`.
#include <cstdio>
#include <exception>
#include <new>
#include <string>
#include <type_traits>
#include <variant>

import kvbm.tool;

namespace {

using namespace kvbm;
using namespace kvbm::tool;

Result<void, Failure> carry_out(const Errand& errand) {
    return std::visit(
        [](const auto& command) -> Result<void, Failure> {
            if constexpr (std::is_same_v<std::decay_t<decltype(command)>, std::string>) {
                return write_out(command);
            } else {
                return run(command);
            }
        },
        errand);
}

int end(const Failure& failure) {
    if (failure.code == ExitCode::usage) {
        std::fprintf(stderr, "kvbm: %s\nkvbm --help lists what there is\n", failure.text.c_str());
    } else {
        std::fprintf(stderr, "%s\n", failure.text.c_str());
    }
    return static_cast<int>(failure.code);
}

}  // namespace

int main(int count, char** values) {
    watch_for_interrupts();
    const auto errand = parse_arguments(count, values);
    if (!errand) {
        return end(errand.error());
    }
    // The library throws nothing of its own; memory may run out.
    try {
        const auto done = carry_out(*errand);
        return done ? static_cast<int>(ExitCode::done) : end(done.error());
    } catch (const std::bad_alloc&) {
        return end({ExitCode::failed, "kvbm: out of memory"});
    } catch (const std::exception& thrown) {
        return end({ExitCode::failed, std::string("kvbm: internal error: ") + thrown.what()});
    }
}
