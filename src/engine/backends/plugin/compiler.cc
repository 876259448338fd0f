#include "engine/backends/plugin/compiler.h"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstring>
#include <mutex>
#include <utility>

#include "base/checked.h"
#include "engine/backends/plugin/views.h"

namespace slipway::backends {
namespace {

constexpr size_t kMaxKernel = 63;
constexpr size_t kMaxName = 63;
constexpr size_t kMaxCandidates = 256;
constexpr uint32_t kMaxPacked = 64;

static_assert(static_cast<uint32_t>(Layout::kPlain) == SLIPWAY_LAYOUT_PLAIN);
static_assert(static_cast<uint32_t>(Layout::kChannelsLast) == SLIPWAY_LAYOUT_CHANNELS_LAST);
static_assert(static_cast<uint32_t>(Layout::kBlocked8) == SLIPWAY_LAYOUT_BLOCKED_8);
static_assert(static_cast<uint32_t>(Layout::kBlocked16) == SLIPWAY_LAYOUT_BLOCKED_16);

// At most `most` bytes, of which none is a control character; else nullopt.
std::optional<std::string> Word(const char* text, size_t most) {
  if (!text) return std::nullopt;
  const size_t n = ::strnlen(text, most + 1);
  if (n == 0 || n > most) return std::nullopt;
  std::string out(text, n);
  const bool clean = std::none_of(out.begin(), out.end(), [](char c) {
    return static_cast<unsigned char>(c) < 0x20 || c == 0x7F;
  });
  return clean ? std::optional(std::move(out)) : std::nullopt;
}

std::string MessageOf(const slipway_error& error, int code) {
  std::string message(error.message, ::strnlen(error.message, sizeof(error.message)));
  for (char& c : message) {
    if (static_cast<unsigned char>(c) < 0x20) c = ' ';
  }
  return message.empty() ? "code " + std::to_string(code) + " and no message" : message;
}

Status Answer(const std::string& what) { return DataLoss(what); }

// What a sink collects; the first wrong answer ends it.
struct CandidateSink {
  const ir::Node& node;
  const GraphView& view;
  bool network;
  std::vector<Candidate> list;
  Status status;

  static int Add(void* self, const slipway_candidate* given) {
    auto& c = *static_cast<CandidateSink*>(self);
    if (c.status.ok()) c.status = c.Take(given);
    return c.status.ok() ? SLIPWAY_OK : SLIPWAY_INVALID_ARGUMENT;
  }

  Status Layouts(const uint32_t* given, const std::vector<ir::Value*>& values, const char* what,
                 std::vector<Layout>& to) const {
    to.assign(values.size(), Layout::kPlain);
    if (!given || network) return OkStatus();
    for (size_t i = 0; i < values.size(); ++i) {
      if (!values[i] || values[i]->is_constant()) continue;
      const std::string which = std::string(what) + " " + std::to_string(i);
      if (given[i] >= static_cast<uint32_t>(format::kLayoutCount))
        return Answer("a candidate's layout " + std::to_string(given[i]) + " of " + which +
                      " is unknown");
      to[i] = static_cast<Layout>(given[i]);
      if (to[i] != Layout::kPlain && values[i]->type().shape->size() < 3)
        return Answer("a candidate's layout " + std::string(format::LayoutName(to[i])) + " of " +
                      which + " needs three dimensions");
    }
    return OkStatus();
  }

