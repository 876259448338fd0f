// Any bytes as a TensorFlow Lite model: the importer must answer with a graph or an error, quickly
// and in little memory.

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <memory>

#include "base/aligned.h"
#include "model/frontends/tflite/import.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  auto bytes = std::make_shared<slipway::AlignedBuffer>(size);
  std::copy(data, data + size, bytes->data());
  slipway::tflite::ImportOptions options;
  options.limits.tensors = 20000;
  options.limits.operators = 5000;
  options.limits.tables = 100000;
  // The identifier is no obstacle.
  if (size >= 8) std::copy_n("TFL3", 4, bytes->data() + 4);
  auto graph = slipway::tflite::ImportTfliteBytes({bytes->data(), size}, bytes, options);
  if (graph.ok() || graph.status().code() != slipway::StatusCode::kInternal) return 0;
  std::fprintf(stderr, "internal error: %s\n", graph.status().ToString().c_str());
  std::abort();
}
