#include "model/ir/infer.h"

#include <algorithm>
#include <set>

#include "model/ir/control.h"
#include "model/ir/infer_session.h"
#include "model/ir/infer_util.h"
#include "model/ir/inferer.h"
#include "model/ops/kernel.h"

namespace slipway::ir {
namespace {

constexpr int64_t kMaxDimension = int64_t{1} << 62;

bool FollowsElements(DType t) { return (IsInteger(t) || t == DType::kBool) && DTypeBits(t) >= 8; }

// Whether a known element is representable, so that arithmetic on it did not wrap.
bool Fits(DType t, int64_t v) {
  const int bits = DTypeBits(t);
  if (t == DType::kBool) return v == 0 || v == 1;
  if (IsSignedInteger(t))
    return bits >= 64 || (v >= -(int64_t{1} << (bits - 1)) && v < (int64_t{1} << (bits - 1)));
  return v >= 0 && (bits >= 63 || v < (int64_t{1} << bits));
}

std::optional<Elements> ConstantElements(const Tensor& t) {
  if (!FollowsElements(t.dtype()) || t.count() > kMaxElements) return std::nullopt;
  Elements out;
  for (int64_t v : t.ToInts()) out.push_back(Dim(v));
  if (static_cast<int64_t>(out.size()) != t.count()) return std::nullopt;
  return out;
}

class Context final : public InferContext {
 public:
  Context(const Node& node, Session& session) : node_(node), session_(session) {
    const size_t n = node.inputs().size();
    types_.resize(n);
    present_.resize(n, false);
    constants_.resize(n, nullptr);
    elements_.resize(n);
    outputs_.resize(node.outputs().size());
    output_elements_.resize(node.outputs().size());
    lengths_.resize(n);
    output_lengths_.resize(node.outputs().size());
  }
  void SetLength(size_t i, Dim length) { lengths_[i] = std::move(length); }
  void SetInput(size_t i, Type type, const Tensor* constant, const Elements* elements) {
    present_[i] = true;
    types_[i] = std::move(type);
    constants_[i] = constant;
    elements_[i] = elements;
  }

  std::string_view domain() const override { return node_.domain(); }
  std::string_view op() const override { return node_.op(); }
  const Attributes& attributes() const override { return node_.attributes; }
  size_t num_inputs() const override { return types_.size(); }
  size_t num_outputs() const override { return outputs_.size(); }
  bool has_input(size_t i) const override { return i < present_.size() && present_[i]; }
  const Type& input(size_t i) const override {
    static const Type kNone;
    return i < types_.size() ? types_[i] : kNone;
  }
  const Tensor* constant(size_t i) const override {
    return i < constants_.size() ? constants_[i] : nullptr;
  }
  std::optional<Elements> elements(size_t i) const override {
    if (!has_input(i)) return std::nullopt;
    std::optional<Elements> e;
    if (constants_[i]) {
      e = ConstantElements(*constants_[i]);
    } else if (elements_[i]) {
      e = *elements_[i];
      for (Dim& d : *e) d = session_.Resolve(d);
    }
    if (e && types_[i].shape) {
      const Dim n = Count(*types_[i].shape);
      if (n.known() && !n.Is(static_cast<int64_t>(e->size()))) return std::nullopt;
    }
    return e;
  }
  std::optional<Dim> length(size_t i) const override {
    if (i >= lengths_.size() || !lengths_[i]) return std::nullopt;
    return session_.Resolve(*lengths_[i]);
  }
  void set_output(size_t i, DType dtype, std::optional<SymShape> shape) override {
    if (i < outputs_.size()) outputs_[i] = Type{dtype, std::move(shape)};
  }
  void set_output(size_t i, Type type) override {
    if (i < outputs_.size()) outputs_[i] = std::move(type);
  }
  void set_length(size_t i, Dim length) override {
    if (i < output_lengths_.size()) output_lengths_[i] = std::move(length);
  }
  void set_elements(size_t i, Elements elements) override {
    if (i < outputs_.size()) output_elements_[i] = std::move(elements);
  }
  Dim fresh_symbol() override { return session_.Fresh(); }
  void assume_equal(const Dim& a, const Dim& b) override { session_.AssumeEqual(a, b); }
  bool bound(const Dim& d) const override { return session_.Bound(d); }

