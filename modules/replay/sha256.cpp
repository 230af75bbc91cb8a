module;

#include <array>
#include <cstddef>
#include <memory>
#include <string>
#include <string_view>

#include <openssl/evp.h>

module kvbm.replay;

import :reading;

namespace kvbm {

namespace detail::replay {

namespace {

EVP_MD_CTX* digest(const std::unique_ptr<void, void (*)(void*)>& context) {
    return static_cast<EVP_MD_CTX*>(context.get());
}

}  // namespace

Sha256::Sha256()
    : context_(EVP_MD_CTX_new(),
               [](void* context) { EVP_MD_CTX_free(static_cast<EVP_MD_CTX*>(context)); }) {
    expects(EVP_DigestInit_ex(digest(context_), EVP_sha256(), nullptr) == 1,
            "the system's cryptography library has SHA-256");
}

Sha256::~Sha256() = default;

void Sha256::update(std::string_view bytes) {
    expects(EVP_DigestUpdate(digest(context_), bytes.data(), bytes.size()) == 1,
            "hashing bytes in memory cannot fail");
}

std::string Sha256::hex() {
    std::array<unsigned char, 32> value{};
    expects(EVP_DigestFinal_ex(digest(context_), value.data(), nullptr) == 1,
            "a digest is asked for once");
    constexpr std::string_view digits = "0123456789abcdef";
    std::string text;
    for (const unsigned char byte : value) {
        text += digits[byte >> 4U];
        text += digits[byte & 15U];
    }
    return text;
}

}  // namespace detail::replay

std::string sha256_hex(std::string_view bytes) {
    detail::replay::Sha256 hash;
    hash.update(bytes);
    return hash.hex();
}

}  // namespace kvbm