  Status Take(const slipway_candidate* given) {
    if (!given) return Answer("a candidate is null");
    if (given->struct_size < sizeof(slipway_candidate))
      return Answer("a candidate's struct_size " + std::to_string(given->struct_size) +
                    " is smaller than the " + std::to_string(sizeof(slipway_candidate)) +
                    " of version 1");
    if (list.size() == kMaxCandidates)
      return Answer("it offers more than " + std::to_string(kMaxCandidates) + " candidates");
    Candidate c;
    auto kernel = Word(given->kernel, kMaxKernel);
    if (!kernel)
      return Answer("a candidate's kernel has no name of 1 to " + std::to_string(kMaxKernel) +
                    " printable bytes");
    c.kernel = std::move(*kernel);
    SLIPWAY_RETURN_IF_ERROR(Layouts(given->input_layouts, node.inputs(), "input", c.inputs));
    SLIPWAY_RETURN_IF_ERROR(Layouts(given->output_layouts, node.outputs(), "output", c.outputs));
    if (std::isnan(given->cost_us) || given->cost_us > 1e12)
      return Answer("candidate '" + c.kernel + "' costs " + std::to_string(given->cost_us) + " us");
    c.cost_us = given->cost_us;
    if (c.cost_us < 0) {
      const auto share = [](double v) { return v > 0 && v <= 1; };  // false for NaN
      if (!share(given->compute_efficiency) || !share(given->memory_efficiency))
        return Answer("candidate '" + c.kernel + "' has the efficiencies " +
                      std::to_string(given->compute_efficiency) + " and " +
                      std::to_string(given->memory_efficiency) + ", which must lie in (0, 1]");
      if (!(given->overhead_us >= 0 && given->overhead_us <= 1e12))
        return Answer("candidate '" + c.kernel + "' has an overhead of " +
                      std::to_string(given->overhead_us) + " us");
      c.compute_efficiency = given->compute_efficiency;
      c.memory_efficiency = given->memory_efficiency;
      c.overhead_us = given->overhead_us;
    }
    if (given->in_place < -1 || given->in_place >= static_cast<int64_t>(node.inputs().size()))
      return Answer("candidate '" + c.kernel + "' works in place of input " +
                    std::to_string(given->in_place) + ", which the node does not have");
    c.in_place = given->in_place;
    list.push_back(std::move(c));
    return OkStatus();
  }
};

struct StepSink {
  std::span<const PartitionNode> nodes;
  const GraphView& view;
  Level level;
  std::vector<StepSpec> list;
  std::vector<bool> covered;  // nodes
  std::vector<bool> made;     // values
  Status status;

  static int Add(void* self, const slipway_compiled_step* given) {
    auto& s = *static_cast<StepSink*>(self);
    if (s.status.ok()) {
      try {
        s.status = s.Take(given);
      } catch (const std::bad_alloc&) {
        s.status = ResourceExhausted("no memory for a step");
      }
    }
    return s.status.ok() ? SLIPWAY_OK : SLIPWAY_INVALID_ARGUMENT;
  }

  const ir::Value* At(int32_t i) const {
    return i < 0 ? nullptr : view.values()[static_cast<size_t>(i)];
  }

  // Below the network level a step has its node's operands.
  static bool SameOperands(const std::vector<const ir::Value*>& given,
                           const std::vector<ir::Value*>& have, bool may_drop) {
    if (given.size() > have.size() || (!may_drop && given.size() != have.size())) return false;
    for (size_t i = 0; i < have.size(); ++i) {
      const ir::Value* v = i < given.size() ? given[i] : nullptr;
      if (v == have[i] || (may_drop && !v && have[i]->is_constant())) continue;
      return false;
    }
    return true;
  }

  Status Operands(const int32_t* given, uint32_t count, const char* what,
                  std::vector<const ir::Value*>& to) const {
    if (count > 0 && !given) return Answer(std::string("a step's ") + what + " are null");
    if (count > 65536) return Answer("a step has " + std::to_string(count) + " " + what);
    const auto limit = static_cast<int64_t>(view.values().size());
    for (uint32_t i = 0; i < count; ++i) {
      if (given[i] < -1 || given[i] >= limit)
        return Answer(std::string("a step's ") + what + " name value " + std::to_string(given[i]) +
                      ", there are " + std::to_string(limit));
      to.push_back(At(given[i]));
    }
    return OkStatus();
  }

  Status Pack(const slipway_compiled_step& given, StepSpec& to) const {
    if (given.num_packed > kMaxPacked || (given.num_packed > 0 && !given.packed))
      return Answer("a step has " + std::to_string(given.num_packed) +
                    " packed constants, or no list of them");
    for (uint32_t i = 0; i < given.num_packed; ++i) {
      const slipway_packed& p = given.packed[i];
      const std::string which = "packed constant " + std::to_string(i) + " ";
      if (p.dtype > 255 || !IsKnown(static_cast<DType>(p.dtype)) || p.rank < 0 ||
          p.rank > SLIPWAY_MAX_RANK)
        return Answer(which + "has element type " + std::to_string(p.dtype) + " and rank " +
                      std::to_string(p.rank));
      const Dims dims(std::span<const int64_t>(p.dims, static_cast<size_t>(p.rank)));
      const auto bytes = CheckedBytes(static_cast<DType>(p.dtype), dims);
      if (!bytes || static_cast<uint64_t>(*bytes) != p.bytes || p.bytes > SLIPWAY_MAX_BLOB)
        return Answer(which + "has " + std::to_string(p.bytes) + " bytes, which are not those of " +
                      dims.ToString());
      if (p.bytes > 0 && !p.data) return Answer(which + "is null");
      SLIPWAY_ASSIGN_OR_RETURN(ir::Tensor t,
                               ir::Tensor::Allocate(static_cast<DType>(p.dtype), dims));
      if (p.bytes > 0) std::memcpy(t.mutable_data(), p.data, p.bytes);
      to.packed.push_back(std::move(t));
    }
    return OkStatus();
  }

