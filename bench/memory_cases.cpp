// Resident memory per block.
module;

#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <fstream>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

module kvbm.bench;

namespace kvbm::bench {

namespace {

constexpr std::size_t usual_blocks = 1'048'576;
/// Where the memory of blocks, not that of the program, is most of what a process has.
constexpr std::size_t scale_least = 65'536;
constexpr std::size_t chain_length = 128;

std::int64_t resident_bytes() {
    std::ifstream file("/proc/self/statm");
    std::int64_t all_pages = 0;
    std::int64_t resident_pages = 0;
    expects(static_cast<bool>(file >> all_pages >> resident_pages),
            "the system tells the memory of a process");
    return resident_pages * sysconf(_SC_PAGESIZE);
}

std::string field(const char* name, std::int64_t bytes, std::size_t blocks) {
    std::array<char, 64> text{};
    std::snprintf(text.data(), text.size(), ",\"%s\":%.1f", name,
                  static_cast<double>(bytes) / static_cast<double>(blocks));
    return text.data();
}

void weigh(const Run& run, std::string_view policy, std::size_t blocks) {
    const std::int64_t before = resident_bytes();
    auto manager = make_manager(policy, blocks);
    const std::int64_t built = resident_bytes() - before;

    Lists lists;
    ChainStream resident(seeds::resident, chain_length);
    for (std::size_t i = 0; i < blocks / chain_length; ++i) {
        allocate(manager, chain_length, lists.fresh);
        publish(manager, lists, resident.take(chain_length));
        lists.held.clear();
    }
    const std::int64_t all_inactive = resident_bytes() - before;

    // What the guards take counts, the list of hashes does not.
    ChainStream again(seeds::resident, chain_length);
    std::vector<ImmutableBlockList<>> held;
    held.reserve(blocks / chain_length);
    for (std::size_t i = 0; i < blocks / chain_length; ++i) {
        held.push_back(manager.match_blocks(again.take(chain_length)));
    }
    const std::int64_t all_active = resident_bytes() - before;

    expects(std::ranges::all_of(held, [](auto& list) { return list.size() == chain_length; }),
            "every block is hit");
    run.print("\"n\":" + std::to_string(blocks) + ",\"unit\":\"bytes/block\"" +
              field("built", built, blocks) + field("all_inactive", all_inactive, blocks) +
              field("all_active", all_active, blocks));
}

}  // namespace

void add_memory_cases(Cases& cases) {
    for (const std::string_view policy : policies) {
        cases.push_back({"memory/" + std::string(policy),
                         [=](const Run& run) { weigh(run, policy, usual_blocks); }});
    }
    for (const std::string_view policy : scale_policies) {
        for (const std::size_t blocks : scale_sizes) {
            if (blocks >= scale_least) {
                cases.push_back(
                    {"scale/memory/" + std::string(policy) + "/" + std::to_string(blocks),
                     [=](const Run& run) { weigh(run, policy, blocks); }, true});
            }
        }
    }
}

}  // namespace kvbm::bench
