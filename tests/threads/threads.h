// What the thread tests share: how long they run. Imports nothing.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdlib>

namespace kvbm_test {

/// A number of rounds, times the factor of the environment variable KVBM_REPEAT (default 1).
inline std::size_t repeats(std::size_t rounds) {
    const char* factor = std::getenv("KVBM_REPEAT");
    const std::size_t times = factor == nullptr ? 1 : std::strtoull(factor, nullptr, 10);
    return rounds * (times == 0 ? 1 : times);
}

/// Takes choices out of a number, so that consecutive numbers go through all combinations.
class Choices {
  public:
    explicit constexpr Choices(std::uint64_t number) : rest_(number) {}
    constexpr std::size_t below(std::size_t limit) {
        const std::size_t choice = rest_ % limit;
        rest_ /= limit;
        return choice;
    }

  private:
    std::uint64_t rest_;
};

}  // namespace kvbm_test
