#pragma once
// TensorFlow Lite file -> ir::Graph at ir::kOpset. The file is mapped and weights are used in place
// where the IR stores them in the same order; kernels of convolutions are rearranged (HWC -> CHW)
// once. Inputs and outputs keep the file's types and shapes (NHWC); between them images are carried
// as NCHW. docs/tflite.md has the table of operators and what they become.

#include <cstdint>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "base/status.h"
#include "model/frontends/tflite/reader.h"
#include "model/ir/graph.h"

namespace slipway::tflite {

// What becomes of tensors that keep their value from one run to the next (SVDF, RNN, LSTM).
enum class States {
  kAuto,    // kInputs for operators that do one step of a sequence a run, kZero for those that do a
            // whole sequence
  kInputs,  // an input NAME and an output NAME_next: the caller carries it
  kZero,    // zero at the start of every run, as in a fresh interpreter
};

struct ImportOptions {
  ReadLimits limits;
  // Replaces the shape of an input by its name, fixed or dynamic: batch, image size.
  std::map<std::string, std::vector<int64_t>> input_shapes;
  // Quantized inputs and outputs become float32; the Quantize and Dequantize that were outside the
  // model come into the graph.
  bool float_io = false;
  States states = States::kAuto;
  bool check_finite = true;  // refuse NaN in any floating constant
};

// Metadata keys of the graph: format ("tflite"), description, schema_version, signature,
// min_runtime_version, and for each quantized input and output `quantization.NAME` = "SCALE
// ZERO_POINT".
//
// Errors name the operator, its index and its first output, or the tensor, and the remedy: NotFound
// (no such file), InvalidArgument (not TFLite, damaged tables, indices out of range, buffers of the
// wrong size, shapes that contradict each other, NaN weights), DataLoss (truncated), Unsupported
// (operators outside docs/tflite.md, strings, resources, sparse tensors), ResourceExhausted
// (limits).
Result<std::unique_ptr<ir::Graph>> ImportTflite(const std::string& path,
                                                const ImportOptions& options = {});

// The same from memory: constants share `bytes`, which must live while `owner` does (a copy is made
// when `bytes` is not aligned to 16 bytes).
Result<std::unique_ptr<ir::Graph>> ImportTfliteBytes(std::span<const uint8_t> bytes,
                                                     std::shared_ptr<const void> owner,
                                                     const ImportOptions& options = {});

}  // namespace slipway::tflite
