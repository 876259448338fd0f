#include "model/ir/stats.h"

#include <algorithm>
#include <cstring>
#include <bit>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "base/checked.h"
#include "base/hash.h"
#include "model/ir/control.h"
#include "model/ir/schema.h"
#include "model/ops/einsum.h"

namespace slipway::ir {
namespace {

// Constants of at most this many integers count as shapes, axes and indices: their values are part
// of the structure.
constexpr int64_t kMaxSteering = 1024;

const SymShape* ShapeOf(const Value* v) {
  return v && v->type().shape ? &*v->type().shape : nullptr;
}

Dim Tail(const SymShape& s, size_t from) {
  return from < s.size() ? Count(SymShape(s.begin() + static_cast<std::ptrdiff_t>(from), s.end()))
                         : Dim(1);
}

bool Steers(const Value& v) {
  return v.is_constant() && (v.dtype() == DType::kInt64 || v.dtype() == DType::kBool) &&
         v.constant()->count() <= kMaxSteering;
}

// Q [B, H, S, D] or [B, S, H*D]: the products Q K^T and P V.
Dim AttentionMacs(const Node& node, const SymShape& y) {
  const SymShape *q = ShapeOf(node.input(0)), *k = ShapeOf(node.input(1));
  if (!q || !k || q->size() != k->size() || y.size() != q->size() || q->size() < 3 || q->size() > 4)
    return Dim(0);
  Dim keys = (*k)[q->size() - 2];
  if (const SymShape* past = ShapeOf(node.input(4)); past && past->size() == 4)
    keys = keys + (*past)[2];
  // Rows of Q and of Y, heads and head sizes multiplied out, meet every key once.
  return (Count(*q) + Count(y)) * keys;
}

// Every combination of the letters of two operands is one product.
Dim EinsumMacs(const Node& node) {
  std::vector<int> ranks;
  for (const Value* v : node.inputs()) {
    if (!ShapeOf(v)) return Dim(0);
    ranks.push_back(static_cast<int>(ShapeOf(v)->size()));
  }
  const auto plan = ops::ParseEinsum(node.attributes.String("equation", ""), ranks);
  if (!plan.ok() || ranks.size() < 2) return Dim(0);
  std::vector<Dim> extents(static_cast<size_t>(ops::kEinsumLabels), Dim(1));
  for (size_t i = 0; i < ranks.size(); ++i) {
    for (size_t d = 0; d < static_cast<size_t>(ranks[i]); ++d) {
      Dim& e = extents[static_cast<size_t>(plan->terms[i].labels[d])];
      if (e.Is(1)) e = (*ShapeOf(node.input(i)))[d];
    }
  }
  Dim macs(static_cast<int64_t>(ranks.size()) - 1);
  for (const Dim& e : extents) macs = macs * e;
  return macs;
}

// What the plugin says; of one unknown extent (the batch), as long as the number grows evenly with it.
Dim CustomMacs(const Node& node) {
  std::unordered_set<std::string> symbols;
  for (const auto* list : {&node.inputs(), &node.outputs()}) {
    for (const Value* v : *list) {
      if (!v) continue;
      if (!v->type().known() || v->type().shape->size() > SLIPWAY_MAX_RANK) return Dim(0);
      for (const Dim& d : *v->type().shape) {
        for (std::string& s : d.Symbols()) symbols.insert(std::move(s));
      }
    }
  }
  const auto at = [&](int64_t size) -> std::optional<int64_t> {
    std::vector<slipway_tensor> operands[2];
    for (const auto* list : {&node.inputs(), &node.outputs()}) {
      for (const Value* v : *list) {
        slipway_tensor t{};
        t.dtype = v ? static_cast<uint32_t>(v->dtype()) : 0;
        for (size_t i = 0; v && i < v->type().shape->size(); ++i) {
          const auto extent = (*v->type().shape)[i].Evaluate(
              [&](std::string_view) { return std::optional<int64_t>(size); });
          if (!extent.ok() || *extent < 0) return std::nullopt;
          t.dims[t.rank++] = *extent;
        }
        operands[list == &node.outputs()].push_back(t);
      }
    }
    return node.schema()->custom->Macs(operands[0], operands[1], node.attributes);
  };
  const auto one = at(1);
  if (symbols.empty()) return Dim(one.value_or(0));
  const auto two = at(2), three = at(3);
  if (symbols.size() != 1 || !one || !two || !three) return Dim(0);
  const auto step = CheckedAdd(*two, -*one);
  if (!step || CheckedAdd(*three, -*two) != step) return Dim(0);
  return Dim::Symbol(*symbols.begin()) * *step + Dim(*one - *step);
}

Dim BodyMacs(const Graph& body) {
  Dim sum(0);
  for (const auto& node : body.nodes()) sum = sum + NodeMacs(*node);
  return sum;
}

// The dearer branch; all iterations when their number is known from the shapes, else one.
Dim ControlMacs(const Node& node) {
  Dim macs(0);
  for (const auto& [name, body] : node.subgraphs) macs = Max(macs, BodyMacs(*body));
  Dim iterations(1);
  if (node.Is("Loop")) {
    const Tensor* count = node.constant_input(0);
    if (count && RunsToTripCount(node) && count->ToInts().size() == 1)
      iterations = Dim(std::max<int64_t>(count->ToInts()[0], 0));
  } else if (node.Is("Scan")) {
    const auto carried = static_cast<size_t>(std::max<int64_t>(0, node.attributes.Int("carried", 0)));
    if (const SymShape* x = ShapeOf(node.input(carried))) {
      int64_t axis = ScanAxis(node, "scan_input_axes", 0);
      if (axis < 0) axis += static_cast<int64_t>(x->size());
      if (axis >= 0 && axis < static_cast<int64_t>(x->size()))
        iterations = (*x)[static_cast<size_t>(axis)];
    }
  }
  return macs * iterations;
}

}  // namespace

Dim NodeMacs(const Node& node) {
  if (!node.subgraphs.empty()) return ControlMacs(node);
  if (node.schema() && node.schema()->custom) return CustomMacs(node);
  const SymShape *x = ShapeOf(node.input(0)), *w = ShapeOf(node.input(1)),
                 *y = ShapeOf(node.output(0));
  if (node.Is("Einsum")) return EinsumMacs(node);
  if (node.Is("RNN") || node.Is("GRU") || node.Is("LSTM")) {
    const SymShape* r = ShapeOf(node.input(2));
    if (!x || !w || !r || x->size() != 3) return Dim(0);
    return (*x)[0] * (*x)[1] * (Count(*w) + Count(*r));
  }
  if (!x || !w || !y) return Dim(0);
  const bool known_domain = node.domain().empty() || node.domain() == kSlipwayDomain;
  if (!known_domain) return Dim(0);
  const std::string& op = node.op();
  if (op == "Conv" || op == "QConv" || op == "ConvInteger" || op == "DeformConv")
    return Count(*y) * Tail(*w, 1);
  if (op == "ConvDepthwise") {
    const SymShape* v = ShapeOf(node.input(2));
    return v ? (*x)[0] * Count(*w) * Tail(*x, 2) + Count(*y) * Tail(*v, 1) : Dim(0);
  }
  if (op == "SqueezeExcite") return (*x)[0] * Count(*w) * 2;
  if (op == "ConvTranspose") return Count(*x) * Tail(*w, 1);
  if (op == "Gemm" && x->size() == 2)
    return Count(*y) * (*x)[node.attributes.Int("transA", 0) != 0 ? 0 : 1];
  if ((op == "MatMul" || op == "MatMulInteger" || op == "Linear" || op == "LinearNBits" || op == "QLinear" || op == "QMatMul") && !x->empty())
    return Count(*y) * x->back();
  if (op == "Attention") return AttentionMacs(node, *y);
  if (op == "QAttention") {  // the scores, and as many columns of values
    const SymShape* v = ShapeOf(node.input(2));
    const auto perm = node.attributes.Ints("v_perm");
    if (!v || v->size() < 2 || (!perm.empty() && perm.size() != v->size())) return Dim(0);
    const auto at = static_cast<size_t>(perm.empty() ? static_cast<int64_t>(v->size()) - 2 : perm[v->size() - 2]);
    return at < v->size() ? (Count(*x) + Count(*y)) * (*v)[at] : Dim(0);
  }
  return Dim(0);
}

std::optional<WeightSparsity> SparsityOf(const Node& node) {
  const Tensor* w = node.constant_input(1);
  if (!w || w->count() == 0 || (w->dtype() != DType::kFloat32 && w->dtype() != DType::kInt8)) return std::nullopt;
  const std::string& op = node.op();
  const Dims& d = w->dims();
  // Element (output, input, tap) lies at output * out_step + input * in_step + tap.
  int64_t outputs, inputs, taps = 1, out_step, in_step;
  if ((op == "Conv" || op == "QConv") && d.rank() >= 3) {
    outputs = d[0], inputs = d[1], taps = d.count(2, d.rank());
    out_step = inputs * taps, in_step = taps;
  } else if ((op == "Gemm" || op == "MatMul" || op == "Linear" || op == "QLinear") && d.rank() == 2) {
    const bool transposed = node.attributes.Int(op == "Gemm" ? "transB" : "transW", 0) != 0;
    outputs = d[transposed ? 0 : 1], inputs = d[transposed ? 1 : 0];
    out_step = transposed ? inputs : 1, in_step = transposed ? 1 : outputs;
  } else {
    return std::nullopt;
  }
  const auto* bytes = w->bytes().data();
  const bool wide = w->dtype() == DType::kFloat32;
  auto is_zero = [&](int64_t i) {
    if (!wide) return bytes[i] == 0;
    uint32_t bits;
    std::memcpy(&bits, bytes + 4 * i, 4);
    return bits << 1 == 0;  // -0 too
  };
  WeightSparsity s{.two_of_four = true};
  int64_t zeros = 0, blocks = 0, zero_blocks = 0;
  for (int64_t tap = 0; tap < taps; ++tap) {
    for (int64_t o = 0; o < outputs; o += kSparseBlockOutputs) {
      for (int64_t i = 0; i < inputs; i += kSparseBlockInputs) {
        const int64_t o_end = std::min<int64_t>(outputs, o + kSparseBlockOutputs), i_end = std::min<int64_t>(inputs, i + kSparseBlockInputs);
        int64_t block = 0;
        for (int64_t r = o; r < o_end; ++r) {
          int64_t row = 0;
          for (int64_t c = i; c < i_end; ++c) row += is_zero(r * out_step + c * in_step + tap);
          if (i_end - i - row > 2) s.two_of_four = false;
          block += row;
        }
        zeros += block;
        ++blocks;
        zero_blocks += block == (o_end - o) * (i_end - i);
      }
    }
  }
  s.zeros = static_cast<double>(zeros) / static_cast<double>(w->count());
  s.zero_blocks = static_cast<double>(zero_blocks) / static_cast<double>(blocks);
  if (inputs < 4) s.two_of_four = false;  // nothing to leave out
  return s;
}

std::optional<int64_t> NodeBytes(const Node& node) {
  int64_t total = 0;
  for (const auto* values : {&node.inputs(), &node.outputs()}) {
    for (const Value* v : *values) {
      if (!v) continue;
      const auto dims = v->type().StaticDims();
      const auto bytes = dims ? CheckedBytes(v->dtype(), *dims) : std::nullopt;
      const auto sum = bytes ? CheckedAdd(total, *bytes) : std::nullopt;
      if (!sum) return std::nullopt;
      total = *sum;
    }
  }
  return total;
}

namespace {

void AddStats(const Graph& graph, std::unordered_set<const uint8_t*>& counted, GraphStats& s) {
  for (const auto& v : graph.values()) {
    if (!v->is_constant() || v->uses().empty() || Steers(*v)) continue;
    // A constant that several bodies share is one parameter.
    const auto bytes = v->constant()->bytes();
    if (!bytes.empty() && !counted.insert(bytes.data()).second) continue;
    s.parameters += v->constant()->count();
    s.parameter_bytes += static_cast<int64_t>(bytes.size());
  }
  for (const auto& node : graph.nodes()) {
    ++s.ops[node->FullOp()];
    for (const auto& [name, body] : node->subgraphs) AddStats(*body, counted, s);
  }
}

}  // namespace

GraphStats Stats(const Graph& graph) {
  GraphStats s;
  std::unordered_set<const uint8_t*> counted;
  AddStats(graph, counted, s);
  s.macs = BodyMacs(graph);
  return s;
}

namespace {

struct AttributeHash {
  uint64_t operator()(int64_t v) const { return HashCombine(1, static_cast<uint64_t>(v)); }
  uint64_t operator()(float v) const { return HashCombine(2, std::bit_cast<uint32_t>(v)); }
  uint64_t operator()(const std::string& v) const { return HashCombine(3, Hash64(v)); }
  template <typename T>
  uint64_t operator()(const std::vector<T>& values) const {
    uint64_t h = HashCombine((*this)(T()), values.size());
    for (const T& v : values) h = HashCombine(h, (*this)(v));
    return h;
  }
};

class Hasher {
 public:
  Hasher(const Graph& graph, bool with_shapes) : graph_(graph), with_shapes_(with_shapes) {}

