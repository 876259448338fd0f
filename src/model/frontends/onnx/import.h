#pragma once
// ONNX file -> ir::Graph at ir::kOpset. The file is mapped and its weights are used in place: the
// graph keeps the map alive. A model's own functions are expanded (functions.h), and every node is
// upgraded from the opset of the model or function (1..ir::kOpset) operator by
// operator (upgrade.h). Nothing in a file can crash, hang or exhaust memory out of proportion to
// its size.

#include <cstdint>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "base/status.h"
#include "model/frontends/onnx/proto.h"
#include "model/ir/graph.h"

namespace slipway::onnx {

struct ImportOptions {
  ParseLimits limits;
  // Replaces the declared shape of an input by its name: fixes a dynamic batch or image size. A
  // symbol replaced in one input is replaced everywhere.
  std::map<std::string, std::vector<int64_t>> input_shapes;
  // The shapes above hold also where the model declares another rank: for files whose declarations
  // are wrong.
  bool any_rank = false;
  // Refuse NaN in any floating constant, and infinity in the operands of convolutions, matrix
  // products and normalisations (elsewhere -inf is a legitimate mask).
  bool check_finite = true;
  // For inspection only: nodes of unknown operators stay in the graph (schema() == nullptr), and
  // neither shapes nor the graph are checked.
  bool keep_unknown_operators = false;
};

// Metadata keys of the graph: producer, producer_version, domain, model_version, ir_version, opset,
// doc, and metadata.KEY for the file's own.
//
// Errors, each naming the node, tensor or field and the remedy: NotFound (no such file),
// InvalidArgument (not ONNX, undefined or doubly defined values, cycles, impossible shapes, wrong
// sizes, NaN weights, an escape of external data from the model's folder), DataLoss (truncated),
// Unsupported (unknown operators, all listed; strings, sparse tensors, sequences, training mode,
// opsets outside 1..ir::kOpset), ResourceExhausted (limits).
Result<std::unique_ptr<ir::Graph>> ImportOnnx(const std::string& path,
                                              const ImportOptions& options = {});

// The same from memory: constants share `bytes`, which must live while `owner` does. External data
// is refused.
Result<std::unique_ptr<ir::Graph>> ImportOnnxBytes(std::span<const uint8_t> bytes,
                                                   std::shared_ptr<const void> owner,
                                                   const ImportOptions& options = {});

}  // namespace slipway::onnx