  // Runs the operator's function and checks what it produced.
  Status Run() {
    SLIPWAY_RETURN_IF_ERROR(CheckArity());
    for (size_t i = 0; i < types_.size(); ++i) {
      if (present_[i] && types_[i].dtype == DType::kString) {
        return Unsupported("input " + std::to_string(i) +
                           " is a tensor of strings; remove the string part of the model");
      }
      if (present_[i] && types_[i].is_container() && !TakesContainers(node_)) {
        return Unsupported("input " + std::to_string(i) + " is " + types_[i].ToString() +
                           "; the operator takes tensors only");
      }
    }
    SLIPWAY_RETURN_IF_ERROR(node_.schema()->infer(*this));
    SLIPWAY_RETURN_IF_ERROR(FillFromData());
    return CheckOutputs();
  }
  Status CheckOutputs() {
    for (size_t i = 0; i < outputs_.size(); ++i) {
      session_.Resolve(outputs_[i]);
      SLIPWAY_RETURN_IF_ERROR(CheckOutput(i));
      CheckElements(i);
    }
    return OkStatus();
  }
  std::vector<Type>& outputs() { return outputs_; }
  std::optional<Elements>& output_elements(size_t i) { return output_elements_[i]; }
  const std::optional<Dim>& output_length(size_t i) const { return output_lengths_[i]; }

 private:
  Status CheckArity() const {
    const OpSchema& s = *node_.schema();
    const auto in_range = [](size_t n, int min, int max) {
      return n >= static_cast<size_t>(min) && (max < 0 || n <= static_cast<size_t>(max));
    };
    const auto range = [](int min, int max) {
      if (max < 0) return "at least " + std::to_string(min);
      return min == max ? std::to_string(min) : std::to_string(min) + " to " + std::to_string(max);
    };
    if (!in_range(types_.size(), s.min_inputs, s.max_inputs)) {
      return Bad("has ", types_.size(), " inputs but takes ", range(s.min_inputs, s.max_inputs));
    }
    if (!in_range(outputs_.size(), s.min_outputs, s.max_outputs)) {
      return Bad("has ", outputs_.size(), " outputs but gives ",
                 range(s.min_outputs, s.max_outputs));
    }
    for (size_t i = 0; i < static_cast<size_t>(s.min_inputs); ++i) {
      if (!present_[i]) return Bad("the required input ", i, " is absent");
    }
    return OkStatus();
  }

  // Extents that the operator's own inference left to the data, when all extents and that data are known.
  Status FillFromData() {
    const auto open = [](const Type& t) {
      if (t.is_container()) return false;
      return !t.shape || std::any_of(t.shape->begin(), t.shape->end(),
                                     [](const Dim& d) { return !d.known(); });
    };
    if (std::none_of(outputs_.begin(), outputs_.end(), open)) return OkStatus();
    const ops::ShapeEntry* entry = ops::FindShapeFunction(node_.domain(), node_.op());
    if (!entry) return OkStatus();
    std::vector<ops::TensorView> in(types_.size()), out(outputs_.size());
    std::vector<Tensor> aligned(types_.size());
    for (size_t i = 0; i < types_.size(); ++i) {
      if (!present_[i]) continue;
      const auto dims = types_[i].StaticDims();
      if (!dims || types_[i].dtype == DType::kUndefined) return OkStatus();
      if (!CheckedBytes(types_[i].dtype, *dims)) return OkStatus();
      const bool data = entry->ReadsData(i);
      if (data && !constants_[i]) return OkStatus();
      if (data) aligned[i] = constants_[i]->Aligned();
      in[i] = data ? aligned[i].view() : ops::TensorView{types_[i].dtype, *dims, nullptr};
    }
    for (size_t i = 0; i < out.size(); ++i) {
      if (node_.outputs()[i]) out[i].dtype = outputs_[i].dtype;
    }
    std::vector<Dims> dims(out.size());
    SLIPWAY_RETURN_IF_ERROR(entry->function({in, out, &node_.attributes, nullptr}, dims));
    for (size_t i = 0; i < out.size(); ++i) {
      if (node_.outputs()[i] && open(outputs_[i]))
        outputs_[i].shape = SymShape(dims[i].begin(), dims[i].end());
    }
    return OkStatus();
  }

