module;

#include <algorithm>
#include <cstddef>
#include <cstring>
#include <functional>
#include <optional>
#include <span>
#include <string_view>
#include <utility>
#include <vector>

module kvbm.replay;

import :reading;

namespace kvbm::detail::replay {

namespace {

constexpr std::size_t chunk_bytes = std::size_t{64} * 1024;
constexpr std::string_view byte_order_mark = "\xEF\xBB\xBF";

}  // namespace

LineSource::LineSource(ByteSource source, std::size_t max_line)
    : source_(std::move(source)), max_line_(max_line), buffer_(chunk_bytes + line_padding) {}

std::optional<Line> LineSource::next() {
    ++number_;
    std::size_t searched = 0;
    while (true) {
        const std::string_view rest(buffer_.data() + begin_, end_ - begin_);
        const auto newline = rest.find('\n', searched);
        if (newline != std::string_view::npos) {
            begin_ += newline + 1;
            return line_of(rest.substr(0, newline));
        }
        searched = rest.size();
        if (longer_than_allowed(searched)) {
            return discard_rest_of_line();
        }
        if (!fill()) {
            if (rest.empty() || error_ != 0) {
                return std::nullopt;
            }
            begin_ = end_;
            return line_of(rest);
        }
    }
}

void LineSource::drain() {
    do {
        begin_ = end_;
    } while (fill());
}

// True only when no byte-order mark and no carriage return can bring the line back to its limit.
bool LineSource::longer_than_allowed(std::size_t bytes) const noexcept {
    return bytes > max_line_ && bytes - max_line_ > byte_order_mark.size() + 1;
}

Line LineSource::line_of(std::string_view text) {
    if (number_ == 1 && text.starts_with(byte_order_mark)) {
        text.remove_prefix(byte_order_mark.size());
    }
    if (text.ends_with('\r')) {
        text.remove_suffix(1);
    }
    if (text.size() <= max_line_) {
        return {text, number_, false};
    }
    // Of the allowed part only: how much of the rest is in the buffer is chance.
    const auto allowed = text.substr(0, max_line_);
    const auto lead = std::min(allowed.find_first_not_of(" \t\r"), allowed.size());
    return {allowed.substr(lead, 1), number_, true};
}

Line LineSource::discard_rest_of_line() {
    const Line line = line_of(std::string_view(buffer_.data() + begin_, end_ - begin_));
    lead_ = line.text.empty() ? '\0' : line.text.front();
    const std::string_view lead(&lead_, line.text.size());
    do {
        begin_ = end_;
        if (!fill()) {
            break;
        }
        const std::string_view rest(buffer_.data() + begin_, end_ - begin_);
        const auto newline = rest.find('\n');
        if (newline != std::string_view::npos) {
            begin_ += newline + 1;
            break;
        }
    } while (true);
    return {lead, number_, true};
}

// Makes place behind the bytes held: by moving them to the front, else by doubling the buffer.
void LineSource::make_room() {
    const auto usable = buffer_.size() - line_padding;
    if (begin_ == end_) {
        begin_ = end_ = 0;
    } else if (end_ == usable && begin_ > 0) {
        std::memmove(buffer_.data(), buffer_.data() + begin_, end_ - begin_);
        end_ -= std::exchange(begin_, 0);
    }
    if (end_ == usable) {
        buffer_.resize(2 * usable + line_padding);
    }
}

bool LineSource::fill() {
    if (error_ != 0) {
        return false;
    }
    make_room();
    const auto room = std::span(buffer_).subspan(end_, buffer_.size() - line_padding - end_);
    const auto [bytes, error] = source_(room);
    error_ = error;
    hash_.update(std::string_view(room.data(), bytes));
    end_ += bytes;
    return bytes > 0;
}

}  // namespace kvbm::detail::replay
