#include "model/passes/pass.h"
#include "model/passes/rewrite.h"

namespace slipway::passes {
namespace {

struct Format {
  bool floating, is_signed;
  int bits;  // of the magnitude: the mantissa with its hidden bit, or the integer without its sign
  int exponent;
};

std::optional<Format> FormatOf(DType type) {
  switch (type) {
    case DType::kBool:
      return Format{false, false, 1, 0};
    case DType::kUInt8:
      return Format{false, false, 8, 0};
    case DType::kInt8:
      return Format{false, true, 7, 0};
    case DType::kUInt16:
      return Format{false, false, 16, 0};
    case DType::kInt16:
      return Format{false, true, 15, 0};
    case DType::kInt32:
      return Format{false, true, 31, 0};
    case DType::kInt64:
      return Format{false, true, 63, 0};
    case DType::kFloat16:
      return Format{true, true, 11, 5};
    case DType::kFloat32:
      return Format{true, true, 24, 8};
    case DType::kFloat64:
      return Format{true, true, 53, 11};
    default:
      return std::nullopt;
  }
}

// Every value of `from` is one of `to`.
bool IsLossless(DType from, DType to) {
  if (from == to) return true;
  auto a = FormatOf(from), b = FormatOf(to);
  if (!a || !b || to == DType::kBool) return false;
  if (a->floating) return b->floating && b->bits >= a->bits && b->exponent >= a->exponent;
  // An integer of n bits fits a mantissa of n bits; float16's exponent then suffices too.
  return b->bits >= a->bits && (b->is_signed || !a->is_signed);
}

// Cast(Cast(x)) where the inner one loses nothing.
bool MergePair(Graph& graph, Node* node) {
  if (!node->Is("Cast")) return false;
  Node* inner = ProducerOf(node->input(0), "Cast");
  if (!inner || !IsLossless(inner->input(0)->dtype(), inner->output()->dtype())) return false;
  Value* x = inner->input(0);
  // What a conversion to a narrower integer does with values out of range depends on the source
  // being an integer (wraps) or a float (undefined in ONNX): keep the kind.
  bool same_kind = IsFloating(x->dtype()) == IsFloating(inner->output()->dtype());
  if (x->dtype() == node->output()->dtype()) return BypassNode(graph, node, x);
  if (!same_kind && !IsLossless(x->dtype(), node->output()->dtype())) return false;
  Fuse(graph, {.op = "Cast", .inputs = {x}, .attributes = node->attributes}, node, {inner, node});
  return true;
}

// Indices may be int32 as well as int64.
bool DropIndexCast(Graph& graph, Node* node) {
  bool takes = node->Is("Gather") || node->Is("GatherElements");
  Node* cast = takes ? ProducerOf(node->input(1), "Cast") : nullptr;
  if (!cast || cast->input(0)->dtype() != DType::kInt32 || cast->output()->dtype() != DType::kInt64)
    return false;
  graph.SetInput(node, 1, cast->input(0));
  return true;
}

}  // namespace

Result<int> CleanupCast(ir::Graph& graph, const PassOptions&) {
  int changes = VisitNodes(
      graph, [&](Node* node) { return MergePair(graph, node) || DropIndexCast(graph, node); });
  if (changes) graph.RemoveUnused();
  return changes;
}

}  // namespace slipway::passes
