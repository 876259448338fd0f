#include "engine/runtime/session.h"

#include <algorithm>
#include <chrono>
#include <cstring>

#include "base/aligned.h"
#include "base/checked.h"
#include "engine/format/sequence.h"
#include "engine/runtime/control.h"

namespace slipway::runtime {
namespace {

constexpr int kMaxThreads = 1024;

std::string Quoted(std::string_view name) { return "'" + std::string(name) + "'"; }

template <typename Ios>
std::string NamesOf(const Ios& list, const format::PackageData& data) {
  std::string names;
  for (const auto& io : list) names += (names.empty() ? "" : ", ") + data.tensors[static_cast<size_t>(io.tensor)].name;
  return names.empty() ? "none" : names;
}

using format::PlainSymbol;

void ParallelFor(void* pool, int64_t count, int64_t grain, void (*body)(void*, int64_t, int64_t), void* context) {
  static_cast<ThreadPool*>(pool)->Run(count, grain, body, context);
}

Status BadDim(const std::string& input, size_t dim, const std::string& expected, int64_t given) {
  return InvalidArgument("input " + Quoted(input) + ", dimension " + std::to_string(dim) + ": expected " + expected + ", given " +
                         std::to_string(given));
}

}  // namespace

Session::Session(std::shared_ptr<const Package> package, const SessionOptions& options, std::shared_ptr<Shared> shared)
    : package_(std::move(package)), options_(options), shared_(std::move(shared)), is_body_(shared_ != nullptr), arena_(options.memory) {
  if (!shared_) {
    ThreadPoolOptions pool{.threads = options.threads, .pin = options.pin};
    if (options.spin >= 0) pool.spin_iterations = options.spin;
    if (options.yield >= 0) pool.yield_iterations = options.yield;
    shared_ = std::make_shared<Shared>(pool);
  }
  const format::PackageData& data = package_->data();
  auto add = [&](std::vector<Io>& list, const std::vector<int>& tensors) {
    list.reserve(tensors.size());
    for (int t : tensors) {
      Io io{t, {}, true, Block(options.memory), nullptr, 0};
      for (const Dim& d : Tensor(t).shape) {
        io.given = io.given && d.known();
        io.dims.push_back(d.known() ? d.value() : -1);
      }
      list.push_back(std::move(io));
    }
  };
  add(inputs_, data.inputs);
  add(outputs_, data.outputs);
  io_.resize(data.tensors.size());
  for (auto* list : {&inputs_, &outputs_}) {
    for (Io& io : *list) io_[static_cast<size_t>(io.tensor)] = &io;
  }
  dims_.resize(data.tensors.size());
  bytes_.resize(data.tensors.size());
  if (std::any_of(data.tensors.begin(), data.tensors.end(), [](const auto& t) { return t.is_container(); })) {
    lists_.resize(data.tensors.size());
    dead_lists_.resize(data.steps.size());
    for (size_t i = 0; i < data.tensors.size(); ++i) {
      const int last = package_->liveness().last[i];
      if (data.tensors[i].is_container() && data.tensors[i].kind == format::TensorKind::kArena && last >= 0) {
        dead_lists_[static_cast<size_t>(last)].push_back(static_cast<int>(i));
      }
    }
  }
  const format::Phases& phases = package_->phases();
  for (size_t p = 0; p < phases.begin.size(); ++p) {
    phases_.push_back({static_cast<size_t>(phases.begin[p]), static_cast<size_t>(phases.End(p, data.steps.size()))});
  }
  profile_.resize(data.steps.size());
  steps_.resize(data.steps.size());
  for (size_t s = 0; s < steps_.size(); ++s) {
    steps_[s].inputs = package_->steps()[s].inputs;
    steps_[s].outputs = package_->steps()[s].outputs;
    steps_[s].macs = data.steps[s].macs;
    if (data.steps[s].control) steps_[s].control = std::make_unique<ControlRun>(*package_, s, options_, shared_);
    if (data.steps[s].data_dims) asked_.resize(std::max(asked_.size(), data.steps[s].outputs.size()));
  }
}

Session::~Session() { ReleaseSteps(0, steps_.size()); }

Result<std::unique_ptr<Session>> Session::Create(std::shared_ptr<const Package> package, const SessionOptions& options) {
  if (options.threads < 0 || options.threads > kMaxThreads) {
    return InvalidArgument("session option threads: " + std::to_string(options.threads) + " is not between 0 (all CPUs) and " +
                           std::to_string(kMaxThreads));
  }
  if (options.spin < -1) return InvalidArgument("session option spin: " + std::to_string(options.spin) + " is below -1 (the default)");
  if (options.yield < -1) return InvalidArgument("session option yield: " + std::to_string(options.yield) + " is below -1 (the default)");
  if (options.max_iterations < 1) {
    return InvalidArgument("session option max_iterations: " + std::to_string(options.max_iterations) + " is below 1");
  }
  std::unique_ptr<Session> session(new Session(std::move(package), options, nullptr));
  session->ListSteps("", session->rows_);
  const bool known = std::all_of(session->inputs_.begin(), session->inputs_.end(), [](const Io& io) { return io.given; });
  if (known) SLIPWAY_RETURN_IF_ERROR(session->Prepare());
  return session;
}

Session::Io* Session::FindIo(std::vector<Io>& list, const format::PackageData& data, std::string_view name) {
  for (Io& io : list) {
    if (data.tensors[static_cast<size_t>(io.tensor)].name == name) return &io;
  }
  return nullptr;
}

uint64_t Session::BytesOf(const Io& io) const {
  if (IsContainer(io.tensor)) return 0;
  // Inputs and outputs are plain, so their bytes follow from their own shape.
  return static_cast<uint64_t>(CheckedBytes(Tensor(io.tensor).dtype, io.dims).value_or(0));
}

Status Session::SetShape(std::string_view input, std::span<const int64_t> dims) {
  const format::PackageData& data = package_->data();
  Io* io = FindIo(inputs_, data, input);
  if (!io) return NotFound("no input " + Quoted(input) + "; the inputs are: " + NamesOf(inputs_, data));
  if (IsContainer(io->tensor)) return NotTensor(*io);
  SLIPWAY_RETURN_IF_ERROR(SetDims(*io, dims));
  for (auto* list : {&inputs_, &outputs_}) {
    for (Io& other : *list) other.bound = nullptr;
  }
  pointers_valid_ = false;
  return OkStatus();
}

Status Session::SetDims(Io& io, std::span<const int64_t> dims) {
  if (io.given && std::ranges::equal(std::span<const int64_t>(io.dims), dims)) return OkStatus();
  const format::PackageData& data = package_->data();
  const format::PackageTensor& tensor = Tensor(io.tensor);
  const std::string& input = tensor.name;
  if (dims.size() != tensor.shape.size()) {
    return InvalidArgument("input " + Quoted(input) + ": expected rank " + std::to_string(tensor.shape.size()) + " " +
                           ToString(tensor.shape) + ", given rank " + std::to_string(dims.size()));
  }
  std::string text;
  for (size_t d = 0; d < dims.size(); ++d) {
    const Dim& expected = tensor.shape[d];
    if (expected.known() && expected.value() != dims[d]) return BadDim(tensor.name, d, expected.ToString(), dims[d]);
    if (dims[d] < 0) return BadDim(tensor.name, d, expected.ToString() + " >= 0", dims[d]);
    if (const std::string* symbol = PlainSymbol(expected, text)) {
      const auto range = data.symbols.at(*symbol);
      if (dims[d] < range.first || dims[d] > range.second) {
        return BadDim(tensor.name, d, *symbol + " from " + std::to_string(range.first) + " to " + std::to_string(range.second), dims[d]);
      }
    }
  }
  const auto bytes = CheckedBytes(tensor.dtype, dims);
  if (!bytes || static_cast<uint64_t>(*bytes) > kMaxBlock) {
    return InvalidArgument("input " + Quoted(input) + ": the shape " + Dims(dims).ToString() + " is too large");
  }
  pointers_valid_ = false;
  io.dims = Dims(dims);
  io.given = true;
  prepared_ = false;
  return OkStatus();
}

Status Session::NotGiven(const Io& io) const {
  const format::PackageTensor& tensor = Tensor(io.tensor);
  return InvalidArgument("input " + Quoted(tensor.name) + " has the dynamic shape " + ToString(tensor.shape) + "; set its shape first");
}

Status Session::NotRun(const Io& io) const {
  const format::PackageTensor& tensor = Tensor(io.tensor);
  return InvalidArgument("output " + Quoted(tensor.name) + " has the shape " + ToString(tensor.shape) +
                         ", which the data decide; run the session with the inputs' current shapes first");
}

Status Session::NotTensor(const Io& io) const {
  const format::PackageTensor& tensor = Tensor(io.tensor);
  return InvalidArgument(Quoted(tensor.name) + " is no tensor but a value of kind '" + format::ContainerName(tensor.container) +
                         "'; use the functions for sequences, which take one of its tensors at a time");
}

Result<slipway_tensor> Session::View(Io& io) {
  const uint64_t bytes = BytesOf(io);
  if (io.bound && bytes > io.bound_bytes) {
    return InvalidArgument("memory for " + Quoted(Tensor(io.tensor).name) + ": " + std::to_string(bytes) + " bytes are needed for " +
                           io.dims.ToString() + ", given " + std::to_string(io.bound_bytes));
  }
  if (!io.bound) {
    const uint8_t* before = io.memory.data();
    if (!io.memory.Reserve(bytes, is_body_)) {
      pointers_valid_ = false;
      return ResourceExhausted("no memory for the " + std::to_string(bytes) + " bytes of " + Quoted(Tensor(io.tensor).name) +
                               "; free memory or use a smaller batch");
    }
    if (io.memory.data() != before) pointers_valid_ = false;
  }
  slipway_tensor t = DescribeTensor(Tensor(io.tensor), io.dims, bytes);
  t.data = io.bound ? io.bound : io.memory.data();
  return t;
}

Result<slipway_tensor> Session::Input(std::string_view name) {
  Io* io = FindIo(inputs_, package_->data(), name);
  if (!io) return NotFound("no input " + Quoted(name) + "; the inputs are: " + NamesOf(inputs_, package_->data()));
  if (IsContainer(io->tensor)) return NotTensor(*io);
  if (!io->given) return NotGiven(*io);
  return View(*io);
}

Result<slipway_tensor> Session::Output(std::string_view name) {
  Io* io = FindIo(outputs_, package_->data(), name);
  if (!io) return NotFound("no output " + Quoted(name) + "; the outputs are: " + NamesOf(outputs_, package_->data()));
  if (IsContainer(io->tensor)) return NotTensor(*io);
  SLIPWAY_RETURN_IF_ERROR(Prepare());
  if (!io->given) return NotRun(*io);
  return View(*io);
}

Status Session::Bind(std::string_view name, void* data, size_t bytes) {
  Io* io = FindIo(inputs_, package_->data(), name);
  if (!io) {
    io = FindIo(outputs_, package_->data(), name);
    if (!io) {
      return NotFound("no input or output " + Quoted(name) + "; the inputs are: " + NamesOf(inputs_, package_->data()) +
                      "; the outputs are: " + NamesOf(outputs_, package_->data()));
    }
    if (data && !IsContainer(io->tensor)) SLIPWAY_RETURN_IF_ERROR(Prepare());
  }
  if (IsContainer(io->tensor)) return NotTensor(*io);
  if (data) {
    const bool later = package_->phases().tensor[static_cast<size_t>(io->tensor)] > 0;  // its extent: checked in the run
    if (!io->given && !later) return NotGiven(*io);
    if (reinterpret_cast<uintptr_t>(data) % kAlignment != 0) {
      return InvalidArgument("memory for " + Quoted(name) + ": its address must be a multiple of 64");
    }
    if (!later && bytes < BytesOf(*io)) {
      return InvalidArgument("memory for " + Quoted(name) + ": " + std::to_string(BytesOf(*io)) + " bytes are needed for " +
                             io->dims.ToString() + ", given " + std::to_string(bytes));
    }
  }
  if (io->bound != data) pointers_valid_ = false;
  io->bound = data;
  io->bound_bytes = bytes;
  return OkStatus();
}

Status Session::BindInputs() {
  const format::PackageData& data = package_->data();
  for (const Io& io : inputs_) {
    if (!io.given) return NotGiven(io);
  }
  symbols_.clear();
  std::string text;
  for (const Io& io : inputs_) {
    const format::PackageTensor& tensor = Tensor(io.tensor);
    for (size_t d = 0; d < tensor.shape.size(); ++d) {
      const std::string* symbol = PlainSymbol(tensor.shape[d], text);
      if (!symbol) continue;
      auto [it, inserted] = symbols_.try_emplace(*symbol, Binding{io.dims[d], "input " + Quoted(tensor.name), 0});
      if (!inserted && it->second.value != io.dims[d]) {
        return BadDim(tensor.name, d, *symbol + " = " + std::to_string(it->second.value) + " as in " + it->second.source, io.dims[d]);
      }
    }
  }
  for (const Io& io : inputs_) {
    const format::PackageTensor& tensor = data.tensors[static_cast<size_t>(io.tensor)];
    for (size_t d = 0; d < tensor.shape.size(); ++d) {
      auto value = Evaluate(tensor.shape[d]);
      if (!value.ok()) return value.status().With("input " + Quoted(tensor.name) + ", dimension " + std::to_string(d));
      if (*value != io.dims[d]) {
        return BadDim(tensor.name, d, tensor.shape[d].ToString() + " = " + std::to_string(*value), io.dims[d]);
      }
    }
  }
  return OkStatus();
}

Result<int64_t> Session::Evaluate(const Dim& dim) const {
  if (dim.known()) return dim.value();
  return dim.Evaluate([&](std::string_view symbol) -> std::optional<int64_t> {
    auto it = symbols_.find(symbol);
    return it == symbols_.end() ? std::nullopt : std::optional(it->second.value);
  });
}

Status Session::ResolveTensors(size_t phase) {
  const format::PackageData& data = package_->data();
  uint64_t total = 0;
  for (size_t i = 0; i < data.tensors.size(); ++i) {
    if (package_->phases().tensor[i] != static_cast<int>(phase)) continue;
    const format::PackageTensor& tensor = data.tensors[i];
    auto where = [&] { return "tensor " + Quoted(tensor.name) + " " + ToString(tensor.shape); };
    Dims dims;
    for (const Dim& d : tensor.shape) {
      auto value = Evaluate(d);
      if (!value.ok()) return value.status().With(where());
      if (*value < 0) return InvalidArgument(where() + ": the inputs make the dimension " + d.ToString() + " negative");
      dims.push_back(*value);
    }
    const auto bytes = tensor.is_container() ? 0 : format::LayoutBytes(tensor.dtype, dims, tensor.layout);
    if (!bytes || static_cast<uint64_t>(*bytes) > kMaxBlock || (total += static_cast<uint64_t>(*bytes)) > kMaxBlock * 4) {
      return ResourceExhausted(where() + ": too large with the inputs' shapes");
    }
    dims_[i] = dims;
    bytes_[i] = static_cast<uint64_t>(*bytes);
  }
  for (size_t i = 0; i < data.tensors.size(); ++i) {
    const int alias = data.tensors[i].alias;
    if (alias < 0 || data.tensors[i].part >= 0) continue;
    const int mine = package_->phases().tensor[i], other = package_->phases().tensor[static_cast<size_t>(alias)];
    if (std::max(mine, other) != static_cast<int>(phase) || bytes_[i] == bytes_[static_cast<size_t>(alias)]) continue;
    return DataLoss("tensor " + Quoted(data.tensors[i].name) + " " + ToString(data.tensors[i].shape) + ": shares the memory of " +
                    Quoted(Tensor(alias).name) + ", which has another size; compile the package again");
  }
  for (Io& io : outputs_) {
    if (PhaseOf(io) != static_cast<int>(phase)) continue;
    io.dims = dims_[static_cast<size_t>(io.tensor)];
    io.given = true;
  }
  return OkStatus();
}

void Session::ReleaseSteps(size_t begin, size_t end) {
  for (size_t s = begin; s < end; ++s) {
    const slipway_backend* backend = package_->steps()[s].backend;
    if (steps_[s].prepared) backend->release(backend->context, steps_[s].bound);
    steps_[s].prepared = false;
    steps_[s].bound = nullptr;
  }
}

void Session::Invalidate(size_t from) {
  for (size_t p = from; p < phases_.size(); ++p) phases_[p].prepared = false;
  std::erase_if(symbols_, [&](const auto& e) { return e.second.phase >= from; });
  for (Io& io : outputs_) {
    if (PhaseOf(io) >= static_cast<int>(from)) io.given = false;
  }
}

void Session::FillDims(const std::vector<int>& tensors, std::vector<slipway_tensor>& to) const {
  for (size_t k = 0; k < tensors.size(); ++k) {
    if (tensors[k] < 0) continue;
    const auto t = static_cast<size_t>(tensors[k]);
    std::copy(dims_[t].begin(), dims_[t].end(), to[k].dims);
    to[k].bytes = bytes_[t];
    if (!to[k].is_constant) to[k].data = nullptr;
  }
}

bool Session::HaveDims(const std::vector<int>& tensors, const std::vector<slipway_tensor>& in) const {
  for (size_t k = 0; k < tensors.size(); ++k) {
    if (tensors[k] < 0) continue;
    const Dims& dims = dims_[static_cast<size_t>(tensors[k])];
    if (!std::equal(dims.begin(), dims.end(), in[k].dims)) return false;
  }
  return true;
}

Status Session::PrepareSteps(const Phase& phase) {
  const format::PackageData& data = package_->data();
  for (size_t s = phase.begin; s < phase.end; ++s) {
    const format::PackageStep& step = data.steps[s];
    const Package::LoadedStep& loaded = package_->steps()[s];
    BoundStep& bound = steps_[s];
    // Where one extent grows from one iteration to the next, most steps do not see it.
    if (bound.prepared && HaveDims(step.inputs, bound.inputs) && HaveDims(step.outputs, bound.outputs)) continue;
    ReleaseSteps(s, s + 1);
    FillDims(step.inputs, bound.inputs);
    FillDims(step.outputs, bound.outputs);
    if (step.macs_of) {
      const auto macs = Evaluate(*step.macs_of);
      bound.macs = macs.ok() ? std::max<int64_t>(0, *macs) : 0;  // too many to count
    }
    if (bound.control || step.sequence) continue;
    slipway_step view = StepView(step, bound.inputs, bound.outputs);
    slipway_requirements requirements{sizeof(slipway_requirements), threads(), 0};
    slipway_error error{};
    const int code = loaded.backend->prepare(loaded.backend->context, loaded.program, &view, &requirements, &bound.bound, &error);
    if (code != 0) return FromBackend(code, error).With(loaded.description);
    bound.prepared = true;
    bound.workspace = requirements.workspace_bytes;
    if (bound.workspace > kMaxBlock) {
      return ResourceExhausted(loaded.description + ": asks for a workspace of " + std::to_string(bound.workspace) + " bytes");
    }
  }
  return OkStatus();
}

Status Session::PlanArena(size_t index) {
  const format::PackageData& data = package_->data();
  Phase& phase = phases_[index];
  bool as_compiled = data.static_plan;
  for (size_t s = 0; s < steps_.size(); ++s) as_compiled = as_compiled && steps_[s].workspace <= data.steps[s].workspace;
  if (as_compiled) {
    plan_.arena_size = data.arena_size;
    plan_.tensor_offsets.resize(data.tensors.size());
    for (size_t i = 0; i < data.tensors.size(); ++i) plan_.tensor_offsets[i] = data.tensors[i].offset;
    for (size_t s = 0; s < steps_.size(); ++s) steps_[s].workspace_offset = data.steps[s].workspace_offset;
  } else {
    std::vector<uint64_t> workspace;
    for (const BoundStep& s : steps_) workspace.push_back(s.workspace);
    plan_.arena_size = index == 0 ? 0 : phases_[index - 1].arena_size;
    format::ExtendPlan(data, bytes_, workspace, phase.begin, phase.end, plan_);
    for (size_t s = phase.begin; s < phase.end; ++s) steps_[s].workspace_offset = plan_.workspace_offsets[s];
  }
  phase.arena_size = plan_.arena_size;
  if (!(index == 0 ? arena_.Reserve(phase.arena_size, is_body_) : arena_.Grow(phase.arena_size))) {
    return ResourceExhausted("no memory for the " + std::to_string(phase.arena_size) + " bytes of activations of package " +
                             Quoted(data.name) + "; free memory or use smaller inputs");
  }
  return OkStatus();
}

Status Session::PreparePhase(size_t index) {
  pointers_valid_ = false;
  SLIPWAY_RETURN_IF_ERROR(ResolveTensors(index));
  SLIPWAY_RETURN_IF_ERROR(PrepareSteps(phases_[index]));
  SLIPWAY_RETURN_IF_ERROR(PlanArena(index));
  phases_[index].prepared = true;
  return OkStatus();
}

Status Session::Prepare() {
  if (prepared_) return OkStatus();
  Invalidate(0);
  SLIPWAY_RETURN_IF_ERROR(BindInputs());
  SLIPWAY_RETURN_IF_ERROR(PreparePhase(0));
  prepared_ = true;
  return OkStatus();
}

Status Session::EnterPhase(size_t index) {
  const Phase& phase = phases_[index];
  const size_t s = phase.begin;
  const format::PackageStep& step = package_->data().steps[s];
  const Package::LoadedStep& loaded = package_->steps()[s];
  BoundStep& bound = steps_[s];
  if (!phase.prepared) {
    FillDims(step.inputs, bound.inputs);
    FillData(step.inputs, bound.inputs);
  }
  std::copy(loaded.outputs.begin(), loaded.outputs.end(), asked_.begin());
  const std::span<slipway_tensor> answer(asked_.data(), loaded.outputs.size());
  if (bound.control) {
    SLIPWAY_RETURN_IF_ERROR(AskControl(index, answer).With(loaded.description));
  } else if (step.sequence) {
    const SequenceRun run(*package_, s, bound.inputs, options_.memory, shared_->iterations);
    SLIPWAY_RETURN_IF_ERROR(run.Extent(answer[0]).With(loaded.description));
  } else {
    const slipway_step view = StepView(step, bound.inputs, loaded.outputs);
    slipway_error error;
    error.message[0] = '\0';
    const int code = loaded.backend->output_dims(loaded.backend->context, loaded.program, &view, answer.data(), &error);
    if (code != 0) return FromBackend(code, error).With(loaded.description);
    for (size_t k = 0; k < answer.size(); ++k) {
      if (answer[k].rank == loaded.outputs[k].rank && answer[k].dtype == loaded.outputs[k].dtype) continue;
      return DataLoss(loaded.description + ": the backend answers with " + std::to_string(answer[k].rank) + " dimensions of element type " +
                      std::to_string(answer[k].dtype) + " for output " + std::to_string(k) + ", the package has " +
                      std::to_string(loaded.outputs[k].rank) + " of " + std::to_string(loaded.outputs[k].dtype) + "; the backend is wrong, get another version of it");
    }
  }
  bool same = phase.prepared;
  for (size_t k = 0; same && k < answer.size(); ++k) {
    if (step.outputs[k] < 0) continue;
    const Dims& last = dims_[static_cast<size_t>(step.outputs[k])];
    same = std::equal(last.begin(), last.end(), answer[k].dims);
  }
  if (same) {
    for (Io& io : outputs_) {
      if (PhaseOf(io) == static_cast<int>(index) && !IsContainer(io.tensor)) SLIPWAY_RETURN_IF_ERROR(View(io).status());
    }
    return pointers_valid_ ? OkStatus() : FillPointers(index);
  }
  Invalidate(index);
  SLIPWAY_RETURN_IF_ERROR(BindOutputs(index, answer).With(loaded.description));
  SLIPWAY_RETURN_IF_ERROR(PreparePhase(index));
  return FillPointers(index);
}

Status Session::BindOutputs(size_t index, std::span<const slipway_tensor> answer) {
  const format::PackageData& data = package_->data();
  const format::PackageStep& step = data.steps[phases_[index].begin];
  std::string text;
  for (size_t k = 0; k < answer.size(); ++k) {
    if (step.outputs[k] < 0) continue;
    const format::PackageTensor& tensor = Tensor(step.outputs[k]);
    for (size_t d = 0; d < tensor.shape.size(); ++d) {
      const int64_t given = answer[k].dims[d];
      auto bad = [&](const std::string& expected) {
        return InvalidArgument("output " + Quoted(tensor.name) + ", dimension " + std::to_string(d) + ": expected " + expected +
                               ", the data give " + std::to_string(given));
      };
      if (given < 0) return bad("a size");
      const std::string* symbol = PlainSymbol(tensor.shape[d], text);
      if (symbol && !symbols_.count(*symbol)) {
        const auto range = data.symbols.at(*symbol);
        if (given < range.first || given > range.second) {
          return bad(*symbol + " from " + std::to_string(range.first) + " to " + std::to_string(range.second));
        }
        symbols_.emplace(*symbol, Binding{given, "output " + Quoted(tensor.name), index});
        continue;
      }
      SLIPWAY_ASSIGN_OR_RETURN(const int64_t expected, Evaluate(tensor.shape[d]));
      if (given != expected) return bad(tensor.shape[d].known() ? std::to_string(expected) : tensor.shape[d].ToString() + " = " + std::to_string(expected));
    }
  }
  return OkStatus();
}

uint8_t* Session::PointerOf(int tensor) {
  if (IsContainer(tensor)) return reinterpret_cast<uint8_t*>(&lists_[static_cast<size_t>(tensor)]);
  const auto owner = static_cast<size_t>(package_->liveness().owner[static_cast<size_t>(tensor)]);
  const format::TensorKind kind = package_->data().tensors[owner].kind;
  if (kind == format::TensorKind::kArena) return arena_.data() + plan_.tensor_offsets[owner] + std::max<int64_t>(Tensor(tensor).part, 0);
  const Io* io = io_[owner];
  return !io ? nullptr : io->bound ? static_cast<uint8_t*>(io->bound) : io->memory.data();
}

void Session::FillData(const std::vector<int>& tensors, std::vector<slipway_tensor>& to) {
  for (size_t k = 0; k < tensors.size(); ++k) {
    if (tensors[k] >= 0 && !to[k].is_constant) to[k].data = PointerOf(tensors[k]);
  }
}

Status Session::FillPointers(size_t last) {
  const format::PackageData& data = package_->data();
  for (auto* list : {&inputs_, &outputs_}) {
    for (Io& io : *list) {
      // What an output of a later phase was in the last run says nothing about this one.
      if (!io.given || PhaseOf(io) > static_cast<int>(last) || IsContainer(io.tensor)) continue;
      auto view = View(io);
      if (!view.ok()) return view.status();
    }
  }
  for (const Phase& phase : phases_) {
    for (size_t s = phase.begin; phase.prepared && s < phase.end; ++s) {
      FillData(data.steps[s].inputs, steps_[s].inputs);
      FillData(data.steps[s].outputs, steps_[s].outputs);
    }
  }
  pointers_valid_ = true;
  return OkStatus();
}

Status Session::SyncBackend(const slipway_backend* backend) {
  slipway_error error;
  error.message[0] = '\0';
  const int code = backend->sync(backend->context, &error);
  return code == 0 ? OkStatus() : FromBackend(code, error).With("backend " + Quoted(backend->name));
}

Status Session::RunSteps(const Phase& phase) {
  slipway_execution execution{};
  execution.struct_size = sizeof(execution);
  execution.threads = threads();
  execution.pool = &shared_->pool;
  execution.parallel_for = ParallelFor;
  slipway_error error;
  error.message[0] = '\0';
  const slipway_backend* pending = nullptr;  // started work that may not be done yet
  for (size_t s = phase.begin; s < phase.end; ++s) {
    const Package::LoadedStep& loaded = package_->steps()[s];
    BoundStep& step = steps_[s];
    if (pending && pending != loaded.backend) {
      SLIPWAY_RETURN_IF_ERROR(SyncBackend(pending));
      pending = nullptr;
    }
    if (!loaded.backend) {
      SLIPWAY_RETURN_IF_ERROR(step.control ? RunControl(s) : RunSequence(s));
      for (size_t i = 0; !dead_lists_.empty() && i < dead_lists_[s].size(); ++i) lists_[static_cast<size_t>(dead_lists_[s][i])].reset();
      continue;
    }
    execution.workspace = step.workspace ? arena_.data() + step.workspace_offset : nullptr;
    execution.workspace_bytes = step.workspace;
    std::chrono::steady_clock::time_point start;
    if (options_.profile) start = std::chrono::steady_clock::now();
    const int code = loaded.backend->run(loaded.backend->context, step.bound, step.inputs.data(), step.outputs.data(), &execution, &error);
    if (code != 0) {
      if (loaded.backend->sync) (void)SyncBackend(loaded.backend);
      return FromBackend(code, error).With(loaded.description);
    }
    if (loaded.backend->sync) pending = loaded.backend;
    if (options_.profile) {
      if (pending) SLIPWAY_RETURN_IF_ERROR(SyncBackend(pending));
      pending = nullptr;
      Count(s, std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - start).count());
    }
  }
  return pending ? SyncBackend(pending) : OkStatus();
}

Status Session::Run() {
  if (running_.exchange(1, std::memory_order_acquire)) {
    return InvalidArgument("the session is running in another thread; give every thread its own session");
  }
  struct Clear {
    std::atomic<int>& flag;
    ~Clear() { flag.store(0, std::memory_order_release); }
  } clear{running_};
  shared_->iterations = options_.max_iterations;
  if (lists_.empty()) return RunPhases();
  SLIPWAY_RETURN_IF_ERROR(CheckLists());
  SLIPWAY_RETURN_IF_ERROR(RunPhases());
  return OwnOutputs();
}

Status Session::RunPhases() {
  SLIPWAY_RETURN_IF_ERROR(Prepare());
  if (!pointers_valid_) SLIPWAY_RETURN_IF_ERROR(FillPointers(0));
  for (size_t p = 0; p < phases_.size(); ++p) {
    if (p > 0) SLIPWAY_RETURN_IF_ERROR(EnterPhase(p));
    SLIPWAY_RETURN_IF_ERROR(RunSteps(phases_[p]));
  }
  return OkStatus();
}

}  // namespace slipway::runtime