  Status CheckOutput(size_t i) const {
    const Type& t = outputs_[i];
    if (!t.shape) return OkStatus();
    if (t.shape->size() > kMaxRank)
      return Bad("output ", i, " would have ", t.shape->size(), " dimensions; at most ", kMaxRank,
                 " are supported");
    int64_t bits = std::max(DTypeBits(t.dtype), 8);
    bool empty = false, fits = true;
    for (size_t d = 0; d < t.shape->size(); ++d) {
      const Dim& dim = (*t.shape)[d];
      if (dim.overflowed())
        return Bad("dimension ", d, " of output ", i,
                   " overflows or is too complex an expression; fix the sizes of the inputs");
      if (!dim.known()) continue;
      if (dim.value() < 0)
        return Bad("dimension ", d, " of output ", i, " would be negative: ", *t.shape);
      if (dim.value() > kMaxDimension)
        return Bad("dimension ", d, " of output ", i, " is too large: ", dim);
      empty |= dim.value() == 0;
      auto product = CheckedMul(bits, dim.value());
      fits &= product.has_value();
      if (product && *product != 0) bits = *product;
    }
    if (!fits && !empty)
      return Bad("output ", i, " of shape ", *t.shape, " does not fit in memory");
    return OkStatus();
  }

  // Drops elements that could not be true.
  void CheckElements(size_t i) {
    auto& e = output_elements_[i];
    if (!e) return;
    const Type& t = outputs_[i];
    bool good = !t.is_container() && FollowsElements(t.dtype) && static_cast<int64_t>(e->size()) <= kMaxElements;
    if (good && t.shape) {
      const Dim n = Count(*t.shape);
      good = !n.known() || n.Is(static_cast<int64_t>(e->size()));
    }
    for (size_t k = 0; good && k < e->size(); ++k) {
      const Dim& d = (*e)[k];
      good = !d.overflowed() && (d.known() ? Fits(t.dtype, d.value()) : DTypeBits(t.dtype) >= 32);
    }
    if (!good) e.reset();
  }

