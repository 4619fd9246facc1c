// SPDX-License-Identifier: BSD-3-Clause
#include "mpi/files/checksum.hpp"

#include "base/error.hpp"

#include <openssl/evp.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <memory>
#include <vector>

namespace xrdct::files {

namespace {

class Sha256 {
  public:
    Sha256() : context_(EVP_MD_CTX_new(), &EVP_MD_CTX_free) {
        if (!context_ || EVP_DigestInit_ex(context_.get(), EVP_sha256(), nullptr) != 1)
            throw Error("the SHA-256 of the crypto library is not available");
    }
    void add(const void* data, std::size_t bytes) {
        if (EVP_DigestUpdate(context_.get(), data, bytes) != 1)
            throw Error("computing a SHA-256 failed");
    }
    std::string hex() {
        unsigned char digest[EVP_MAX_MD_SIZE];
        unsigned int length = 0;
        if (EVP_DigestFinal_ex(context_.get(), digest, &length) != 1)
            throw Error("computing a SHA-256 failed");
        std::string text;
        for (unsigned int i = 0; i < length; ++i) {
            constexpr const char* digits = "0123456789abcdef";
            text += digits[digest[i] >> 4];
            text += digits[digest[i] & 15];
        }
        return text;
    }

  private:
    std::unique_ptr<EVP_MD_CTX, decltype(&EVP_MD_CTX_free)> context_;
};

} // namespace

std::string sha256_of_file(const std::filesystem::path& path) {
    const std::unique_ptr<std::FILE, int (*)(std::FILE*)> file(std::fopen(path.c_str(), "rb"),
                                                               &std::fclose);
    if (!file)
        throw Error(path.string() + ": cannot be read: " + std::strerror(errno));
    Sha256 sha;
    std::vector<char> buffer(std::size_t{1} << 20);
    while (const std::size_t n = std::fread(buffer.data(), 1, buffer.size(), file.get()))
        sha.add(buffer.data(), n);
    if (std::ferror(file.get()) != 0)
        throw Error(path.string() + ": reading failed: " + std::strerror(errno));
    return sha.hex();
}

std::string sha256_of_text(std::string_view text) {
    Sha256 sha;
    sha.add(text.data(), text.size());
    return sha.hex();
}

std::string base64(std::span<const std::byte> data) {
    std::string text(4 * ((data.size() + 2) / 3) + 1, '\0');
    EVP_EncodeBlock(reinterpret_cast<unsigned char*>(text.data()),
                    reinterpret_cast<const unsigned char*>(data.data()),
                    static_cast<int>(data.size()));
    text.pop_back();
    return text;
}

std::string md5_base64(std::string_view bytes) {
    unsigned char digest[EVP_MAX_MD_SIZE];
    unsigned int length = 0;
    if (EVP_Digest(bytes.data(), bytes.size(), digest, &length, EVP_md5(), nullptr) != 1)
        throw Error("computing an MD5 failed");
    return base64(std::as_bytes(std::span(digest, length)));
}

} // namespace xrdct::files
