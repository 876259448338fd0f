#pragma once
// A compiled program as one C99 file and its header: weights as constant arrays, one static arena,
// no allocation, nothing but the C library's math.h and string.h. For any compiler and any chip
// with IEEE float32 arithmetic; integers have the same bits everywhere, floats where the compiler
// contracts no products and sums (-std=c99, or -ffp-contract=off).

#include <cstdint>
#include <string>
#include <vector>

#include "base/dims.h"
#include "base/dtype.h"
#include "base/status.h"
#include "engine/format/package.h"
#include "model/ir/graph.h"

namespace slipway::backends::csource {

struct SourceOptions {
  std::string name;  // what functions and files are called; made a C identifier
  uint64_t max_constant_bytes = uint64_t{64} << 20;
};

// A parameter of the function.
struct Port {
  std::string name;
  DType dtype = DType::kUndefined;
  Dims dims;
};

struct Source {
  std::string name;  // the identifier
  std::string header, source;
  std::vector<Port> inputs, outputs;  // in the function's order, which is the model's
  uint64_t arena_bytes = 0, constant_bytes = 0;  // RAM and ROM of the model's own data
};

// Unsupported names the step or tensor that C has no form for here, and what to do: extents that
// are not static, types of less than 8 bits, operators that are not in this folder's table or not
// for these types, more constants than options.max_constant_bytes.
Result<Source> GenerateSource(const format::PackageData& package, const SourceOptions& options);

// Whether GenerateSource has a form for the node's operator and types, with the reason if not.
Status CanWrite(const ir::Node& node);

// Working memory of the node's step besides its outputs.
uint64_t WorkspaceBytes(const ir::Node& node);

}  // namespace slipway::backends::csource
