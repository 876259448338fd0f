#pragma once
// What the header of an ELF file says: for which processor it is, and what kind of file. Files of
// strangers: nothing is believed that does not lie within the file.

#include <cstdint>
#include <span>
#include <string>

#include "base/status.h"

namespace slipway::device {

struct ElfFile {
  std::string arch;              // "x86_64", "aarch64", "riscv64", or "ELF machine 40"
  bool is_dynamic = false;       // has a dynamic section: loads, or is, a shared library
  bool has_interpreter = false;  // a program that a loader starts
  // A library that dlopen takes, as far as the header can say.
  bool shared_library() const { return shared && is_dynamic; }
  bool shared = false;  // of the type ET_DYN: a library, or a program that runs at any address
};

// DataLoss: no ELF file, or one that is cut off. 64-bit little-endian files are read further;
// others have their kind in `arch`.
Result<ElfFile> ReadElf(std::span<const uint8_t> bytes);
// With the path in errors. NotFound, InvalidArgument (a folder).
Result<ElfFile> ReadElfFile(const std::string& path);

}  // namespace slipway::device