  const Node& node_;
  Session& session_;
  std::vector<Type> types_;
  std::vector<bool> present_;
  std::vector<const Tensor*> constants_;
  std::vector<const Elements*> elements_;
  std::vector<Type> outputs_;
  std::vector<std::optional<Elements>> output_elements_;
  std::vector<std::optional<Dim>> lengths_, output_lengths_;
};

// The more specific of a declared and an inferred dimension (see infer.h); nullopt when they
// contradict.
std::optional<Dim> MergeDim(const Session& session, const Dim& declared, const Dim& inferred) {
  if (declared == inferred) return inferred;
  if (declared.overflowed()) return inferred;
  if (inferred.known()) return declared.known() ? std::nullopt : std::optional(inferred);
  if (session.Bound(inferred)) return inferred;
  return declared;
}

// What a file says about the extents in a sequence does not count: exporters write that of the
// first element.
Result<Type> Merge(const Session& session, const Value& value, const Type& inferred) {
  const Type& declared = value.type();
  Type out = inferred;
  if (out.dtype == DType::kUndefined) {
    out.dtype = declared.dtype;
    out.container = declared.container;
  }
  if (declared.dtype != DType::kUndefined && declared.container != out.container) {
    return Bad("output '", value.name(), "' is declared as ", declared.ToString(),
               " but the operator gives ", out.ToString(), "; correct the declaration");
  }
  if (declared.dtype != DType::kUndefined && declared.dtype != out.dtype) {
    return Bad("output '", value.name(), "' is declared as ", declared.dtype,
               " but the operator gives ", out.dtype, "; correct the declaration");
  }
  if (out.is_container()) return out;
  if (!out.shape) {
    out.shape = declared.shape;
    return out;
  }
  if (!declared.shape) return out;
  const auto contradiction = [&]() -> Result<Type> {
    if (value.is_output()) return inferred;
    return Bad("output '", value.name(), "' is declared with shape ", *declared.shape,
               " but the operator gives ", *inferred.shape, "; remove or correct the declaration");
  };
  if (declared.shape->size() != out.shape->size()) return contradiction();
  for (size_t i = 0; i < out.shape->size(); ++i) {
    const auto d = MergeDim(session, (*declared.shape)[i], (*out.shape)[i]);
    if (!d) return contradiction();
    (*out.shape)[i] = *d;
  }
  return out;
}

// In all types of the graph and its bodies.
void SubstituteAll(Graph& graph,
                   const std::function<std::optional<Dim>(std::string_view)>& lookup) {
  for (const auto& value : graph.values()) {
    Type t = value->type();
    if (!t.shape) continue;
    for (Dim& d : *t.shape) d = d.Substitute(lookup);
    value->set_type(std::move(t));
  }
  for (const auto& node : graph.nodes()) {
    for (auto& [name, body] : node->subgraphs) SubstituteAll(*body, lookup);
  }
}

// Replaces bound symbols in all declared types.
Status BindSymbols(Graph& graph, const std::unordered_map<std::string, int64_t>& symbols) {
  if (symbols.empty()) return OkStatus();
  std::set<std::string> known;
  for (const Value* v : graph.inputs()) {
    if (!v->type().shape) continue;
    for (const Dim& d : *v->type().shape) {
      for (std::string& s : d.Symbols()) known.insert(std::move(s));
    }
  }
  for (const auto& [name, size] : symbols) {
    if (!known.count(name)) {
      std::string all;
      for (const std::string& s : known) all += (all.empty() ? "" : ", ") + s;
      return Bad("no input has a dimension named '", name, "'; ",
                 all.empty() ? "all dimensions are fixed" : "there are: " + all);
    }
    if (size < 0) return Bad("dimension '", name, "' cannot be ", size);
    auto range = graph.symbol_ranges.find(name);
    if (range != graph.symbol_ranges.end() &&
        (size < range->second.first || size > range->second.second)) {
      return Bad("dimension '", name, "' = ", size, " is outside its range [", range->second.first,
                 ", ", range->second.second, "]");
    }
  }
  SubstituteAll(graph, [&](std::string_view s) -> std::optional<Dim> {
    auto it = symbols.find(std::string(s));
    if (it == symbols.end()) return std::nullopt;
    return Dim(it->second);
  });
  for (const auto& [name, size] : symbols) graph.symbol_ranges.erase(name);
  return OkStatus();
}

Status CheckInput(const Value& v) {
  if (!v.type().shape) return OkStatus();
  const SymShape& s = *v.type().shape;
  if (s.size() > kMaxRank)
    return Bad("input '", v.name(), "' has ", s.size(), " dimensions; at most ", kMaxRank,
               " are supported");
  int64_t bits = std::max(DTypeBits(v.dtype()), 8);
  bool empty = false, fits = true;
  for (const Dim& d : s) {
    if (d.overflowed() || (d.known() && (d.value() < 0 || d.value() > kMaxDimension))) {
      return Bad("input '", v.name(), "' has the invalid shape ", s,
                 "; sizes must be non-negative");
    }
    if (!d.known()) continue;
    empty |= d.Is(0);
    auto product = CheckedMul(bits, d.value());
    fits &= product.has_value();
    if (product && *product != 0) bits = *product;
  }
  if (!fits && !empty) return Bad("input '", v.name(), "' of shape ", s, " does not fit in memory");
  return OkStatus();
}

// Infers the types of a node's outputs in the session and writes them to its values.
Status InferOutputs(Node& node, Session& session, bool forget_declared) {
  Context context(node, session);
  for (size_t i = 0; i < node.inputs().size(); ++i) {
    const Value* v = node.inputs()[i];
    if (!v) continue;
    Type t = v->type();
    session.Resolve(t);
    auto e = session.elements.find(v);
    context.SetInput(i, std::move(t), v->constant(),
                     e == session.elements.end() ? nullptr : &e->second);
    if (auto n = session.lengths.find(v); n != session.lengths.end())
      context.SetLength(i, n->second);
  }
  if (IsControlFlow(node)) {
    SLIPWAY_ASSIGN_OR_RETURN(context.outputs(), InferControlFlow(node, session));
    SLIPWAY_RETURN_IF_ERROR(context.CheckOutputs().With(node.Describe()));
  } else {
    SLIPWAY_RETURN_IF_ERROR(context.Run().With(node.Describe()));
  }
  for (size_t i = 0; i < node.outputs().size(); ++i) {
    Value* v = node.outputs()[i];
    if (!v) continue;
    Type& inferred = context.outputs()[i];
    if (!forget_declared) {
      auto merged = Merge(session, *v, inferred);
      if (!merged.ok()) return std::move(merged).status().With(node.Describe());
      inferred = std::move(*merged);
    }
    v->set_type(std::move(inferred));
    if (auto& e = context.output_elements(i)) session.elements[v] = std::move(*e);
    if (const auto& n = context.output_length(i); n && v->type().is_sequence())
      session.lengths[v] = *n;
  }
  return OkStatus();
}

}  // namespace

void CollectSymbols(const Type& type, std::unordered_set<std::string>& into) {
  if (!type.shape) return;
  for (const Dim& d : *type.shape) {
    for (std::string& s : d.Symbols()) into.insert(std::move(s));
  }
}

void CollectBound(const Type& type, std::unordered_set<std::string>& into) {
  if (!type.is_container()) CollectSymbols(type, into);
}

bool TakesContainers(const Node& node) {
  if (!node.domain().empty()) return false;
  const std::string& op = node.op();
  return op.starts_with("Sequence") || op.starts_with("Optional") || op == "Identity" ||
         op == "SplitToSequence" || op == "ConcatFromSequence" || IsControlFlow(node);
}

Status InferNodes(Graph& graph, Session& session, bool forget) {
  for (const auto& node : graph.nodes()) {
    if (node->schema()) SLIPWAY_RETURN_IF_ERROR(InferOutputs(*node, session, forget));
  }
  return OkStatus();
}

Status InferShapes(Graph& graph, const InferOptions& options) {
  SLIPWAY_RETURN_IF_ERROR(BindSymbols(graph, options.symbols));
  Session session;
  for (const Value* v : graph.inputs()) {
    SLIPWAY_RETURN_IF_ERROR(CheckInput(*v));
    CollectBound(v->type(), session.bound);
    CollectSymbols(v->type(), session.used);
  }
  for (const auto& v : graph.values()) {
    const bool forgotten = options.forget_declared && v->producer() && v->producer()->schema();
    if (!forgotten) CollectSymbols(v->type(), session.used);
  }
  SLIPWAY_RETURN_IF_ERROR(InferNodes(graph, session, options.forget_declared));
  if (!session.equal.empty()) {
    SubstituteAll(graph, [&](std::string_view s) -> std::optional<Dim> {
      auto it = session.equal.find(std::string(s));
      return it == session.equal.end() ? std::nullopt : std::optional<Dim>(it->second);
    });
  }
  return OkStatus();
}

struct Inferer::State {
  Session session;
};

Inferer::Inferer() : state_(std::make_unique<State>()) {}
Inferer::~Inferer() = default;

Status Inferer::AddInput(const Value& input) {
  SLIPWAY_RETURN_IF_ERROR(CheckInput(input));
  CollectBound(input.type(), state_->session.bound);
  CollectSymbols(input.type(), state_->session.used);
  return OkStatus();
}

Status Inferer::AddNode(Node& node) {
  if (!node.schema())
    return Unsupported(node.Describe() + ": the operator table has no such operator");
  return InferOutputs(node, state_->session, false);
}

Result<std::vector<Type>> InferNode(const Node& node, std::span<const Type> inputs,
                                    std::span<const Tensor* const> constants) {
  if (!node.schema())
    return Unsupported(node.Describe() + ": the operator table has no such operator");
  Session session;
  Context context(node, session);
  for (size_t i = 0; i < node.inputs().size() && i < inputs.size(); ++i) {
    if (!node.inputs()[i]) continue;
    const Tensor* t =
        i < constants.size() && constants[i] && constants[i]->present() ? constants[i] : nullptr;
    context.SetInput(i, inputs[i], t, nullptr);
  }
  SLIPWAY_RETURN_IF_ERROR(context.Run().With(node.Describe()));
  std::vector<Type> out = std::move(context.outputs());
  for (Type& t : out) {
    if (t.is_container()) continue;
    bool concrete = t.shape.has_value();
    for (size_t i = 0; concrete && i < t.shape->size(); ++i) concrete = (*t.shape)[i].known();
    if (!concrete) t.shape.reset();
  }
  return out;
}

}  // namespace slipway::ir