  // Labels flow down from inputs and constants, then up from the outputs, so that a node is told
  // apart by all that it depends on and all that depends on it. Sums over users and over nodes make
  // the result independent of their order.
  uint64_t Run() {
    NameSymbols();
    for (size_t i = 0; i < graph_.inputs().size(); ++i) {
      down_[graph_.inputs()[i]] = HashCombine(HashCombine(11, i), TypeHash(*graph_.inputs()[i]));
    }
    for (const auto& v : graph_.values()) {
      if (v->is_constant()) down_[v.get()] = ConstantHash(*v);
    }
    std::unordered_map<const Node*, uint64_t> label;
    for (const auto& node : graph_.nodes()) {
      uint64_t h = NodeHash(*node);
      for (const Value* v : node->inputs()) h = HashCombine(h, v ? down_[v] : 17);
      for (size_t i = 0; i < node->outputs().size(); ++i) {
        const Value* v = node->outputs()[i];
        h = HashCombine(h, v ? TypeHash(*v) : 19);
      }
      label[node.get()] = h;
      for (size_t i = 0; i < node->outputs().size(); ++i) {
        if (node->outputs()[i]) down_[node->outputs()[i]] = HashCombine(h, i);
      }
    }
    std::unordered_map<const Value*, uint64_t> up;
    for (size_t i = 0; i < graph_.outputs().size(); ++i)
      up[graph_.outputs()[i]] += HashCombine(23, i);
    uint64_t total = HashCombine(graph_.inputs().size(), graph_.outputs().size());
    for (auto it = graph_.nodes().rbegin(); it != graph_.nodes().rend(); ++it) {
      const Node& node = **it;
      uint64_t h = label[&node];
      for (const Value* v : node.outputs()) h = HashCombine(h, v ? up[v] : 29);
      for (size_t i = 0; i < node.inputs().size(); ++i) {
        if (node.inputs()[i]) up[node.inputs()[i]] += HashCombine(h, i);
      }
      total += HashCombine(31, h);
    }
    // Which constants are shared, and inputs that are outputs at once.
    for (const auto& v : graph_.values()) {
      if (!v->producer() && v->IsUsed())
        total += HashCombine(HashCombine(37, down_[v.get()]), up[v.get()]);
    }
    for (const Value* v : graph_.outputs()) total = HashCombine(total, down_[v]);
    return HashCombine(total, with_shapes_ ? 1 : 0);
  }

