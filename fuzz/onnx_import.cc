// Any bytes as an ONNX model: the importer must answer with a graph or an error, quickly and in
// little memory; what it accepts must also export and come back. The first byte of the input is not
// special: a corpus of plain .onnx files works.

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <vector>

#include "model/frontends/onnx/export.h"
#include "model/frontends/onnx/import.h"
#include "wire_mutator.h"

using slipway::StatusCode;

namespace {

void Require(const slipway::Status& status) {
  if (status.code() != StatusCode::kInternal) return;
  std::fprintf(stderr, "internal error: %s\n", status.ToString().c_str());
  std::abort();
}

}  // namespace

extern "C" size_t LLVMFuzzerMutate(uint8_t* data, size_t size, size_t max_size);

// Half of the mutations are libFuzzer's own, half keep the message whole.
extern "C" size_t LLVMFuzzerCustomMutator(uint8_t* data, size_t size, size_t max_size,
                                          unsigned int seed) {
  if (seed % 2 == 0) return LLVMFuzzerMutate(data, size, max_size);
  const auto out = slipway::onnx::WireMutator(seed).Mutate({data, size});
  if (out.empty() || out.size() > max_size) return LLVMFuzzerMutate(data, size, max_size);
  std::copy(out.begin(), out.end(), data);
  return out.size();
}

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  auto bytes = std::make_shared<std::vector<uint8_t>>(data, data + size);
  slipway::onnx::ImportOptions options;
  options.limits.nodes = 20000;
  options.limits.values = 50000;
  auto graph = slipway::onnx::ImportOnnxBytes(*bytes, bytes, options);
  Require(graph.status());
  if (!graph.ok()) return 0;
  const int opset = 11 + static_cast<int>(size % 15);
  auto out = slipway::onnx::ExportOnnxBytes(**graph, {.opset = opset});
  Require(out.status());
  if (!out.ok()) return 0;
  auto again = std::make_shared<std::vector<uint8_t>>(std::move(*out));
  Require(slipway::onnx::ImportOnnxBytes(*again, again, options).status());
  return 0;
}
