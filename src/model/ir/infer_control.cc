// Types of If, Loop and Scan: bodies are inferred with what the node gives them, a Loop's and a
// Scan's until the types that one iteration hands to the next stay the same.

#include <algorithm>

#include "model/ir/control.h"
#include "model/ir/infer_session.h"
#include "model/ir/infer_util.h"

namespace slipway::ir {

// Only a node without its bodies gets here: InferNodes takes the others.
Status InferControl(InferContext&) {
  return Unsupported("control flow is inferred with its bodies, in a graph");
}

namespace {

// Loops in loops are inferred again for every round of the outer one; files from outside may nest
// them as they like.
constexpr int64_t kMaxBodyNodes = 1'000'000;
// Rounds after which carried values lose what is still not settled.
constexpr int kPreciseRounds = 2, kRankedRounds = 4;

class ControlInference {
 public:
  ControlInference(Node& node, const ControlForm& form, Session& session)
      : node_(node), form_(form), session_(session), outer_(session.bound) {
    for (const Value* v : node.inputs()) CollectSymbols(TypeOf(v), outer_);
  }

  Result<std::vector<Type>> Run() {
    if (node_.op() == "If") return RunIf();
    return RunIterations();
  }

 private:
  Type TypeOf(const Value* v) const {
    Type t = v ? v->type() : Type{};
    session_.Resolve(t);
    return t;
  }
  std::optional<Elements> ElementsOf(const Value* v) const {
    if (!v) return std::nullopt;
    if (v->constant() && v->constant()->count() <= kMaxElements) {
      const auto ints = v->constant()->ToInts();
      if (static_cast<int64_t>(ints.size()) == v->constant()->count())
        return Elements(ints.begin(), ints.end());
      return std::nullopt;
    }
    const auto it = session_.elements.find(v);
    if (it == session_.elements.end()) return std::nullopt;
    Elements e = it->second;
    for (Dim& d : e) d = session_.Resolve(d);
    return e;
  }
  std::optional<Dim> LengthOf(const Value* v) const {
    const auto it = session_.lengths.find(v);
    if (it == session_.lengths.end()) return std::nullopt;
    return session_.Resolve(it->second);
  }
  std::optional<Dim> ScalarOf(const Value* v) const {
    const auto e = ElementsOf(v);
    if (!e || e->size() != 1) return std::nullopt;
    return (*e)[0];
  }
  Graph& Body(std::string_view name) { return *node_.subgraphs.at(std::string(name)); }

  // `inputs`: types of the body's inputs before the captured ones. `empty`: which of them are
  // sequences without tensors.
  Status InferBody(std::string_view name, const std::vector<Type>& inputs,
                   const std::vector<bool>& empty = {}) {
    Graph& body = Body(name);
    session_.body_nodes += static_cast<int64_t>(body.nodes().size()) + 1;
    if (session_.body_nodes > kMaxBodyNodes) {
      return ResourceExhausted(node_.Describe() +
                               ": its loops are nested too deeply for their shapes to be inferred; "
                               "flatten the loops or fix the shapes of what they carry");
    }
    const std::unordered_set<std::string> bound = session_.bound;
    for (const auto& v : body.values()) {
      if (v->producer() && v->producer()->schema()) v->set_type({});
      session_.elements.erase(v.get());
      session_.lengths.erase(v.get());
    }
    for (size_t i = 0; i < body.inputs().size(); ++i) {
      Value* v = body.inputs()[i];
      Type type;
      if (i < inputs.size()) {
        type = inputs[i];
        if (i < empty.size() && empty[i]) session_.lengths[v] = Dim(0);
      } else {
        const Value* captured = node_.input(i + form_.unseen);
        type = TypeOf(captured);
        if (auto e = ElementsOf(captured)) session_.elements[v] = std::move(*e);
        if (auto n = LengthOf(captured)) session_.lengths[v] = std::move(*n);
      }
      if (type.dtype == DType::kUndefined) {  // what the file said
        type.dtype = v->dtype();
        type.container = v->type().container;
      }
      CollectBound(type, session_.bound);
      CollectSymbols(type, session_.used);
      v->set_type(std::move(type));
    }
    Status status = InferNodes(body, session_, /*forget=*/true);
    session_.bound = bound;
    return std::move(status).With(node_.Describe() + ", body '" + std::string(name) + "'");
  }

