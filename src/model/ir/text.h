#pragma once
// The readable text form of a graph, for people, tests and diffs. ParseText(ToText(g)) gives an
// equal graph.
//
//   graph "name" {
//     input %x: float32[N, 3, 8, 8]
//     // also zeros, iota, fill(0.5), [1, 2.5, -3], base64"..."
//     const %w: float32[4, 3, 3, 3] = random(7)
//     %y: float32[N, 4, 8, 8] = Conv(%x, %w, _) {pads = [1, 1, 1, 1]} "conv1"
//     %z = slipway.Add(%y, %y) {activation = "Relu"}
//     output %z
//   }
//
// `_` is an absent optional input or output; types after ':' and the node name are optional;
// several outputs are separated by commas; values with characters outside [A-Za-z0-9_./:-] are
// written %"quoted". Floats print so that they read back exactly. Further lines and clauses:
//
//     meta "producer" = "pytorch 2.1"
//     // the range of a symbol
//     range N = [1, 64]
//     // names of the imported nodes that it stands for
//     %y = Relu(%x) "relu1" from ["conv1", "relu1"]
//     %y = If(%c) "if1" body "then_branch" graph "b" { ... }
//
// Types of sequences and optionals are written seq(float32[N, 3]), optional(float32[?]) and
// optional(seq(float32[?])), where [?] is an unknown rank.
//
// A list of floats holds at least one '.', 'e', inf or nan; empty lists print as ints[], floats[]
// or strings[]. Where the operator table knows the attribute, its type decides instead. `//` starts
// a comment.

#include <memory>
#include <string>
#include <string_view>

#include "base/status.h"
#include "model/ir/graph.h"

namespace slipway::ir {

struct TextOptions {
  // Constants with more elements print as `elided(sha256 prefix)`, which does not parse back; -1
  // prints all (base64 beyond 16 elements).
  int64_t max_constant_elements = -1;
  bool types = true;
};

std::string ToText(const Graph& graph, const TextOptions& options = {});
// Errors give line and column. Limits: 64 MiB of text, 10 million elements per constant.
Result<std::unique_ptr<Graph>> ParseText(std::string_view text);
// One type as Type::ToString writes it.
Result<Type> ParseTypeText(std::string_view text);

}  // namespace slipway::ir
