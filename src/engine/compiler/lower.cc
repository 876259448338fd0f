#include "engine/compiler/lower.h"

#include <algorithm>
#include <queue>
#include <set>

#include "engine/compiler/concat.h"
#include "engine/compiler/sequence.h"
#include "engine/format/plan.h"
#include "model/ir/stats.h"
#include "slipway/backend.h"

namespace slipway::compiler {
namespace {

using backends::PartitionNode;
using backends::StepSpec;
using format::Layout;
using format::PackageStep;
using format::PackageTensor;
using format::TensorKind;

// A spec with what the lowering must know of its node's choice.
struct PlannedStep {
  StepSpec spec;
  const backends::CompileBackend* backend;
  const Choice* choice;  // of spec.node
};

class Lowering {
 public:
  Lowering(const ir::Graph& graph, const Assignment& assignment, const backends::Target& target,
           const CostModel& cost, const backends::CompileBackend& helper, const Controls& controls,
           const Sequences& sequences, const CodedConstants& coded, CompileResult& result)
      : graph_(graph),
        assignment_(assignment),
        target_(target),
        cost_(cost),
        helper_(helper),
        controls_(controls),
        sequences_(sequences),
        coded_(coded),
        result_(result),
        package_(result.package) {}

  Status Run();

 private:
  Result<std::vector<PlannedStep>> CompilePartitions();
  Status EmitStep(PlannedStep& step);
  Result<int> TensorOf(const ir::Value& value,
                       Layout layout);  // converts when that layout does not exist yet
  Result<int> NewTensor(const ir::Value& value, Layout layout);
  int NewContainer(const ir::Value& value);
  // An output's own memory from that of another value.
  void EmitCopy(const ir::Value& value, int from, int to);
  bool IsBound(const Dim& d) const;
  void BindDataShape(const ir::Value& value);
  int ConstantTensor(const ir::Tensor& tensor, const std::string& name);
  void EmitEngineStep(const char* op, const ir::Value& value, int from, int to);
  int BackendIndex(const backends::CompileBackend& backend);
  Status EmitOutputs();
  void DropConcats();
  void ReuseInPlace();
  void Plan();
  int Root(int tensor) const {
    int alias = package_.tensors[static_cast<size_t>(tensor)].alias;
    return alias < 0 ? tensor : alias;
  }