  // The type without symbols that only the body knows.
  Type Leaving(Type type) {
    if (!type.shape) return type;
    for (Dim& d : *type.shape) {
      const auto symbols = d.Symbols();
      const bool outside = std::all_of(symbols.begin(), symbols.end(),
                                       [&](const std::string& s) { return outer_.count(s) > 0; });
      if (outside && !d.overflowed()) continue;
      auto [it, is_new] = renamed_.try_emplace(d.ToString());
      if (is_new) it->second = session_.Fresh();
      d = it->second;
    }
    return type;
  }

  Result<std::vector<Type>> RunIf() {
    const auto condition = ScalarOf(node_.input(0));
    const std::string_view branches[] = {"then_branch", "else_branch"};
    if (condition && condition->known()) {
      // The other branch may be impossible for these very shapes: that is why there is an If.
      const size_t taken = condition->value() != 0 ? 0 : 1;
      if (!InferBody(branches[1 - taken], {}).ok()) {
        for (const auto& v : Body(branches[1 - taken]).values()) {
          if (v->producer()) v->set_type({});
        }
      }
      SLIPWAY_RETURN_IF_ERROR(InferBody(branches[taken], {}));
      std::vector<Type> out;
      for (const Value* v : Body(branches[taken]).outputs()) out.push_back(Leaving(TypeOf(v)));
      return out;
    }
    for (std::string_view branch : branches) SLIPWAY_RETURN_IF_ERROR(InferBody(branch, {}));
    std::vector<Type> out;
    for (size_t i = 0; i < node_.outputs().size(); ++i) {
      Type a = TypeOf(Body(branches[0]).outputs()[i]), b = TypeOf(Body(branches[1]).outputs()[i]);
      if (a.dtype == DType::kUndefined) {
        a.dtype = b.dtype;
        a.container = b.container;
      }
      if (b.dtype != DType::kUndefined && a.container != b.container) {
        return Bad(node_.Describe(), ": output ", i, " is ", a, " from one branch and ", b,
                   " from the other; both must give one type");
      }
      if (b.dtype != DType::kUndefined && a.dtype != b.dtype) {
        return Bad(node_.Describe(), ": output ", i, " is ", a.dtype, " from one branch and ",
                   b.dtype, " from the other; both must give one type");
      }
      const auto na = LengthOf(Body(branches[0]).outputs()[i]),
                 nb = LengthOf(Body(branches[1]).outputs()[i]);
      if (na && na->Is(0)) {  // without tensors it fits any type
        a.shape = b.shape;
      } else if (nb && nb->Is(0)) {
        b.shape = a.shape;
      }
      if (a.shape && b.shape && a.shape->size() == b.shape->size()) {
        for (size_t d = 0; d < a.shape->size(); ++d) {
          if (!((*a.shape)[d] == (*b.shape)[d])) (*a.shape)[d] = session_.Fresh();
        }
      } else {
        a.shape.reset();
      }
      out.push_back(Leaving(std::move(a)));
    }
    return out;
  }

