#pragma once
// What the passes on sequences share.

#include <optional>
#include <vector>

#include "model/passes/rewrite.h"

namespace slipway::passes {

// The one element of a constant position; nullopt when it is computed.
std::optional<int64_t> PositionOf(const Value* value);

// Whether one of these values is the whole of a sequence, in order: as SequenceConstruct, Insert
// and Erase at constant positions say.
std::optional<std::vector<Value*>> ItemsOf(const Value* sequence);

// A tensor of x cut by SplitToSequence without sizes, as SequenceAt with this position gives it,
// from x itself: before `before`, which is in x's graph. Null when the rank of the position is not
// known.
Value* PieceOf(Graph& graph, Value* x, const Node& split, Value* position, const Type& type,
               Node* before);

// How many pieces such a SplitToSequence makes, as an int64 scalar; null when x's rank is not
// known.
Value* CountPieces(Graph& graph, Value* x, const Node& split, Node* before);

}  // namespace slipway::passes