  Status Take(const slipway_compiled_step* given) {
    if (!given) return Answer("a step is null");
    if (given->struct_size < sizeof(slipway_compiled_step))
      return Answer("a step's struct_size " + std::to_string(given->struct_size) +
                    " is smaller than the " + std::to_string(sizeof(slipway_compiled_step)) +
                    " of version 1");
    if (given->num_nodes == 0 || given->num_nodes > nodes.size() || !given->nodes)
      return Answer("a step stands for " + std::to_string(given->num_nodes) + " of " +
                    std::to_string(nodes.size()) + " nodes, or they are null");
    if (level != Level::kNetwork && given->num_nodes != 1)
      return Answer("a step stands for several nodes, which is for the network level");
    StepSpec spec;
    std::vector<const ir::Node*> own;
    for (uint32_t i = 0; i < given->num_nodes; ++i) {
      const uint32_t n = given->nodes[i];
      if (n >= nodes.size())
        return Answer("a step stands for node " + std::to_string(n) + ", there are " +
                      std::to_string(nodes.size()));
      if (covered[n]) return Answer("two steps stand for the node '" + nodes[n].node->name() + "'");
      covered[n] = true;
      own.push_back(nodes[n].node);
    }
    spec.node = own[0];
    spec.others.assign(own.begin() + 1, own.end());
    const std::string where = "the step of '" + spec.node->name() + "' ";
    if (given->kernel) {
      auto kernel = Word(given->kernel, kMaxKernel);
      if (!kernel) return Answer(where + "has a kernel without a printable name");
      spec.kernel = std::move(*kernel);
    } else {
      spec.kernel = nodes[given->nodes[0]].candidate->kernel;
    }
    SLIPWAY_RETURN_IF_ERROR(Operands(given->inputs, given->num_inputs, "inputs", spec.inputs));
    SLIPWAY_RETURN_IF_ERROR(Operands(given->outputs, given->num_outputs, "outputs", spec.outputs));
    if (spec.outputs.empty()) return Answer(where + "has no outputs");
    if (level != Level::kNetwork && (!SameOperands(spec.inputs, spec.node->inputs(), true) ||
                                     !SameOperands(spec.outputs, spec.node->outputs(), false)))
      return Answer(where + "has other inputs or outputs than its node");
    for (uint32_t i = 0; i < given->num_inputs; ++i) {
      const ir::Value* v = spec.inputs[i];
      if (!v || v->is_constant()) continue;
      const auto at = static_cast<size_t>(given->inputs[i]);
      if (view.value(at).producer >= 0 && !made[at])
        return Answer(where + "reads '" + v->name() + "' before a step has made it");
    }
    for (uint32_t i = 0; i < given->num_outputs; ++i) {
      const ir::Value* v = spec.outputs[i];
      if (!v) continue;
      const auto at = static_cast<size_t>(given->outputs[i]);
      if (std::find(own.begin(), own.end(), v->producer()) == own.end())
        return Answer(where + "writes '" + v->name() + "', which none of its nodes makes");
      if (made[at]) return Answer(where + "writes '" + v->name() + "' a second time");
      made[at] = true;
    }
    if (given->blob_size > SLIPWAY_MAX_BLOB)
      return Answer(where + "has a blob of " + std::to_string(given->blob_size) +
                    " bytes; at most " + std::to_string(SLIPWAY_MAX_BLOB));
    if (given->blob_size > 0 && !given->blob)
      return Answer(where + "has a blob that is null and has " + std::to_string(given->blob_size) +
                    " bytes");
    const auto* bytes = static_cast<const uint8_t*>(given->blob);
    if (given->blob_size > 0) spec.blob.assign(bytes, bytes + given->blob_size);
    SLIPWAY_RETURN_IF_ERROR(Pack(*given, spec).With(where));
    if (given->workspace_bytes > (uint64_t{1} << 40))
      return Answer(where + "wants " + std::to_string(given->workspace_bytes) +
                    " bytes of workspace");
    spec.workspace = given->workspace_bytes;
    if (given->in_place < -1 || given->in_place >= static_cast<int64_t>(given->num_inputs))
      return Answer(where + "works in place of input " + std::to_string(given->in_place) +
                    ", which it does not have");
    spec.in_place = given->in_place;
    list.push_back(std::move(spec));
    return OkStatus();
  }