  // One extent that changes from iteration to iteration.
  Dim Loose() {
    Dim d = session_.Fresh();
    loose_.insert(d.ToString());
    return d;
  }
  // Makes `carried` wide enough for `given` too; true when it was already.
  Result<bool> Widen(size_t k, Type& carried, const Type& given, int round) {
    bool fits = true;
    if (carried.dtype == DType::kUndefined && given.dtype != DType::kUndefined) {
      carried.dtype = given.dtype;
      carried.container = given.container;
      fits = false;
    } else if (given.dtype != DType::kUndefined && given.container != carried.container &&
               !(carried.is_optional() && given.container == carried.Element().container)) {
      return Bad(node_.Describe(), ": carried value ", k, " goes in as ", carried,
                 " but the body returns ", given);
    } else if (given.dtype != DType::kUndefined && given.dtype != carried.dtype) {
      return Bad(node_.Describe(), ": carried value ", k, " goes in as ", carried.dtype,
                 " but the body returns ", given.dtype, "; cast it");
    }
    if (!carried.shape) return fits;
    if (!given.shape || given.shape->size() != carried.shape->size() || round >= kRankedRounds) {
      const bool same = given.shape && *given.shape == *carried.shape;
      if (!same) carried.shape.reset();
      return same && fits;
    }
    for (size_t d = 0; d < carried.shape->size(); ++d) {
      Dim& dim = (*carried.shape)[d];
      if (dim == (*given.shape)[d] || loose_.count(dim.ToString())) continue;
      dim = Loose();
      fits = false;
    }
    return fits;
  }

  Result<std::vector<Type>> RunIterations() {
    const bool loop = node_.op() == "Loop";
    std::vector<Type> types;
    if (loop) {
      types.push_back({DType::kInt64, SymShape{}});
      types.push_back({DType::kBool, SymShape{}});
    }
    const size_t first = types.size();
    for (size_t k = 0; k < form_.carried; ++k) types.push_back(TypeOf(node_.input(first + k)));
    Dim length;
    if (loop) {
      SLIPWAY_RETURN_IF_ERROR(CheckLoopInputs());
      length = TripCount();
    } else {
      SLIPWAY_ASSIGN_OR_RETURN(length, CutSlices(types));
    }
    const Graph& body = Body("body");
    // A sequence that starts without tensors takes its type from those that come, or never gets any:
    // that is assumed of all, until none fails it.
    std::vector<bool> empty(types.size(), false);
    bool assume = false;
    for (size_t k = 0; k < form_.carried; ++k) {
      const auto n = LengthOf(node_.input(first + k));
      empty[first + k] = n && n->Is(0) && types[first + k].is_sequence();
      assume |= empty[first + k];
    }
    // Whether it held for all; the others are taken as they came.
    const auto held = [&] {
      bool all = true;
      for (size_t k = 0; k < form_.carried; ++k) {
        if (!empty[first + k]) continue;
        const Value* result = body.outputs()[form_.first_result + k];
        const auto n = LengthOf(result);
        if (n && n->Is(0)) continue;
        const Type given = TypeOf(result);
        if (given.is_sequence() && given.dtype == types[first + k].dtype)
          types[first + k].shape = given.shape;
        empty[first + k] = all = false;
      }
      return all;
    };
    while (assume) {
      SLIPWAY_RETURN_IF_ERROR(InferBody("body", types, empty));
      assume = !held();
    }
    for (int round = 0;; ++round) {
      SLIPWAY_RETURN_IF_ERROR(InferBody("body", types, empty));
      bool settled = held();
      for (size_t k = 0; k < form_.carried; ++k) {
        const Type given = TypeOf(body.outputs()[form_.first_result + k]);
        SLIPWAY_ASSIGN_OR_RETURN(const bool fits, Widen(k, types[first + k], given, round));
        settled &= fits;
      }
      if (settled) break;
      if (round >= kPreciseRounds) {
        for (size_t k = 0; k < form_.carried; ++k) {
          auto& shape = types[first + k].shape;
          if (!shape) continue;
          if (round > kRankedRounds) shape.reset();
          for (size_t d = 0; shape && d < shape->size(); ++d) {
            if (!loose_.count((*shape)[d].ToString())) (*shape)[d] = Loose();
          }
        }
      }
    }
    std::vector<Type> out;
    for (size_t k = 0; k < form_.carried; ++k) {
      Type t = types[first + k];
      // What starts as an optional may come back as its element, and then leaves as that.
      if (t.is_optional() &&
          TypeOf(body.outputs()[form_.first_result + k]).container == t.Element().container)
        t = t.Element();
      if (empty[first + k] && node_.output(k)) session_.lengths[node_.output(k)] = Dim(0);
      out.push_back(Leaving(std::move(t)));
    }
    for (size_t i = form_.carried; i < node_.outputs().size(); ++i) {
      Type t = Leaving(TypeOf(body.outputs()[form_.first_result + i]));
      if (t.is_container()) {
        return Bad(node_.Describe(), ": output ", i, " is ", t,
                   " in each iteration; only tensors can be stacked");
      }
      if (t.shape) {
        size_t axis = 0;
        if (!loop) {
          const int64_t wanted = ScanAxis(node_, "scan_output_axes", i - form_.carried);
          auto normal = NormalizeAxis(wanted, t.shape->size() + 1, "scan_output_axes");
          if (!normal.ok()) return std::move(normal).status().With(node_.Describe());
          axis = *normal;
        }
        t.shape->insert(t.shape->begin() + static_cast<std::ptrdiff_t>(axis), length);
      }
      out.push_back(std::move(t));
    }
    return out;
  }