  const ir::Graph& graph_;
  const Assignment& assignment_;
  const backends::Target& target_;
  const CostModel& cost_;
  const backends::CompileBackend& helper_;
  const Controls& controls_;
  const Sequences& sequences_;
  const CodedConstants& coded_;
  CompileResult& result_;
  format::PackageData& package_;
  std::map<std::pair<const ir::Value*, Layout>, int> tensors_;
  std::map<const ir::Value*, Layout> produced_;
  std::map<std::pair<const uint8_t*, std::string>, int> constants_;
  std::map<const backends::CompileBackend*, int> backend_index_;
  // Extents of values that data decide: each dimension that was not known before the step is one symbol of its own.
  std::map<const ir::Value*, SymShape> data_shapes_;
  std::vector<int> in_place_;  // per step: which input output 0 may reuse
};

Result<std::vector<PlannedStep>> Lowering::CompilePartitions() {
  // A node joins the partition of its backend at the depth of the longest chain of backend changes
  // before it; no two partitions can then depend on each other both ways.
  std::map<const ir::Node*, int> depth;
  std::map<std::pair<int, const backends::CompileBackend*>, std::vector<PartitionNode>> partitions;
  for (const auto& node : graph_.nodes()) {
    const Choice& choice = assignment_.nodes.at(node.get());
    int d = 0;
    for (const ir::Value* v : node->inputs()) {
      if (!v || !v->producer()) continue;
      const Choice& other = assignment_.nodes.at(v->producer());
      d = std::max(d, depth[v->producer()] + (other.backend == choice.backend ? 0 : 1));
    }
    depth[node.get()] = d;
    partitions[{d, choice.backend}].push_back({node.get(), &choice.candidate});
  }
  std::vector<PlannedStep> steps;
  for (const auto& [key, nodes] : partitions) {
    if (!key.second) {  // control flow and sequences: the session's
      for (const PartitionNode& n : nodes) {
        StepSpec spec;
        spec.node = n.node;
        spec.kernel = n.candidate->kernel;
        spec.inputs.assign(n.node->inputs().begin(), n.node->inputs().end());
        spec.outputs.assign(n.node->outputs().begin(), n.node->outputs().end());
        steps.push_back({std::move(spec), nullptr, &assignment_.nodes.at(n.node)});
      }
      continue;
    }
    SLIPWAY_ASSIGN_OR_RETURN(auto specs, key.second->Compile(nodes, target_));
    for (StepSpec& spec : specs) {
      const Choice* choice = &assignment_.nodes.at(spec.node);
      steps.push_back({std::move(spec), key.second, choice});
    }
  }
  // Back into the graph's order as far as dependencies allow (steps of several nodes may have
  // moved).
  std::map<const ir::Node*, int> position;
  for (const auto& node : graph_.nodes())
    position.emplace(node.get(), static_cast<int>(position.size()));
  std::map<const ir::Value*, size_t> producer;
  for (size_t i = 0; i < steps.size(); ++i) {
    for (const ir::Value* v : steps[i].spec.outputs) {
      if (v) producer[v] = i;
    }
  }
  std::vector<std::vector<size_t>> next(steps.size());
  std::vector<int> missing(steps.size(), 0);
  for (size_t i = 0; i < steps.size(); ++i) {
    for (const ir::Value* v : steps[i].spec.inputs) {
      auto it = v ? producer.find(v) : producer.end();
      if (it == producer.end()) continue;
      next[it->second].push_back(i);
      ++missing[i];
    }
  }
  auto later = [&](size_t a, size_t b) {
    return position[steps[a].spec.node] > position[steps[b].spec.node];
  };
  std::priority_queue<size_t, std::vector<size_t>, decltype(later)> ready(later);
  for (size_t i = 0; i < steps.size(); ++i) {
    if (missing[i] == 0) ready.push(i);
  }
  std::vector<PlannedStep> ordered;
  while (!ready.empty()) {
    size_t i = ready.top();
    ready.pop();
    for (size_t n : next[i]) {
      if (--missing[n] == 0) ready.push(n);
    }
    ordered.push_back(std::move(steps[i]));
  }
  if (ordered.size() != steps.size())
    return Internal("the partitions depend on each other in a circle");
  return ordered;
}

int Lowering::BackendIndex(const backends::CompileBackend& backend) {
  auto [it, added] = backend_index_.emplace(&backend, static_cast<int>(package_.backends.size()));
  if (added)
    package_.backends.push_back({backend.name(), SLIPWAY_BACKEND_ABI_VERSION, backend.version()});
  return it->second;
}

int Lowering::ConstantTensor(const ir::Tensor& tensor, const std::string& name) {
  // The same bytes under another type or extent are another tensor; the writer stores equal bytes
  // once.
  auto key = std::make_pair(tensor.bytes().data(),
                            std::string(DTypeName(tensor.dtype())) + tensor.dims().ToString());
  auto [it, added] = constants_.emplace(key, static_cast<int>(package_.tensors.size()));
  if (!added) return it->second;
  PackageTensor t;
  t.name = name;
  t.dtype = tensor.dtype();
  t.kind = TensorKind::kConstant;
  for (int64_t d : tensor.dims()) t.shape.push_back(d);
  t.data = tensor.bytes();
  package_.owners.push_back(std::make_shared<ir::Tensor>(tensor));
  if (const auto coded = coded_.find(t.data.data()); coded != coded_.end()) {
    t.code_bits = coded->second.bits;
    t.code_rows = static_cast<uint64_t>(coded->second.rows);
    t.coded = *coded->second.bytes;
    package_.owners.push_back(coded->second.bytes);
  }
  result_.constant_bytes += t.code_bits != 0 ? t.coded.size() : t.data.size();
  package_.tensors.push_back(std::move(t));
  return it->second;
}

bool Lowering::IsBound(const Dim& d) const {
  const auto symbols = d.Symbols();
  return std::all_of(symbols.begin(), symbols.end(),
                     [&](const std::string& s) { return package_.symbols.count(s) != 0; });
}

void Lowering::BindDataShape(const ir::Value& value) {
  if (!value.type().known()) return;
  SymShape shape = *value.type().shape;
  for (Dim& d : shape) {
    if (IsBound(d)) continue;
    std::string name = d.ToString();
    const auto symbols = d.Symbols();
    if (symbols.size() != 1 || symbols[0] != name) {
      // An expression of sizes that later steps decide: what this step says is compared there.
      for (int i = 0; package_.symbols.count(name = "_d" + std::to_string(i)) != 0; ++i) {
      }
      d = Dim::Symbol(name);
    }
    const auto range = graph_.symbol_ranges.find(name);
    package_.symbols[name] = range != graph_.symbol_ranges.end()
                                 ? range->second
                                 : std::pair<int64_t, int64_t>{0, INT32_MAX};
  }
  data_shapes_[&value] = std::move(shape);
}

Result<int> Lowering::NewTensor(const ir::Value& value, Layout layout) {
  if (value.type().is_container()) return NewContainer(value);
  if (!value.type().known()) {
    return Unsupported(
        "value '" + value.name() +
        "' has a number of dimensions that only the data decide; fix the shapes of the inputs, or "
        "run the model in the interpreter");
  }
  const auto data_shape = data_shapes_.find(&value);
  const SymShape& shape =
      data_shape == data_shapes_.end() ? *value.type().shape : data_shape->second;
  for (const Dim& d : shape) {
    if (IsBound(d)) continue;
    return Unsupported("value '" + value.name() + "' has dimension " + d.ToString() +
                       ", which depends on data in a way that no step says beforehand; run the "
                       "model in the interpreter");
  }
  PackageTensor t;
  t.name = value.name();
  if (layout != Layout::kPlain) t.name += std::string("@") + LayoutName(layout);
  t.dtype = value.dtype();
  t.layout = layout;
  t.kind = value.is_output() && layout == Layout::kPlain ? TensorKind::kOutput : TensorKind::kArena;
  t.shape = shape;
  int index = static_cast<int>(package_.tensors.size());
  package_.tensors.push_back(std::move(t));
  tensors_[{&value, layout}] = index;
  return index;
}

int Lowering::NewContainer(const ir::Value& value) {
  PackageTensor t;
  t.name = value.name();
  t.dtype = value.dtype();
  t.container = ContainerOf(value);
  t.kind = value.is_output() ? TensorKind::kOutput : TensorKind::kArena;
  const int index = static_cast<int>(package_.tensors.size());
  package_.tensors.push_back(std::move(t));
  tensors_[{&value, Layout::kPlain}] = index;
  return index;
}

void Lowering::EmitCopy(const ir::Value& value, int from, int to) {
  if (!value.type().is_container()) return EmitEngineStep("Copy", value, from, to);
  PackageStep step;
  step.backend = -1;
  step.name = value.name() + "/Copy";
  step.op = step.kernel = "Identity";
  step.sequence.emplace();
  step.sequence->op = format::SequenceOp::kIdentity;
  step.inputs = {from};
  step.outputs = {to};
  package_.steps.push_back(std::move(step));
  in_place_.push_back(-1);
}

void Lowering::EmitEngineStep(const char* op, const ir::Value& value, int from, int to) {
  PackageStep step;
  step.backend = BackendIndex(helper_);
  step.name = value.name() + "/" + op;
  step.op = std::string(format::kEngineDomain) + "." + op;
  step.kernel = std::string(LayoutName(package_.tensors[static_cast<size_t>(from)].layout)) + "->" +
                LayoutName(package_.tensors[static_cast<size_t>(to)].layout);
  step.blob = format::EncodeOp({format::kEngineDomain, op, {}});
  step.inputs = {from};
  step.outputs = {to};
  package_.steps.push_back(std::move(step));
  in_place_.push_back(-1);
}

Result<int> Lowering::TensorOf(const ir::Value& value, Layout layout) {
  if (value.is_constant()) return ConstantTensor(*value.constant(), value.name());
  if (auto it = tensors_.find({&value, layout}); it != tensors_.end()) return it->second;
  Layout from = produced_.at(&value);
  SLIPWAY_ASSIGN_OR_RETURN(int to, NewTensor(value, layout));
  EmitEngineStep("Reorder", value, tensors_.at({&value, from}), to);
  ++result_.conversions;
  result_.conversion_cost_ms += cost_.Convert(value.type(), from, layout, target_).ms;
  return to;
}

Status Lowering::EmitStep(PlannedStep& planned) {
  StepSpec& spec = planned.spec;
  const backends::Candidate& candidate = planned.choice->candidate;
  const bool network = planned.backend && planned.backend->level() == backends::Level::kNetwork;
  PackageStep step;
  step.name = spec.node->name();
  step.op = spec.node->FullOp();
  step.kernel = spec.kernel;
  step.blob = std::move(spec.blob);
  step.workspace = spec.workspace;
  step.sources = spec.node->sources;
  step.data_dims = assignment_.data_shapes.count(spec.node) != 0;
  step.needs = std::max(step.needs, spec.needs);
  package_.required_features |= spec.features;
  // Integer products had no activation before: older runtimes would leave it out.
  if ((spec.node->IsSlipway("QConv") || spec.node->IsSlipway("QLinear")) &&
      spec.node->attributes.String("activation", "none") != "none")
    step.needs = std::max(step.needs, 4u);
  Dim macs = ir::NodeMacs(*spec.node);
  if (network) step.parts.push_back(spec.node->name());
  for (const ir::Node* other : spec.others) {
    step.parts.push_back(other->name());
    macs = macs + ir::NodeMacs(*other);
    step.sources.insert(step.sources.end(), other->sources.begin(), other->sources.end());
  }
  if (!spec.others.empty()) step.op = "part";
  step.macs = macs.known() ? macs.value() : 0;
  if (!macs.known() && !macs.overflowed() && macs.ToString().size() <= 4096) step.macs_of = macs;
  for (size_t i = 0; i < spec.inputs.size(); ++i) {
    if (!spec.inputs[i]) {
      step.inputs.push_back(-1);
      continue;
    }
    Layout layout = network || i >= candidate.inputs.size() ? Layout::kPlain : candidate.inputs[i];
    SLIPWAY_ASSIGN_OR_RETURN(int t, TensorOf(*spec.inputs[i], layout));
    step.inputs.push_back(t);
  }
  for (const ir::Tensor& t : spec.packed) {
    step.inputs.push_back(
        ConstantTensor(t, spec.node->name() + "/packed" + std::to_string(step.inputs.size())));
  }
  for (size_t i = 0; i < spec.outputs.size(); ++i) {
    const ir::Value* v = spec.outputs[i];
    if (!v) {
      step.outputs.push_back(-1);
      continue;
    }
    Layout layout =
        network || i >= candidate.outputs.size() ? Layout::kPlain : candidate.outputs[i];
    produced_[v] = layout;
    if (step.data_dims) BindDataShape(*v);
    SLIPWAY_ASSIGN_OR_RETURN(int t, NewTensor(*v, layout));
    step.outputs.push_back(t);
  }
  if (candidate.view && !step.inputs.empty() && step.inputs[0] >= 0) {
    PackageTensor& out = package_.tensors[static_cast<size_t>(step.outputs[0])];
    int root = Root(step.inputs[0]);
    // An output keeps memory of its own, so the caller may read it after the next run began; a
    // constant is never aliased by an activation.
    if (out.kind == TensorKind::kArena &&
        package_.tensors[static_cast<size_t>(root)].kind != TensorKind::kConstant) {
      out.alias = root;
      return OkStatus();
    }
  }
  if (planned.backend) {
    step.backend = BackendIndex(*planned.backend);
  } else {
    step.backend = -1;
    if (const auto it = sequences_.find(spec.node); it != sequences_.end()) {
      step.sequence = it->second;
    } else {
      step.control = controls_.at(spec.node);
    }
  }
  in_place_.push_back(spec.in_place);
  package_.steps.push_back(std::move(step));
  return OkStatus();
}

Status Lowering::EmitOutputs() {
  std::set<std::string> names;  // taken by outputs
  for (const ir::Value* v : graph_.outputs()) {
    SLIPWAY_ASSIGN_OR_RETURN(int from, TensorOf(*v, Layout::kPlain));
    const bool listed = std::find(package_.outputs.begin(), package_.outputs.end(), from) !=
                        package_.outputs.end();
    if (v->producer() && !listed) {
      names.insert(package_.tensors[static_cast<size_t>(from)].name);
      package_.outputs.push_back(from);
      continue;
    }
    // An output that is an input, a constant or another output: a tensor of its own, filled by a
    // copy.
    PackageTensor t = package_.tensors[static_cast<size_t>(from)];
    t.kind = TensorKind::kOutput;
    t.alias = -1;
    t.data = {};
    if (v->is_input()) t.name += "/output";
    const std::string wanted = t.name;
    for (int i = 1; !names.insert(t.name).second; ++i) t.name = wanted + "/" + std::to_string(i);
    int to = static_cast<int>(package_.tensors.size());
    package_.tensors.push_back(std::move(t));
    EmitCopy(*v, from, to);
    package_.outputs.push_back(to);
  }
  return OkStatus();
}

void Lowering::DropConcats() {
  const std::vector<bool> dropped = PlacePieces(package_);
  size_t kept = 0;
  for (size_t s = 0; s < dropped.size(); ++s) {
    if (dropped[s]) continue;
    if (kept != s) {
      package_.steps[kept] = std::move(package_.steps[s]);
      in_place_[kept] = in_place_[s];
    }
    ++kept;
  }
  package_.steps.resize(kept);
  in_place_.resize(kept);
}

void Lowering::ReuseInPlace() {
  auto& tensors = package_.tensors;
  std::vector<int> last_use(tensors.size(), -1);  // by root
  for (size_t s = 0; s < package_.steps.size(); ++s) {
    for (int t : package_.steps[s].inputs) {
      if (t >= 0) last_use[static_cast<size_t>(Root(t))] = static_cast<int>(s);
    }
  }
  for (size_t s = 0; s < package_.steps.size(); ++s) {
    const PackageStep& step = package_.steps[s];
    int i = in_place_[s];
    if (i < 0 || static_cast<size_t>(i) >= step.inputs.size() ||
        step.inputs[static_cast<size_t>(i)] < 0)
      continue;
    int in = step.inputs[static_cast<size_t>(i)], out = step.outputs[0];
    int root = Root(in);
    const PackageTensor &a = tensors[static_cast<size_t>(in)],
                        &b = tensors[static_cast<size_t>(out)];
    if (tensors[static_cast<size_t>(root)].kind != TensorKind::kArena ||
        b.kind != TensorKind::kArena || b.alias >= 0)
      continue;
    if (last_use[static_cast<size_t>(root)] != static_cast<int>(s)) continue;
    if (a.layout != b.layout || DTypeBits(a.dtype) != DTypeBits(b.dtype) || !(a.shape == b.shape))
      continue;
    // Another operand in the same memory: a convolution whose input is its residual too would read
    // what it writes.
    bool clash = false;
    for (size_t k = 0; k < step.inputs.size(); ++k) {
      const int other = step.inputs[k];
      clash |= k != static_cast<size_t>(i) && other >= 0 && Root(other) == root;
    }
    if (clash) continue;
    // Of the memory of a concatenation, the piece's.
    const int64_t part = a.part;
    for (size_t k = 0; k < tensors.size(); ++k) {
      PackageTensor& t = tensors[k];
      if (static_cast<int>(k) != out && t.alias != out) continue;
      t.alias = root;
      if (part >= 0) t.part = part + std::max<int64_t>(t.part, 0);
    }
    last_use[static_cast<size_t>(root)] =
        std::max(last_use[static_cast<size_t>(root)], last_use[static_cast<size_t>(out)]);
  }
}

void Lowering::Plan() {
  bool is_static = true;
  std::vector<uint64_t> bytes, workspace;
  uint64_t outside = 0;
  for (const PackageTensor& t : package_.tensors) {
    Dims dims;
    for (const Dim& d : t.shape) {
      is_static &= d.known();
      auto size = d.Evaluate([&](std::string_view symbol) -> std::optional<int64_t> {
        const auto range = graph_.symbol_ranges.find(std::string(symbol));
        if (range == graph_.symbol_ranges.end() || range->second.second == INT32_MAX) return 1;
        result_.peak_at[range->first] = range->second.second;
        return range->second.second;
      });
      dims.push_back(size.ok() ? *size : 0);
    }
    bytes.push_back(t.is_container()
                        ? 0
                        : static_cast<uint64_t>(
                              format::LayoutBytes(t.dtype, dims, t.layout).value_or(0)));
    if (t.kind == TensorKind::kInput || t.kind == TensorKind::kOutput) outside += bytes.back();
  }
  for (const PackageStep& s : package_.steps) {
    workspace.push_back(s.workspace);
    is_static &= !s.data_dims;
  }
  format::MemoryPlan plan = format::PlanMemory(package_, bytes, workspace);
  result_.peak_bytes = plan.arena_size + outside;
  package_.static_plan = is_static;
  if (!is_static) return;
  package_.arena_size = plan.arena_size;
  for (size_t i = 0; i < package_.tensors.size(); ++i) {
    if (package_.tensors[i].kind == TensorKind::kArena)
      package_.tensors[i].offset = plan.tensor_offsets[i];
  }
  for (size_t i = 0; i < package_.steps.size(); ++i)
    package_.steps[i].workspace_offset = plan.workspace_offsets[i];
}

Status Lowering::Run() {
  for (const ir::Value* v : graph_.inputs()) {
    if (v->type().is_container()) {
      produced_[v] = Layout::kPlain;
      const int t = NewContainer(*v);
      package_.tensors[static_cast<size_t>(t)].kind = TensorKind::kInput;
      package_.inputs.push_back(t);
      continue;
    }
    if (!v->type().known()) {
      return InvalidArgument("input '" + v->name() +
                             "' has no known rank; give its shape with --shape");
    }
    produced_[v] = Layout::kPlain;
    for (const Dim& d : *v->type().shape) {
      for (const std::string& symbol : d.Symbols()) {
        auto range = graph_.symbol_ranges.find(symbol);
        package_.symbols[symbol] = range != graph_.symbol_ranges.end()
                                       ? range->second
                                       : std::pair<int64_t, int64_t>{1, INT32_MAX};
      }
    }
    SLIPWAY_ASSIGN_OR_RETURN(int t, NewTensor(*v, Layout::kPlain));
    package_.tensors[static_cast<size_t>(t)].kind = TensorKind::kInput;
    package_.inputs.push_back(t);
  }
  SLIPWAY_ASSIGN_OR_RETURN(auto steps, CompilePartitions());
  for (PlannedStep& step : steps) SLIPWAY_RETURN_IF_ERROR(EmitStep(step));
  SLIPWAY_RETURN_IF_ERROR(EmitOutputs());
  DropConcats();
  ReuseInPlace();
  Plan();
  return OkStatus();
}

}  // namespace

Status Lower(const ir::Graph& graph, const Assignment& assignment, const backends::Target& target,
             const CostModel& cost, const backends::CompileBackend& helper, const Controls& controls,
             const Sequences& sequences, const CodedConstants& coded, CompileResult& result) {
  return Lowering(graph, assignment, target, cost, helper, controls, sequences, coded, result)
      .Run();
}

}  // namespace slipway::compiler
