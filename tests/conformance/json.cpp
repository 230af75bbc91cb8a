// Text to values, with simdjson's DOM: it validates the whole text before anything is read.
module;

#include <algorithm>
#include <string>
#include <string_view>
#include <utility>

#include <simdjson.h>
#include <tl/expected.hpp>

module kvbm.conformance;

import kvbm.core;

namespace kvbm::conformance {
namespace {

Value converted(simdjson::dom::element element) {
    using simdjson::dom::element_type;
    switch (element.type()) {
        case element_type::ARRAY: {
            Array elements;
            for (const auto child : element.get_array().value_unsafe()) {
                elements.push_back(converted(child));
            }
            return elements;
        }
        case element_type::OBJECT: {
            Object members;
            for (const auto field : element.get_object().value_unsafe()) {
                const std::string name(field.key);
                const auto known = std::ranges::find(members, name, &Member::name);
                if (known != members.end()) {
                    known->value = converted(field.value);
                } else {
                    members.push_back({name, converted(field.value)});
                }
            }
            return members;
        }
        case element_type::INT64:
            return element.get_int64().value_unsafe();
        case element_type::UINT64:
            return element.get_uint64().value_unsafe();
        case element_type::DOUBLE:
            return element.get_double().value_unsafe();
        case element_type::STRING:
            return std::string(element.get_string().value_unsafe());
        case element_type::BOOL:
            return element.get_bool().value_unsafe();
        case element_type::NULL_VALUE:
            break;
    }
    return nullptr;
}

}  // namespace

Result<Value, NotJson> parse_json(std::string_view text) {
    simdjson::dom::parser parser;
    simdjson::dom::element document;
    const auto error = parser.parse(simdjson::padded_string(text)).get(document);
    if (error != simdjson::SUCCESS) {
        return failure(NotJson{simdjson::error_message(error)});
    }
    return converted(document);
}

}  // namespace kvbm::conformance