  Status CheckLoopInputs() const {
    const struct {
      size_t index;
      DType dtype;
      const char* what;
    } wanted[] = {{0, DType::kInt64, "trip count"}, {1, DType::kBool, "condition"}};
    for (const auto& w : wanted) {
      const Type t = TypeOf(node_.input(w.index));
      if (t.is_container() || (t.dtype != DType::kUndefined && t.dtype != w.dtype))
        return Bad(node_.Describe(), ": its ", w.what, " is ", t, " but must be ", w.dtype);
    }
    return OkStatus();
  }

  Dim TripCount() {
    const auto count = ScalarOf(node_.input(0));
    const auto condition = ScalarOf(node_.input(1));
    if (condition && condition->Is(0)) return Dim(0);
    if (count && (!node_.input(1) || condition) && RunsToTripCount(node_)) {
      if (count->known()) return Dim(std::max<int64_t>(count->value(), 0));
      return SeemsNonNegative(*count) ? *count : Max(*count, Dim(0));
    }
    return session_.Fresh();
  }

  // Appends the types of one slice of each scanned input; returns their common length.
  Result<Dim> CutSlices(std::vector<Type>& types) {
    std::optional<Dim> length;
    for (size_t i = 0; i < form_.scanned; ++i) {
      Type t = TypeOf(node_.input(form_.carried + i));
      if (t.is_container())
        return Bad(node_.Describe(), ": scanned input ", i, " is ", t, " but must be a tensor");
      if (t.shape) {
        auto axis = NormalizeAxis(ScanAxis(node_, "scan_input_axes", i), t.shape->size(),
                                  "scan_input_axes");
        if (!axis.ok()) return std::move(axis).status().With(node_.Describe());
        const Dim d = (*t.shape)[*axis];
        t.shape->erase(t.shape->begin() + static_cast<std::ptrdiff_t>(*axis));
        if (length && length->known() && d.known() && !(*length == d)) {
          return Bad(node_.Describe(), ": scanned inputs have ", *length, " and ", d,
                     " slices; all must have the same number");
        }
        if (length) session_.AssumeEqual(*length, d);
        if (!length || (d.known() && !length->known())) length = d;
      }
      types.push_back(std::move(t));
    }
    return length ? *length : session_.Fresh();
  }

  Node& node_;
  const ControlForm& form_;
  Session& session_;
  std::unordered_set<std::string> outer_;  // symbols that mean something outside of the bodies
  std::unordered_set<std::string> loose_;
  std::unordered_map<std::string, Dim> renamed_;
};

}  // namespace

Result<std::vector<Type>> InferControlFlow(Node& node, Session& session) {
  SLIPWAY_ASSIGN_OR_RETURN(const ControlForm form, FormOf(node));
  return ControlInference(node, form, session).Run();
}

}  // namespace slipway::ir
