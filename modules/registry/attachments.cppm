//! kvbm.registry:attachments: values and callbacks that users hang on the entry of a hash.
//!
//! A type is attached in one of two modes, fixed by its first value for the life of the entry:
//! *unique* (one value, replaced by the next) or *multiple* (a list that grows). Types do not know
//! of each other.
module;

#include <concepts>
#include <cstddef>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <type_traits>
#include <typeindex>
#include <utility>
#include <variant>
#include <vector>

export module kvbm.registry:attachments;

export import kvbm.core;
export import kvbm.hash;
import :entry;

namespace kvbm {

/// Why a value was not attached: its type has the other mode. The attachments are as they were; the
/// value is gone. Source: blocks.md K9.
export struct AttachmentError {
    /// attach_unique() of a type with multiple values.
    struct TypeAlreadyRegisteredAsMultiple {
        std::string_view type;  ///< the type's name
    };
    /// attach() of a type with a unique value.
    struct TypeAlreadyRegisteredAsUnique {
        std::string_view type;  ///< the type's name
    };
    std::variant<TypeAlreadyRegisteredAsMultiple, TypeAlreadyRegisteredAsUnique> reason;
    std::string message() const;
};

/// What can be attached: any type of objects that can be moved. Not `bool`, of which a vector has
/// no span.
export template <class T>
concept Attachable = std::is_object_v<T> && std::same_as<T, std::remove_cv_t<T>> &&
                     std::move_constructible<T> && !std::same_as<T, bool>;

/// Called by BlockRegistrationHandle::touch().
export using TouchCallback = std::function<void(const SequenceHash&)>;

namespace detail::registry {

/// A type's name, as the compiler spells it. For the layers above, not for users.
export template <class T>
constexpr std::string_view attached_type_name() noexcept {
    constexpr std::string_view mark = "T = ";
    const std::string_view function = __PRETTY_FUNCTION__;
    const auto start = function.find(mark) + mark.size();
    return function.substr(start, function.rfind(']') - start);
}

/// The values of one type. For the layers above, not for users.
export class AttachedValues {
  public:
    AttachedValues(std::type_index type, std::string_view type_name, bool is_unique) noexcept
        : type_(type), type_name_(type_name), is_unique_(is_unique) {}
    AttachedValues(const AttachedValues&) = delete;
    AttachedValues& operator=(const AttachedValues&) = delete;
    virtual ~AttachedValues() = default;

    std::type_index type() const noexcept { return type_; }
    std::string_view type_name() const noexcept { return type_name_; }
    bool is_unique() const noexcept { return is_unique_; }
    /// Moves the values of another object of the same type behind these.
    virtual void append(AttachedValues& more) = 0;

  private:
    std::type_index type_;
    std::string_view type_name_;
    bool is_unique_;
};

/// The same with the type. For the layers above, not for users.
export template <class T>
class ValuesOf final : public AttachedValues {
  public:
    ValuesOf(T&& value, bool is_unique)
        : AttachedValues(typeid(T), attached_type_name<T>(), is_unique) {
        values.push_back(std::move(value));
    }
    void append(AttachedValues& more) override {
        for (T& value : static_cast<ValuesOf&>(more).values) {
            values.push_back(std::move(value));
        }
    }

    std::vector<T> values;
};

/// Attaches the values, or says why not. No user code but a move runs under the lock. For the
/// layers above, not for users.
export [[nodiscard]] Result<void, AttachmentError> attach(Entry& entry,
                                                          std::unique_ptr<AttachedValues> values);

/// Holds the lock on an entry's attachments, if it has any. For the layers above, not for users.
export class AttachmentsInUse {
  public:
    explicit AttachmentsInUse(const Entry& entry);
    /// The values of a type, or null.
    AttachedValues* find(std::type_index type) const noexcept;

  private:
    core::Lock lock_;
    const std::vector<std::unique_ptr<AttachedValues>>* attachments_ = nullptr;
};

/// Adds a callback. For the layers above, not for users.
export void add_callback(Entry& entry, TouchCallback callback);
/// Calls the callbacks that there are now, in order, with no lock held. For the layers above, not
/// for users.
export void call_callbacks(const Entry& entry);

}  // namespace detail::registry

}  // namespace kvbm