 private:
  // Symbols are named by the place where they first appear in the inputs; others are all alike.
  void NameSymbols() {
    for (const Value* v : graph_.inputs()) {
      if (!v->type().shape) continue;
      for (const Dim& d : *v->type().shape) {
        for (const std::string& s : d.Symbols())
          names_.emplace(s, Dim::Symbol("s" + std::to_string(names_.size())));
      }
    }
  }
  uint64_t TypeHash(const Value& v) const {
    uint64_t h = static_cast<uint64_t>(v.dtype());
    if (v.type().is_container())
      h = HashCombine(h, 59 + static_cast<uint64_t>(v.type().container));
    if (!with_shapes_) return h;
    if (!v.type().shape) return HashCombine(h, 41);
    for (const Dim& d : *v.type().shape) {
      const Dim renamed = d.Substitute([&](std::string_view s) -> std::optional<Dim> {
        auto it = names_.find(std::string(s));
        return it == names_.end() ? Dim::Symbol("u") : it->second;
      });
      h = HashCombine(h, Hash64(renamed.ToString()));
    }
    return h;
  }
  uint64_t ConstantHash(const Value& v) const {
    uint64_t h = HashCombine(43, TypeHash(v));
    if (Steers(v)) {
      for (int64_t e : v.constant()->ToInts()) h = HashCombine(h, static_cast<uint64_t>(e));
    }
    return h;
  }
  uint64_t NodeHash(const Node& node) const {
    uint64_t h = HashCombine(Hash64(node.FullOp()), node.inputs().size());
    for (const auto& [name, value] : node.attributes.entries()) {
      const AttributeSchema* a = node.schema() ? node.schema()->FindAttribute(name) : nullptr;
      if (a && a->default_value && *a->default_value == value) continue;  // the same as not given
      h = HashCombine(HashCombine(h, Hash64(name)), std::visit(AttributeHash(), value));
    }
    for (const auto& [key, body] : node.subgraphs)
      h = HashCombine(HashCombine(h, Hash64(key)), StructureHash(*body, with_shapes_));
    return h;
  }

  const Graph& graph_;
  const bool with_shapes_;
  std::unordered_map<const Value*, uint64_t> down_;
  std::unordered_map<std::string, Dim> names_;
};

}  // namespace

uint64_t StructureHash(const Graph& graph, bool with_shapes) {
  return Hasher(graph, with_shapes).Run();
}

}  // namespace slipway::ir