  // Nothing is left over.
  Status Finish() const {
    for (size_t n = 0; n < nodes.size(); ++n) {
      if (!covered[n]) return Answer("no step stands for the node '" + nodes[n].node->name() + "'");
    }
    for (size_t i = 0; i < made.size(); ++i) {
      const slipway_value& v = view.value(i);
      if (v.producer >= 0 && v.read_outside && !made[i])
        return Answer("no step writes '" + view.values()[i]->name() + "', which is read outside");
    }
    return OkStatus();
  }
};

class PluginCompiler final : public CompileBackend {
 public:
  PluginCompiler(const slipway_compiler& compiler, std::string plugin, std::string name,
                 std::string version, std::string arch)
      : compiler_(compiler),
        plugin_(std::move(plugin)),
        name_(std::move(name)),
        version_(std::move(version)),
        arch_(std::move(arch)) {}

  std::string name() const override { return name_; }
  std::string version() const override { return version_; }
  Level level() const override { return static_cast<Level>(compiler_.level); }
  std::string plugin() const override { return plugin_; }
  Status Fault() const override {
    std::lock_guard lock(mutex_);
    return fault_;
  }

  Status Supports(const ir::Node& node, const Target& target) const override {
    if (!arch_.empty() && arch_ != "any" && arch_ != target.arch)
      return Unsupported("it is for " + arch_ + ", not for " + target.arch);
    return Ask(node, target).status();
  }

  std::vector<Candidate> Candidates(const ir::Node& node, const Target& target) const override {
    auto candidates = Ask(node, target);
    return candidates.ok() ? std::move(*candidates) : std::vector<Candidate>();
  }

  bool GivesDataDims(const ir::Node& node) const override {
    const ir::Node* list[] = {&node};
    GraphView view;
    if (!compiler_.gives_data_dims || !view.Set(list, false).ok()) return false;
    const Target any;
    const slipway_target to = TargetFor(any);
    return compiler_.gives_data_dims(compiler_.context, &view.graph(), &to) != 0;
  }

  Result<std::vector<StepSpec>> Compile(std::span<const PartitionNode> nodes,
                                        const Target& target) const override {
    std::vector<const ir::Node*> list;
    std::vector<const char*> chosen;
    for (const PartitionNode& n : nodes) {
      list.push_back(n.node);
      chosen.push_back(n.candidate->kernel.c_str());
    }
    GraphView view;
    SLIPWAY_RETURN_IF_ERROR(view.Set(list, true).With(nodes.front().node->Describe()));
    StepSink steps{nodes, view, level(), {}, {}, {}, {}};
    steps.covered.resize(nodes.size());
    steps.made.resize(view.values().size());
    const slipway_step_sink sink{sizeof(slipway_step_sink), &steps, StepSink::Add};
    const slipway_target to = TargetFor(target);
    slipway_error error{};
    const int code =
        compiler_.compile(compiler_.context, &view.graph(), chosen.data(), &to, &sink, &error);
    if (!steps.status.ok()) return Wrong(nodes.front().node->Describe(), steps.status);
    if (code != 0)
      return Unsupported("plugin '" + plugin_ + "' cannot compile the part that begins with " +
                         nodes.front().node->Describe() + ": " + MessageOf(error, code));
    if (Status rest = steps.Finish(); !rest.ok())
      return Wrong(nodes.front().node->Describe(), rest);
    return std::move(steps.list);
  }

 private:
  static slipway_target TargetFor(const Target& target) {
    return {sizeof(slipway_target), target.arch.c_str(), target.threads, target.exact};
  }

  // An answer that cannot be ends the compilation, whoever asked.
  Status Wrong(const std::string& where, const Status& what) const {
    Status s = Status(what.code(), "plugin '" + plugin_ + "', backend '" + name_ + "', at " +
                                       where + ": " + what.message() +
                                       "; the plugin is wrong, get another version of it");
    std::lock_guard lock(mutex_);
    if (fault_.ok()) fault_ = s;
    return s;
  }

