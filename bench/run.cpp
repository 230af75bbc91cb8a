// How a case is timed, and the line it prints.
module;

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstddef>
#include <cstdio>
#include <functional>
#include <string>
#include <vector>

module kvbm.bench;

namespace kvbm::bench {

namespace {

double per_operation(const Timed& timed) {
    return static_cast<double>(timed.time.count()) /
           static_cast<double>(std::max<std::size_t>(timed.operations, 1));
}

/// The number of operations that make a sample last the target.
std::size_t operations_for(std::chrono::nanoseconds target,
                           const std::function<Timed(std::size_t)>& sample) {
    constexpr std::size_t most = std::size_t{1} << 26;
    std::size_t operations = 1;
    for (;;) {
        const Timed timed = sample(operations);
        if (timed.time >= target || operations >= most) {
            return operations;
        }
        const double wanted =
            static_cast<double>(target.count()) * 1.1 / std::max(per_operation(timed), 0.5);
        operations = std::clamp(static_cast<std::size_t>(wanted), operations + 1, 16 * operations);
    }
}

/// The value below which that part of a sorted list lies.
double quantile(const std::vector<double>& sorted, double part) {
    const auto at = std::lround(static_cast<double>(sorted.size() - 1) * part);
    return sorted[static_cast<std::size_t>(at)];
}

std::string fixed(double value, int digits) {
    std::array<char, 64> text{};
    std::snprintf(text.data(), text.size(), "%.*f", digits, value);
    return text.data();
}

}  // namespace

void Run::measure(std::size_t items, const std::function<Timed(std::size_t)>& sample,
                  const Shape& shape) const {
    const std::size_t operations = shape.whole ? 1 : operations_for(settings_.target, sample);
    for (std::size_t i = 0; i < shape.warmups; ++i) {
        sample(operations);
    }
    std::vector<double> times;
    std::size_t operations_done = 0;
    for (std::size_t i = 0; i < settings_.samples; ++i) {
        const Timed timed = sample(operations);
        operations_done = timed.operations;
        times.push_back(per_operation(timed));
    }
    std::ranges::sort(times);
    const double median = quantile(times, 0.5);

    std::string fields =
        "\"n\":" + std::to_string(items) + ",\"unit\":\"" + std::string(shape.unit) +
        "\",\"samples\":" + std::to_string(times.size()) +
        ",\"ops_per_sample\":" + std::to_string(operations_done) +
        ",\"min_ns\":" + fixed(times.front(), 2) + ",\"median_ns\":" + fixed(median, 2) +
        ",\"p90_ns\":" + fixed(quantile(times, 0.9), 2) + ",\"per_item_ns\":" +
        fixed(median / static_cast<double>(std::max<std::size_t>(items, 1)), 3);
    if (shape.bytes != 0) {
        fields += ",\"mb_per_s\":" + fixed(static_cast<double>(shape.bytes) * 1e3 / median, 1);
    }
    if (shape.more) {
        fields += shape.more(median);
    }
    print(fields);
}

void Run::print(const std::string& fields) const {
    std::printf("{\"name\":\"%s\",%s,\"allocator\":\"system\"}\n", name_.c_str(), fields.c_str());
    std::fflush(stdout);
}

}  // namespace kvbm::bench
