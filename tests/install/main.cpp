// What a user of the library writes first: one import, a value and a template of it, and a function whose body is in
// the archive. The rule it prints comes from there.
#include <array>
#include <cstdint>
#include <cstdio>

import kvbm;

int main() {
    const kvbm::IndexRange range{2, 5};
    std::size_t sum = 0;
    for (const auto index : range) {
        sum += index;
    }
    const kvbm::Result<int, kvbm::InvariantReport> good = 9;
    const kvbm::InvariantReport report{{{"P1", {3, 7}, "lost"}}};
    std::printf("%zu %d %s\n", sum, *good, report.to_string().c_str());
    return sum == 9 && report.to_string().starts_with("P1 [3 7]: lost") ? 0 : 1;
}
