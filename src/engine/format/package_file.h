#pragma once
// The first 64 bytes of a package file, shared by writer and reader; little-endian. Stored: never changes.

#include <array>
#include <bit>
#include <cstdint>

#include "base/hash.h"

namespace slipway::format {

static_assert(std::endian::native == std::endian::little, "packages are mapped, not converted");

struct FileHeader {
  std::array<char, 8> magic;  // kMagic
  uint32_t format_version;
  uint32_t reserved;  // 0
  uint64_t program_offset;
  uint64_t program_size;
  Sha256Digest program_sha256;  // the program is small, so this one is checked at every load
};
static_assert(sizeof(FileHeader) == 64);

inline constexpr std::array<char, 8> kMagic = {'S', 'L', 'I', 'P', 'W', 'A', 'Y', '1'};

}  // namespace slipway::format
