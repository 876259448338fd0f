#include "model/interp/interpreter.h"

#include <map>
#include <set>
#include <string>
#include <unordered_map>

#include "model/ir/control.h"
#include "model/ir/infer.h"
#include "model/ir/schema.h"

namespace slipway::interp {
namespace {

using ir::Tensor;
using ir::Type;
using ir::Value;

std::string Given(const Tensor& t) { return t.Describe(); }

Type TypeOf(const Tensor& t) {
  SymShape shape;
  shape.reserve(t.dims().size());
  for (int64_t d : t.dims()) shape.push_back(Dim(d));
  Type type{t.dtype(), std::move(shape)};
  if (t.is_container()) {
    type.container = t.container();
    type.shape.reset();
  }
  return type;
}

// Symbol -> value and where it was first seen.
struct Binding {
  int64_t value;
  std::string where;
};
using Bindings = std::map<std::string, Binding, std::less<>>;

Status Mismatch(const Value& v, const Tensor& t, const std::string& why) {
  return InvalidArgument("input '" + v.name() + "' expects " + v.type().ToString() + ", given " +
                         Given(t) + ": " + why);
}

// Dimensions that are one symbol alone bind it; numbers are compared.
Status BindInput(const ir::Graph& graph, const Value& v, const Tensor& t, Bindings& bindings) {
  const Type& want = v.type();
  if (!t.present()) return Mismatch(v, t, "there is no tensor");
  if (want.dtype != DType::kUndefined && want.dtype != t.dtype())
    return Mismatch(v, t, "the element types differ");
  if (want.dtype != DType::kUndefined && want.container != t.container())
    return Mismatch(v, t, "one is a sequence or an optional, the other is not");
  if (t.is_container()) return OkStatus();  // CheckItems, when all symbols are bound
  if (!want.shape) return OkStatus();
  if (want.shape->size() != t.dims().size()) return Mismatch(v, t, "the ranks differ");
  for (size_t i = 0; i < want.shape->size(); ++i) {
    const Dim& d = (*want.shape)[i];
    const int64_t n = t.dims()[i];
    if (d.known()) {
      if (!d.Is(n))
        return Mismatch(v, t, "dimension " + std::to_string(i) + " must be " + d.ToString());
      continue;
    }
    const auto symbols = d.Symbols();
    if (symbols.size() != 1 || !(d == Dim::Symbol(symbols[0])))
      continue;  // an expression: checked when all symbols are bound
    const auto [it, is_new] = bindings.try_emplace(symbols[0], Binding{n, v.name()});
    if (!is_new && it->second.value != n) {
      return Mismatch(v, t,
                      "dimension " + std::to_string(i) + " is " + symbols[0] + ", which input '" +
                          it->second.where + "' has set to " + std::to_string(it->second.value));
    }
    const auto range = graph.symbol_ranges.find(symbols[0]);
    if (range != graph.symbol_ranges.end() &&
        (n < range->second.first || n > range->second.second)) {
      return Mismatch(v, t,
                      symbols[0] + " must lie in [" + std::to_string(range->second.first) + ", " +
                          std::to_string(range->second.second) + "]");
    }
  }
  return OkStatus();
}

// The tensors in a sequence or an optional: symbols that no tensor binds may differ from one to the
// next.
Status CheckItems(const Value& v, const Tensor& t, const Bindings& bindings) {
  auto lookup = [&](std::string_view symbol) -> std::optional<int64_t> {
    const auto it = bindings.find(symbol);
    if (it == bindings.end()) return std::nullopt;
    return it->second.value;
  };
  const SymShape& want = *v.type().shape;
  for (const Tensor& item : t.items()) {
    if (item.is_container()) {
      SLIPWAY_RETURN_IF_ERROR(CheckItems(v, item, bindings));
      continue;
    }
    bool fits = want.size() == item.dims().size();
    for (size_t i = 0; fits && i < want.size(); ++i) {
      if (want[i].overflowed()) continue;
      const auto value = want[i].Evaluate(lookup);
      fits = !value.ok() || *value == item.dims()[i];
    }
    if (!fits) return Mismatch(v, t, "a tensor in it is " + Given(item));
  }
  return OkStatus();
}

Status CheckExpressions(const Value& v, const Tensor& t, const Bindings& bindings) {
  if (!v.type().shape) return OkStatus();
  if (t.is_container()) return CheckItems(v, t, bindings);
  auto lookup = [&](std::string_view symbol) -> std::optional<int64_t> {
    const auto it = bindings.find(symbol);
    if (it == bindings.end()) return std::nullopt;
    return it->second.value;
  };
  for (size_t i = 0; i < v.type().shape->size(); ++i) {
    const Dim& d = (*v.type().shape)[i];
    if (d.known()) continue;
    const auto value = d.Evaluate(lookup);
    if (value.ok() && *value != t.dims()[i]) {
      return Mismatch(v, t,
                      "dimension " + std::to_string(i) + " must be " + d.ToString() + " = " +
                          std::to_string(*value));
    }
  }
  return OkStatus();
}

}  // namespace

Status CheckInputs(const ir::Graph& graph, std::span<const Tensor> inputs) {
  if (inputs.size() != graph.inputs().size()) {
    std::string names;
    for (const Value* v : graph.inputs()) names += (names.empty() ? "" : ", ") + v->name();
    return InvalidArgument("the graph has " + std::to_string(graph.inputs().size()) + " inputs (" +
                           names + "), " + std::to_string(inputs.size()) + " tensors are given");
  }
  Bindings bindings;
  for (size_t i = 0; i < inputs.size(); ++i) {
    SLIPWAY_RETURN_IF_ERROR(BindInput(graph, *graph.inputs()[i], inputs[i], bindings));
  }
  for (size_t i = 0; i < inputs.size(); ++i) {
    SLIPWAY_RETURN_IF_ERROR(CheckExpressions(*graph.inputs()[i], inputs[i], bindings));
  }
  return OkStatus();
}

Result<Interpreter> Interpreter::Create(const ir::Graph& graph) {
  Interpreter r;
  r.graph_ = &graph;
  std::unordered_map<const Value*, int> slots;
  auto add = [&](const Value* v) {
    const int slot = static_cast<int>(r.initial_.size());
    slots.emplace(v, slot);
    r.initial_.emplace_back();
    return slot;
  };
  for (const auto& v : graph.values()) {
    if (v->is_constant()) r.initial_[static_cast<size_t>(add(v.get()))] = v->constant()->Aligned();
  }
  for (const Value* v : graph.inputs()) {
    const auto it = slots.find(v);
    r.input_slots_.push_back(it != slots.end() ? it->second : add(v));
  }
  std::set<std::string> missing;
  std::vector<int> last_reader;  // slot -> step, -1: never
  std::set<int> kept(r.input_slots_.begin(), r.input_slots_.end());
  for (const auto& node : graph.nodes()) {
    const ir::OpSchema* schema = node->schema();
    if (!schema || !schema->kernel) {
      missing.insert(node->FullOp());
      for (const Value* v : node->outputs()) {
        if (v) add(v);
      }
      continue;
    }
    Step step{node.get(), schema->kernel, {}, {}, {}, {}};
    step.sequence = ir::TakesContainers(*node) && !ir::IsControlFlow(*node);
    if (ir::IsControlFlow(*node)) {
      const auto form = ir::FormOf(*node);
      if (!form.ok()) return form.status();
      for (std::string_view name : ir::BodyNames(node->domain(), node->op())) {
        auto body = Create(*node->subgraphs.at(std::string(name)));
        if (!body.ok()) return std::move(body).status().With(node->Describe());
        step.bodies.push_back(std::make_shared<Interpreter>(std::move(*body)));
      }
    }
    for (const Value* v : node->inputs()) {
      if (!v) {
        step.inputs.push_back(-1);
        continue;
      }
      const auto it = slots.find(v);
      if (it == slots.end()) {
        return InvalidArgument(node->Describe() + " reads value '" + v->name() +
                               "' before anything has made it");
      }
      step.inputs.push_back(it->second);
    }
    for (const Value* v : node->outputs()) step.outputs.push_back(v ? add(v) : -1);
    r.steps_.push_back(std::move(step));
  }
  if (!missing.empty()) {
    std::string names;
    for (const std::string& name : missing) names += (names.empty() ? "" : ", ") + name;
    return Unsupported("no reference kernel for: " + names);
  }
  for (const Value* v : graph.outputs()) {
    const auto it = slots.find(v);
    if (it == slots.end())
      return InvalidArgument("graph output '" + v->name() + "' is made by nothing");
    r.output_slots_.push_back(it->second);
    kept.insert(it->second);
  }
  // Free each computed value behind its last reader, or at once when nobody reads it.
  last_reader.assign(r.initial_.size(), -1);
  for (size_t s = 0; s < r.steps_.size(); ++s) {
    for (int slot : r.steps_[s].outputs) {
      if (slot >= 0) last_reader[static_cast<size_t>(slot)] = static_cast<int>(s);
    }
    for (int slot : r.steps_[s].inputs) {
      if (slot >= 0) last_reader[static_cast<size_t>(slot)] = static_cast<int>(s);
    }
  }
  for (size_t slot = 0; slot < last_reader.size(); ++slot) {
    if (last_reader[slot] < 0 || r.initial_[slot].present() || kept.count(static_cast<int>(slot)))
      continue;
    r.steps_[static_cast<size_t>(last_reader[slot])].dead.push_back(static_cast<int>(slot));
  }
  return r;
}

Result<std::vector<Tensor>> Interpreter::Run(std::span<const Tensor> inputs,
                                             const RunOptions& options) const {
  SLIPWAY_RETURN_IF_ERROR(CheckInputs(*graph_, inputs));
  std::vector<Tensor> aligned;
  for (const Tensor& t : inputs) aligned.push_back(t.Aligned());
  if (options.observer) {
    for (size_t i = 0; i < inputs.size(); ++i) {
      if (!inputs[i].is_container()) options.observer(*graph_->inputs()[i], aligned[i]);
    }
  }
  Budget budget{options.max_iterations, options.max_bytes};
  return RunBody(aligned, options, budget);
}

Result<std::vector<Tensor>> Interpreter::RunBody(std::span<const Tensor> inputs,
                                                 const RunOptions& options, Budget& budget) const {
  std::vector<Tensor> live = initial_;
  for (size_t i = 0; i < inputs.size(); ++i) {
    live[static_cast<size_t>(input_slots_[i])] = inputs[i];
  }
  // What was taken from the budget goes back when the values do.
  struct Account {
    Budget& budget;
    int64_t bytes = 0;
    bool Take(int64_t n) {
      if (n > budget.bytes) return false;
      budget.bytes -= n;
      bytes += n;
      return true;
    }
    void GiveBack(int64_t n) {
      budget.bytes += n;
      bytes -= n;
    }
    ~Account() { budget.bytes += bytes; }
  } account{budget};
  const auto too_large = [&](const ir::Node& node, size_t output, const std::string& type) {
    return ResourceExhausted(node.Describe() + ": output " + std::to_string(output) + " of type " +
                             type + " exceeds the memory limit of " +
                             std::to_string(options.max_bytes) + " bytes");
  };
  std::vector<ops::TensorView> in, out;
  std::vector<Type> types;
  std::vector<const Tensor*> constants;
  std::vector<Tensor> given;
  const auto bury = [&](const Step& step) {
    for (int slot : step.dead) {
      account.GiveBack(live[static_cast<size_t>(slot)].TotalBytes());
      live[static_cast<size_t>(slot)] = Tensor();
    }
  };
  for (const Step& step : steps_) {
    const bool identity_of_tensor = step.sequence && step.node->op() == "Identity" &&
                                    !live[static_cast<size_t>(step.inputs[0])].is_container();
    if (!step.bodies.empty() || (step.sequence && !identity_of_tensor)) {
      given.clear();
      for (int slot : step.inputs)
        given.push_back(slot < 0 ? Tensor() : live[static_cast<size_t>(slot)]);
      std::vector<Tensor> made;
      if (step.sequence) {
        SLIPWAY_ASSIGN_OR_RETURN(Tensor one, RunSequence(step, given, options, budget));
        made.push_back(std::move(one));
      } else {
        SLIPWAY_ASSIGN_OR_RETURN(made, RunControl(step, given, options, budget));
      }
      for (size_t i = 0; i < step.outputs.size(); ++i) {
        if (step.outputs[i] < 0) continue;
        Tensor& to = live[static_cast<size_t>(step.outputs[i])];
        to = made[i].is_container() ? std::move(made[i]) : made[i].Aligned();
        if (!account.Take(to.TotalBytes())) return too_large(*step.node, i, Given(to));
        if (options.observer && !to.is_container())
          options.observer(*step.node->outputs()[i], to);
      }
      bury(step);
      continue;
    }
    in.clear();
    out.clear();
    types.clear();
    constants.clear();
    for (int slot : step.inputs) {
      const Tensor* t = slot < 0 ? nullptr : &live[static_cast<size_t>(slot)];
      in.push_back(t ? t->view() : ops::TensorView{});
      types.push_back(t ? TypeOf(*t) : Type{});
      constants.push_back(t);
    }
    auto inferred = ir::InferNode(*step.node, types, constants);
    if (!inferred.ok()) return inferred.status();
    for (size_t i = 0; i < step.outputs.size(); ++i) {
      const int slot = step.outputs[i];
      if (slot < 0) {
        out.emplace_back();
        continue;
      }
      const Type& type = (*inferred)[i];
      const auto dims = type.StaticDims();
      if (!dims || type.dtype == DType::kUndefined) {
        return Unsupported(step.node->Describe() + ": the extent of output " + std::to_string(i) +
                           " (" + type.ToString() +
                           ") depends on data in a way that has no kernel");
      }
      const auto bytes = CheckedBytes(type.dtype, *dims);
      if (!bytes || !account.Take(*bytes)) return too_large(*step.node, i, type.ToString());
      auto tensor = Tensor::Allocate(type.dtype, *dims);
      if (!tensor.ok()) return std::move(tensor).status().With(step.node->Describe());
      out.push_back(tensor->view());
      live[static_cast<size_t>(slot)] = std::move(*tensor);
    }
    const Status status = step.kernel({in, out, &step.node->attributes, options.pool});
    if (!status.ok()) return status.With(step.node->Describe());
    if (options.observer) {
      for (size_t i = 0; i < step.outputs.size(); ++i) {
        if (step.outputs[i] >= 0)
          options.observer(*step.node->outputs()[i], live[static_cast<size_t>(step.outputs[i])]);
      }
    }
    bury(step);
  }
  std::vector<Tensor> results;
  results.reserve(output_slots_.size());
  for (int slot : output_slots_) results.push_back(live[static_cast<size_t>(slot)]);
  return results;
}

Result<std::vector<Tensor>> Evaluate(const ir::Graph& graph, std::span<const Tensor> inputs,
                                     const RunOptions& options) {
  SLIPWAY_ASSIGN_OR_RETURN(const Interpreter interpreter, Interpreter::Create(graph));
  return interpreter.Run(inputs, options);
}

}  // namespace slipway::interp
