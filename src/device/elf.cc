#include "device/elf.h"

#include "base/mapped_file.h"

namespace slipway::device {
namespace {

// The names of <elf.h>, which not every system has.
constexpr uint64_t kMagic = 0x464C457F;  // "\177ELF"
constexpr uint8_t kClass64 = 2, kLittleEndian = 1;
constexpr uint16_t kTypeShared = 3;
constexpr uint32_t kSegmentDynamic = 2, kSegmentInterpreter = 3;
constexpr size_t kHeader = 64, kSegment = 56;

uint64_t Number(std::span<const uint8_t> bytes, size_t at, size_t size) {
  uint64_t value = 0;
  for (size_t i = size; i-- > 0;) value = value << 8 | bytes[at + i];
  return value;
}

std::string Arch(uint64_t machine) {
  switch (machine) {
    case 62:
      return "x86_64";
    case 183:
      return "aarch64";
    case 243:
      return "riscv64";
    case 3:
      return "x86 of 32 bits";
    case 40:
      return "ARM of 32 bits";
    default:
      return "ELF machine " + std::to_string(machine);
  }
}

}  // namespace

Result<ElfFile> ReadElf(std::span<const uint8_t> bytes) {
  if (bytes.size() < 4 || Number(bytes, 0, 4) != kMagic) return DataLoss("no ELF file");
  if (bytes.size() < kHeader) return DataLoss("an ELF file that is cut off in its header");
  ElfFile file;
  if (bytes[5] != kLittleEndian) {
    file.arch = "a big-endian processor";
    return file;
  }
  const uint64_t machine = Number(bytes, 18, 2);
  file.arch = Arch(machine);
  if (bytes[4] != kClass64) {
    if (machine == 62 || machine == 183 || machine == 243)
      file.arch += " in a 32-bit ELF";  // ILP32: no process of ours loads it
    return file;
  }
  file.shared = Number(bytes, 16, 2) == kTypeShared;
  const uint64_t at = Number(bytes, 32, 8), size = Number(bytes, 54, 2),
                 count = Number(bytes, 56, 2);
  if (count > 0 && size != kSegment)
    return DataLoss("an ELF file whose segments have headers of " + std::to_string(size) +
                    " bytes");
  if (at > bytes.size() || count * kSegment > bytes.size() - at)
    return DataLoss("an ELF file that is cut off: " + std::to_string(count) + " segments at byte " +
                    std::to_string(at) + " of " + std::to_string(bytes.size()));
  for (uint64_t i = 0; i < count; ++i) {
    const size_t segment = static_cast<size_t>(at + i * kSegment);
    const uint64_t type = Number(bytes, segment, 4), from = Number(bytes, segment + 8, 8),
                   length = Number(bytes, segment + 32, 8);
    // A library that was not copied whole, say.
    if (from > bytes.size() || length > bytes.size() - from)
      return DataLoss("an ELF file that is cut off: a segment of " + std::to_string(length) +
                      " bytes at byte " + std::to_string(from) + " of " +
                      std::to_string(bytes.size()));
    file.is_dynamic |= type == kSegmentDynamic;
    file.has_interpreter |= type == kSegmentInterpreter;
  }
  return file;
}

Result<ElfFile> ReadElfFile(const std::string& path) {
  SLIPWAY_ASSIGN_OR_RETURN(const auto file, MappedFile::Open(path));
  auto read = ReadElf(file->bytes());
  if (!read.ok()) return DataLoss(path + ": " + read.status().message());
  return read;
}

}  // namespace slipway::device
