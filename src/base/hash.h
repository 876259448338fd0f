#pragma once
// SHA-256 (FIPS 180-4) for content addresses and integrity; Hash64 for tables and canonical
// structure hashes.

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

namespace slipway {

using Sha256Digest = std::array<uint8_t, 32>;

class Sha256 {
 public:
  void Update(std::span<const uint8_t> bytes);
  void Update(std::string_view text) {
    Update(std::span(reinterpret_cast<const uint8_t*>(text.data()), text.size()));
  }
  Sha256Digest Finish();

 private:
  void Block(const uint8_t* p);
  std::array<uint32_t, 8> state_ = {0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a,
                                    0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19};
  std::array<uint8_t, 64> buffer_{};
  size_t buffered_ = 0;
  uint64_t total_ = 0;
};

Sha256Digest Sha256Of(std::span<const uint8_t> bytes);
std::string ToHex(std::span<const uint8_t> bytes);

// A 64-bit non-cryptographic hash (FNV-1a with a final mix); stable across machines and versions.
uint64_t Hash64(std::span<const uint8_t> bytes, uint64_t seed = 0);
inline uint64_t Hash64(std::string_view text, uint64_t seed = 0) {
  return Hash64(std::span(reinterpret_cast<const uint8_t*>(text.data()), text.size()), seed);
}
uint64_t HashCombine(uint64_t a, uint64_t b);

}  // namespace slipway
