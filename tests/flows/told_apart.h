// Values that differ in one field must not be equal.
#pragma once

#include <cstddef>

#include <gtest/gtest.h>

namespace kvbm_test {

/// `value` equals its copy, and no copy of which one of the `change(copy)` altered a field.
template <class T>
void expect_told_apart_by(const T& value, const auto&... change) {
    const T same = value;
    EXPECT_TRUE(value == same);
    std::size_t place = 0;
    const auto differs_by = [&](const auto& alter) {
        T other = value;
        alter(other);
        EXPECT_FALSE(value == other) << "change " << place;
        ++place;
    };
    (differs_by(change), ...);
}

}  // namespace kvbm_test
