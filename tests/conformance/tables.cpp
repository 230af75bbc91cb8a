// Guards by handle, hashes by node.
module;

#include <cstddef>
#include <cstdint>
#include <set>
#include <string>
#include <utility>
#include <vector>

module kvbm.conformance;

import :tables;
import kvbm.blocks;
import kvbm.core;
import kvbm.hash;
import kvbm.tokens;

namespace kvbm::conformance {

Guard* GuardTable::find(const Fields& args, Handle handle) {
    const auto found = guards_.find(handle);
    if (found == guards_.end()) {
        args.refuse("names the guard " + std::to_string(handle) + ", which is not there");
        return nullptr;
    }
    return &found->second;
}

std::vector<Handle> GuardTable::handles(const Fields& args) {
    auto all = args.numbers("hs");
    if (std::set(all.begin(), all.end()).size() != all.size()) {
        args.refuse("names a guard twice");
    }
    return all;
}

Forest::Forest(const Fields& config, Start& start) {
    const std::size_t block_size = config.size("block_size");
    const SaltHash salt = config.salt("salt");
    std::vector<std::vector<Token>> paths;
    for (const Fields& recorded : config.objects("nodes")) {
        const auto parent = recorded.index_or_none("parent");
        const auto tokens = recorded.tokens("tokens");
        const SequenceHash hash = recorded.sequence_hash("hash");
        if (parent && *parent >= nodes_.size()) {
            recorded.refuse("has a parent that does not stand before it");
        } else if (tokens.size() != block_size || block_size == 0) {
            recorded.refuse("has not as many tokens as a block");
        }
        if (config.trouble().any()) {
            return;
        }
        std::vector<Token> path = parent ? paths[*parent] : std::vector<Token>{};
        path.insert(path.end(), tokens.begin(), tokens.end());
        const TokenBlock block = TokenBlockSequence(path, block_size, salt).blocks().back();
        names_.try_emplace(hash, nodes_.size());
        nodes_.push_back({hash, block});
        paths.push_back(std::move(path));
        if (block.sequence_hash() != hash) {
            start.differences.push_back(
                {recorded.path() + ".hash", hex(hash), hex(block.sequence_hash())});
        }
    }
}

const Node* Forest::find(const Fields& args) const {
    const std::size_t x = args.size("x");
    if (x >= nodes_.size()) {
        args.refuse("names a node that is not there");
        return nullptr;
    }
    return &nodes_[x];
}

std::vector<std::size_t> Forest::indices(const Fields& args) const {
    std::vector<std::size_t> all;
    for (const std::uint64_t x : args.numbers("xs")) {
        if (x >= nodes_.size()) {
            args.refuse("names a node that is not there");
            return {};
        }
        all.push_back(static_cast<std::size_t>(x));
    }
    return all;
}

std::vector<SequenceHash> Forest::hashes(const Fields& args) const {
    std::vector<SequenceHash> all;
    for (const std::size_t x : indices(args)) {
        all.push_back(nodes_[x].hash);
    }
    return all;
}

Value Forest::name(const SequenceHash& hash) const {
    const auto found = names_.find(hash);
    return found == names_.end() ? Value(hex(hash)) : Value(found->second);
}

}  // namespace kvbm::conformance
