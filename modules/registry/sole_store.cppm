//! kvbm.registry:sole_store: what a registry asks of its only store, whose blocks need no entries.
//!
//! An entry per block is a second table beside the store's own index, written with each block that
//! comes and goes. While a registry has one store, and nobody is to be told of entries, it does
//! without: a hash is registered by standing in the store's index, and gets an entry when somebody
//! asks for a handle. From the second store on, every registered hash has one.
module;

#include <cstddef>
#include <cstdint>
#include <functional>

export module kvbm.registry:sole_store;

export import kvbm.core;
export import kvbm.hash;

namespace kvbm::detail::registry {

/// The only store of a registry. For the layers above, not for users.
///
/// Its mutex guards the table of the registry too: who has it may read and write the table; who
/// has the registry's lock takes it as well, in this order. All but mutex() and tier() is called
/// with it held.
export class SoleStore {
  public:
    SoleStore() = default;
    SoleStore(const SoleStore&) = delete;
    SoleStore& operator=(const SoleStore&) = delete;

    virtual core::Mutex& mutex_of_store() const noexcept = 0;
    virtual TierId tier_of_store() const noexcept = 0;

    /// Whether a block is registered under the hash, with or without an entry.
    virtual bool holds(const SequenceHash& hash) const noexcept = 0;
    /// Hashes registered here that have no entry.
    virtual std::size_t without_entry() const noexcept = 0;
    /// The block registered under the hash, which has none, gets this entry, with a reference.
    virtual void give_entry(const SequenceHash& hash, std::uint32_t entry) noexcept = 0;
    /// Each block without an entry gets the one that `make` makes of its hash, and from now on the
    /// store registers its blocks with the registry.
    virtual void give_entries(
        const std::function<std::uint32_t(const SequenceHash&)>& make) noexcept = 0;

  protected:
    ~SoleStore() = default;
};

}  // namespace kvbm::detail::registry
