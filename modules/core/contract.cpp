module;

#include <cstdio>
#include <cstdlib>
#include <source_location>
#include <string_view>

module kvbm.core;

namespace kvbm::detail::core {

namespace {

[[noreturn]] void stop(const char* kind, std::string_view text,
                       const std::source_location& where) noexcept {
    std::fprintf(stderr, "%s:%u: %s: %s: %.*s\n", where.file_name(),
                 static_cast<unsigned>(where.line()), where.function_name(), kind,
                 static_cast<int>(text.size()), text.data());
    std::fflush(stderr);
    std::abort();
}

}  // namespace

void contract_failed(std::string_view rule, std::source_location where) noexcept {
    stop("broken contract", rule, where);
}

void must_failed(std::string_view message, std::source_location where) noexcept {
    stop("must() met an error", message, where);
}

}  // namespace kvbm::detail::core
