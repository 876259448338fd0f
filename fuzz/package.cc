// Any bytes as a package: loading, making a session and running must answer with a status, within little memory. Starts from good packages by itself; the
// digest of the program is repaired after every mutation, so that damage reaches what is behind it.

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <vector>

#include "base/aligned.h"
#include "engine/runtime/damage_test_util.h"
#include "engine/runtime/packages_test_util.h"

extern "C" size_t LLVMFuzzerMutate(uint8_t* data, size_t size, size_t max_size);

extern "C" size_t LLVMFuzzerCustomMutator(uint8_t* data, size_t size, size_t max_size, unsigned int seed) {
  static const auto good = slipway::GoodPackages();
  if (good.empty()) std::abort();
  if (size < 64 || std::memcmp(data, "SLIPWAY1", 8) != 0) {
    const auto& bytes = good[seed % good.size()].bytes;
    if (bytes.size() <= max_size) {
      std::memcpy(data, bytes.data(), bytes.size());
      size = bytes.size();
    }
  }
  size = LLVMFuzzerMutate(data, size, max_size);
  if (seed % 16 != 0) slipway::runtime::RepairDigest({data, size});
  return size;
}

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  slipway::AlignedBuffer file(size);
  if (size > 0) std::memcpy(file.data(), data, size);
  const slipway::Status status = slipway::runtime::LoadAndRun({file.data(), size}, size_t{4} << 20);
  if (status.code() == slipway::StatusCode::kInternal) {
    std::fprintf(stderr, "a fault of the file reported as one of ours: %s\n", status.ToString().c_str());
    std::abort();
  }
  return 0;
}