  Result<std::vector<Candidate>> Ask(const ir::Node& node, const Target& target) const {
    if (!node.subgraphs.empty()) return Unsupported("control flow, which the session runs");
    const ir::Node* list[] = {&node};
    GraphView view;
    SLIPWAY_RETURN_IF_ERROR(view.Set(list, false));
    const slipway_target to = TargetFor(target);
    slipway_error error{};
    int code = compiler_.supports(compiler_.context, &view.graph(), &to, &error);
    if (code != 0) return Unsupported(MessageOf(error, code));
    CandidateSink candidates{node, view, level() == Level::kNetwork, {}, {}};
    const slipway_candidate_sink sink{sizeof(slipway_candidate_sink), &candidates,
                                      CandidateSink::Add};
    error = {};
    code = compiler_.candidates(compiler_.context, &view.graph(), &to, &sink, &error);
    if (!candidates.status.ok()) return Wrong(node.Describe(), candidates.status);
    if (code != 0)
      return Wrong(node.Describe(),
                   Answer("it supports the node and offers nothing: " + MessageOf(error, code)));
    if (candidates.list.empty())
      return Wrong(node.Describe(), Answer("it supports the node and offers no candidate"));
    return std::move(candidates.list);
  }

  const slipway_compiler compiler_;
  const std::string plugin_, name_, version_, arch_;
  mutable std::mutex mutex_;
  mutable Status fault_;
};

}  // namespace

Result<std::unique_ptr<CompileBackend>> MakePluginCompiler(slipway_compiler_entry entry,
                                                           const std::string& plugin,
                                                           const std::string& run_side) {
  const slipway_compiler* compiler = entry(SLIPWAY_COMPILER_ABI_VERSION);
  if (!compiler)
    return Unsupported("plugin '" + plugin + "': cannot serve version " +
                       std::to_string(SLIPWAY_COMPILER_ABI_VERSION) +
                       " of the compiler interface; get one that matches");
  return MakePluginCompiler(compiler, plugin, run_side);
}

Result<std::unique_ptr<CompileBackend>> MakePluginCompiler(const slipway_compiler* compiler,
                                                           const std::string& plugin,
                                                           const std::string& run_side) {
  const std::string who = "plugin '" + plugin + "': compile side: ";
  // Of another version, only the two first fields may be read.
  if (compiler->abi_version != SLIPWAY_COMPILER_ABI_VERSION)
    return Unsupported(who + "built for version " + std::to_string(compiler->abi_version) +
                       " of the compiler interface, this is " +
                       std::to_string(SLIPWAY_COMPILER_ABI_VERSION) + "; get one that matches");
  // What version 1 began with; fields behind it may be absent.
  constexpr size_t kFirst = offsetof(slipway_compiler, compile) + sizeof(compiler->compile);
  if (compiler->struct_size < kFirst)
    return InvalidArgument(who + "struct_size " + std::to_string(compiler->struct_size) +
                           " is smaller than the " + std::to_string(kFirst) +
                           " of version 1 of slipway_compiler; set it to sizeof");
  auto name = Word(compiler->name, kMaxName), version = Word(compiler->version, kMaxName);
  if (!name) return InvalidArgument(who + "it has no name of 1 to 63 printable bytes");
  if (!version)
    return InvalidArgument(who + "'" + *name + "' has no version of 1 to 63 printable bytes");
  if (!run_side.empty() && run_side != *name)
    return InvalidArgument(who + "it is called '" + *name + "', its run side '" + run_side +
                           "'; give both one name");
  if (compiler->level < SLIPWAY_LEVEL_CODE || compiler->level > SLIPWAY_LEVEL_NETWORK)
    return InvalidArgument(who + "'" + *name + "' has the unknown level " +
                           std::to_string(compiler->level));
  if (!compiler->supports || !compiler->candidates || !compiler->compile)
    return InvalidArgument(who + "'" + *name +
                           "': supports, candidates and compile must all be set");
  std::string arch;
  if (compiler->arch) {
    auto word = Word(compiler->arch, kMaxName);
    if (!word)
      return InvalidArgument(who + "'" + *name + "' has an arch that is no printable word");
    arch = std::move(*word);
  }
  slipway_compiler known{};
  std::memcpy(&known, compiler, std::min<size_t>(compiler->struct_size, sizeof known));
  return std::unique_ptr<CompileBackend>(std::make_unique<PluginCompiler>(
      known, plugin, std::move(*name), std::move(*version), std::move(arch)));
}

}  // namespace slipway::backends
