// How a harness reports a finding.
#pragma once

#include <cstdio>
#include <cstdlib>
#include <optional>
#include <string>

/// Prints what differs, if anything does, and aborts, which is what a fuzzer keeps the input of.
inline void stop_on(const std::optional<std::string>& difference) {
    if (difference) {
        std::fprintf(stderr, "%s\n", difference->c_str());
        std::abort();
    }
}
