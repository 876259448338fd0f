#pragma once
// ir::Graph -> ONNX file of any opset from 11 to ir::kOpset. What an opset lacks is written in
// simpler operators (expand.h); quantization is written as QuantizeLinear / DequantizeLinear.

#include <cstdint>
#include <string>
#include <vector>

#include "base/status.h"
#include "model/ir/graph.h"

namespace slipway::onnx {

struct ExportOptions {
  int opset = 17;  // 11..ir::kOpset; blocked, 4-bit and 16-bit quantization need 21
  // Above this many bytes of constants the weights go into PATH.data beside the model (protobuf
  // holds at most 2 GiB in one file).
  int64_t external_data_threshold = int64_t{1} << 30;
  bool qonnx = false;       // quantization as QONNX Quant nodes instead of QuantizeLinear
  // Quantization that ONNX cannot hold (logarithmic codes, roundings other than half to even) is
  // written as nodes of the domain `slipway`, which the importer reads back; else it is Unsupported.
  bool own_quantization = false;
  bool value_info = true;  // write the known types of intermediate values
};

// Errors: Unsupported names the node that the opset (or ONNX) cannot hold and the remedy;
// InvalidArgument a wrong opset; Unavailable and the other errors of WriteFile when the file cannot
// be written.
Status ExportOnnx(const ir::Graph& graph, const std::string& path,
                  const ExportOptions& options = {});

// The same into memory; ResourceExhausted when the model needs external data.
Result<std::vector<uint8_t>> ExportOnnxBytes(const ir::Graph& graph,
                                             const ExportOptions& options = {});

}  // namespace slipway::onnx
