#pragma once
// What damaged packages are put through, by the tests here and by fuzz/package.cc: load, make a session, run. Nothing is expected but that every
// answer is a status.

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <span>

#include "base/hash.h"
#include "engine/format/package_file.h"
#include "engine/runtime/registry.h"
#include "engine/runtime/session.h"

namespace slipway::runtime {

// Makes the header's digest fit again, so that damage in the program reaches what is behind the digest.
inline void RepairDigest(std::span<uint8_t> file) {
  format::FileHeader header;
  if (file.size() < sizeof(header)) return;
  std::memcpy(&header, file.data(), sizeof(header));
  if (header.program_offset > file.size() || header.program_size > file.size() - header.program_offset) return;
  header.program_sha256 = Sha256Of(file.subspan(header.program_offset, header.program_size));
  std::memcpy(file.data(), &header, sizeof(header));
}

// Gives out at most `left` bytes: a damaged extent must not fill the machine.
struct LimitedMemory {
  size_t left;
  static void* Allocate(void* context, size_t bytes) {
    auto* self = static_cast<LimitedMemory*>(context);
    if (bytes > self->left) return nullptr;
    self->left -= bytes;
    void* p = std::aligned_alloc(64, bytes);
    // Floats that are neither large nor special, codes in the middle of their range.
    if (p) std::memset(p, 0x3c, bytes);
    return p;
  }
  static void Release(void*, void* memory) { std::free(memory); }
};

// `file` at a 64-byte aligned address. The status of the first thing that fails.
inline Status LoadAndRun(std::span<const uint8_t> file, size_t memory_limit = size_t{8} << 20) {
  SLIPWAY_ASSIGN_OR_RETURN(auto package, Package::FromMemory(file, nullptr, GlobalRegistry()));
  LimitedMemory memory{memory_limit};
  SessionOptions options;
  options.memory = {LimitedMemory::Allocate, LimitedMemory::Release, &memory};
  options.max_iterations = 200;  // a damaged loop may never end
  SLIPWAY_ASSIGN_OR_RETURN(auto session, Session::Create(package, options));
  for (int t : package->data().inputs) {
    const format::PackageTensor& input = package->data().tensors[static_cast<size_t>(t)];
    if (input.is_container()) {
      const int64_t length = input.container == format::Container::kOptional ? 1 : 2;
      SLIPWAY_RETURN_IF_ERROR(session->SetLength(input.name, length));
      for (int64_t i = 0; i < length; ++i) {
        const int64_t extent[] = {i + 1, 4};
        SLIPWAY_RETURN_IF_ERROR(session->SetItem(input.name, i, extent).status());
      }
      continue;
    }
    Dims dims;
    for (const Dim& d : input.shape) dims.push_back(d.known() ? d.value() : 2);
    SLIPWAY_RETURN_IF_ERROR(session->SetShape(input.name, dims));
    if (input.dtype != DType::kInt64) continue;
    auto view = session->Input(input.name);  // counts, where what is in the memory would be many
    if (!view.ok()) return view.status();
    std::fill_n(static_cast<int64_t*>(view->data), view->bytes / sizeof(int64_t), int64_t{2});
  }
  SLIPWAY_RETURN_IF_ERROR(session->Run());
  for (int t : package->data().outputs) {
    const format::PackageTensor& tensor = package->data().tensors[static_cast<size_t>(t)];
    if (tensor.is_container()) {
      SLIPWAY_ASSIGN_OR_RETURN(const int64_t length, session->Length(tensor.name));
      for (int64_t i = 0; i < length; ++i) SLIPWAY_RETURN_IF_ERROR(session->Item(tensor.name, i).status());
      continue;
    }
    auto output = session->Output(tensor.name);
    if (!output.ok()) return output.status();
  }
  return OkStatus();
}

}  // namespace slipway::runtime
