module;

#include <atomic>
#include <cstdint>
#include <string>

module kvbm.core;

namespace kvbm {

namespace detail::core {

std::uint32_t next_tier_number() noexcept {
    static std::atomic<std::uint32_t> next{0};
    return next.fetch_add(1, std::memory_order_relaxed);
}

}  // namespace detail::core

std::string InvariantReport::to_string() const {
    std::string text;
    for (const auto& violation : violations) {
        text += violation.id + " [";
        for (std::size_t i = 0; i < violation.blocks.size(); ++i) {
            text += (i == 0 ? "" : " ") + std::to_string(violation.blocks[i]);
        }
        text += "]: " + violation.text + "\n";
    }
    return text;
}

}  // namespace kvbm
