#include "engine/runtime/control.h"

#include <algorithm>
#include <chrono>
#include <cstring>

#include "base/aligned.h"
#include "base/checked.h"
#include "engine/runtime/slices.h"

namespace slipway::runtime {
namespace {

using Tensors = std::span<const slipway_tensor>;

std::string Extent(std::span<const int64_t> dims) { return Dims(dims).ToString(); }
// Copies what has the extent of `to`.
Status CopyTo(const slipway_tensor& to, std::span<const int64_t> dims, const void* data,
              const std::string& what) {
  if (!std::ranges::equal(DimsOf(to), dims)) {
    return InvalidArgument(what + " is " + Extent(dims) + ", the package expects " +
                           Extent(DimsOf(to)));
  }
  if (to.bytes > 0) std::memcpy(to.data, data, to.bytes);
  return OkStatus();
}

void PutList(const slipway_tensor& to, ListPtr list) {
  *static_cast<ListPtr*>(to.data) = std::move(list);
}

std::string Carried(size_t k) { return "carried value " + std::to_string(k); }
std::string Output(size_t k) { return "output " + std::to_string(k); }

}  // namespace

ControlRun::ControlRun(const Package& package, size_t step, const SessionOptions& options,
                       std::shared_ptr<Session::Shared> shared)
    : step_(package.data().steps[step]),
      control_(*step_.control),
      form_(format::FormOf(step_)),
      options_(options),
      shared_(std::move(shared)) {
  for (const int body : control_.bodies) {
    bodies_.push_back(std::unique_ptr<Session>(
        new Session(package.programs()[static_cast<size_t>(body)], options, shared_)));
  }
  auto add = [&](std::vector<Value>& list, size_t count) {
    list.reserve(count);
    for (size_t i = 0; i < count; ++i) list.push_back({Block(options.memory), {}, nullptr});
  };
  add(carried_, form_.carried);
  add(stacks_, form_.stacked);
  add(slices_, form_.scanned);
}

uint64_t ControlRun::memory_bytes() const {
  uint64_t total = 0;
  for (const auto& body : bodies_) total += body->memory_bytes();
  for (const auto* list : {&carried_, &stacks_, &slices_}) {
    for (const Value& v : *list) total += v.memory.capacity() + BytesOf(v.list);
  }
  return total;
}

Status ControlRun::Run(Tensors inputs, Tensors outputs, bool known) {
  iterations_ = 0;
  expected_ = -1;
  if (control_.kind == format::ControlKind::kIf) return RunIf(inputs, outputs, known);
  SLIPWAY_RETURN_IF_ERROR(control_.kind == format::ControlKind::kLoop
                              ? RunLoop(inputs, outputs, known)
                              : RunScan(inputs, outputs, known));
  if (!known) return OkStatus();
  for (size_t i = 0; i < form_.stacked; ++i) {
    const size_t k = form_.carried + i;
    if (step_.outputs[k] >= 0 && outputs[k].dims[OutputAxis(i)] != iterations_) {
      return InvalidArgument(Output(k) + " has " + std::to_string(iterations_) +
                             " slices, the package expects " +
                             std::to_string(outputs[k].dims[OutputAxis(i)]));
    }
  }
  return DeliverCarried(inputs, outputs);
}

Status ControlRun::CountIteration() {
  if (shared_->iterations-- > 0) return OkStatus();
  return ResourceExhausted("loops ran more than " + std::to_string(options_.max_iterations) +
                           " iterations; check the loop's condition, or raise max_iterations");
}

Status ControlRun::Feed(Session& body, size_t i, std::span<const int64_t> dims, void* data,
                        uint64_t bytes) {
  Session::Io& io = body.inputs_[i];
  if (body.IsContainer(io.tensor)) {
    body.lists_[static_cast<size_t>(io.tensor)] = *static_cast<const ListPtr*>(data);
    return OkStatus();
  }
  SLIPWAY_RETURN_IF_ERROR(body.SetDims(io, dims));
  if (io.bound != data) {
    io.bound = data;
    body.pointers_valid_ = false;
  }
  io.bound_bytes = bytes;
  return OkStatus();
}

Status ControlRun::RunIf(Tensors inputs, Tensors outputs, bool known) {
  if (inputs[0].bytes != 1)
    return InvalidArgument("its condition must be one bool, is " + Extent(DimsOf(inputs[0])));
  taken_ = *static_cast<const uint8_t*>(inputs[0].data) != 0 ? 0 : 1;
  Session& body = *bodies_[taken_];
  for (size_t i = 1; i < inputs.size(); ++i)
    SLIPWAY_RETURN_IF_ERROR(FeedTensor(body, i - 1, inputs[i]));
  auto check = [&](size_t k) -> Status {
    if (std::ranges::equal(DimsOf(outputs[k]), std::span<const int64_t>(body.outputs_[k].dims)))
      return OkStatus();
    return InvalidArgument(Output(k) + " is " + body.outputs_[k].dims.ToString() +
                           ", the package expects " + Extent(DimsOf(outputs[k])));
  };
  SLIPWAY_RETURN_IF_ERROR(body.Prepare());
  for (size_t k = 0; k < body.outputs_.size(); ++k) {
    Session::Io& io = body.outputs_[k];
    if (body.IsContainer(io.tensor)) continue;
    const bool here = known && step_.outputs[k] >= 0;
    // Extents of later phases are compared behind the run; the body does not write more than there
    // is room for.
    if (here && body.PhaseOf(io) == 0) SLIPWAY_RETURN_IF_ERROR(check(k));
    void* to = here ? outputs[k].data : nullptr;
    if (io.bound != to) body.pointers_valid_ = false;
    io.bound = to;
    io.bound_bytes = here ? outputs[k].bytes : 0;
  }
  SLIPWAY_RETURN_IF_ERROR(body.RunPhases());
  for (size_t k = 0; known && k < outputs.size(); ++k) {
    if (step_.outputs[k] < 0) continue;
    SLIPWAY_RETURN_IF_ERROR(check(k));
    if (body.IsContainer(body.outputs_[k].tensor))
      PutList(outputs[k], ListOf(body.outputs_[k], body));
  }
  return OkStatus();
}

Status ControlRun::RunLoop(Tensors inputs, Tensors outputs, bool known) {
  int64_t trips = -1;  // no limit
  if (step_.inputs[0] >= 0) {
    if (inputs[0].bytes != sizeof(trips))
      return InvalidArgument("its trip count must be one int64, is " + Extent(DimsOf(inputs[0])));
    std::memcpy(&trips, inputs[0].data, sizeof(trips));
    trips = std::max<int64_t>(trips, 0);
  }
  bool condition = true;
  if (step_.inputs[1] >= 0) {
    if (inputs[1].bytes != 1)
      return InvalidArgument("its condition must be one bool, is " + Extent(DimsOf(inputs[1])));
    condition = *static_cast<const uint8_t*>(inputs[1].data) != 0;
  }
  Session& body = *bodies_[0];
  while (condition && (trips < 0 || iterations_ < trips)) {
    SLIPWAY_RETURN_IF_ERROR(CountIteration());
    iteration_ = iterations_;
    SLIPWAY_RETURN_IF_ERROR(Feed(body, 0, {}, &iteration_, sizeof(iteration_)));
    SLIPWAY_RETURN_IF_ERROR(Feed(body, 1, {}, &true_, 1));
    SLIPWAY_RETURN_IF_ERROR(Iterate(inputs, outputs, known));
    const Session::Io& next = body.outputs_[0];
    if (next.dims.count() != 1)
      return InvalidArgument("the condition of its body must be one bool, is " +
                             next.dims.ToString());
    condition = *next.memory.data() != 0;
  }
  return OkStatus();
}

Status ControlRun::RunScan(Tensors inputs, Tensors outputs, bool known) {
  for (size_t i = 0; i < form_.scanned; ++i) {
    const int64_t slices = inputs[form_.carried + i].dims[control_.input_axes[i]];
    if (expected_ >= 0 && slices != expected_) {
      return InvalidArgument("its scanned inputs have " + std::to_string(expected_) + " and " +
                             std::to_string(slices) + " slices; all must have the same number");
    }
    expected_ = slices;
  }
  while (iterations_ < expected_) {
    SLIPWAY_RETURN_IF_ERROR(CountIteration());
    for (size_t i = 0; i < form_.scanned; ++i) {
      SLIPWAY_RETURN_IF_ERROR(
          FeedSlice(i, inputs[form_.carried + i],
                    control_.input_backward[i] ? expected_ - 1 - iterations_ : iterations_));
    }
    SLIPWAY_RETURN_IF_ERROR(Iterate(inputs, outputs, known));
  }
  return OkStatus();
}

Status ControlRun::FeedSlice(size_t i, const slipway_tensor& t, int64_t at) {
  const auto axis = static_cast<size_t>(control_.input_axes[i]);
  Dims dims;
  for (size_t d = 0; d < static_cast<size_t>(t.rank); ++d) {
    if (d != axis) dims.push_back(t.dims[d]);
  }
  const Strides s(DimsOf(t), axis, ElementBytes(t.dtype));
  const uint64_t bytes = static_cast<uint64_t>(s.outer) * s.inner;
  uint8_t* data = static_cast<uint8_t*>(t.data) + static_cast<size_t>(at) * s.inner;
  if (s.outer != 1 || reinterpret_cast<uintptr_t>(data) % kAlignment != 0) {
    Block& memory = slices_[i].memory;
    if (!memory.Reserve(bytes)) return NoMemory(bytes, "a slice");
    CutSlices(s, static_cast<const uint8_t*>(t.data), static_cast<size_t>(at), 1, memory.data());
    data = memory.data();
  }
  return Feed(*bodies_[0], form_.carried + i, dims, data, bytes);
}

Status ControlRun::Iterate(Tensors inputs, Tensors outputs, bool known) {
  Session& body = *bodies_[0];
  const size_t first = control_.kind == format::ControlKind::kLoop ? 2 : 0;
  for (size_t k = 0; k < form_.carried; ++k) {
    if (iterations_ == 0) {
      SLIPWAY_RETURN_IF_ERROR(FeedTensor(body, first + k, inputs[form_.first_carried + k]));
    } else {
      Value& v = carried_[k];
      void* data = body.IsContainer(body.inputs_[first + k].tensor) ? static_cast<void*>(&v.list)
                                                                    : v.memory.data();
      SLIPWAY_RETURN_IF_ERROR(Feed(body, first + k, v.dims, data, v.memory.capacity()));
    }
  }
  for (size_t i = form_.formal; i < inputs.size(); ++i)
    SLIPWAY_RETURN_IF_ERROR(FeedTensor(body, i - form_.unseen, inputs[i]));
  SLIPWAY_RETURN_IF_ERROR(body.RunPhases());
  // What it wrote becomes the next input, and the last input's memory the next output.
  for (size_t k = 0; k < form_.carried; ++k) {
    Session::Io& made = body.outputs_[form_.first_result + k];
    if (body.IsContainer(made.tensor)) {
      carried_[k].list = ListOf(made, body);
      continue;
    }
    carried_[k].dims = made.dims;
    carried_[k].memory.Swap(made.memory);
    // Both at once, so that the next iteration or run allocates nothing.
    const uint64_t bytes = body.BytesOf(made);
    if (!made.memory.Reserve(bytes, true)) return NoMemory(bytes, Carried(k));
    body.pointers_valid_ = false;
  }
  for (size_t i = 0; i < form_.stacked; ++i) {
    if (step_.outputs[form_.carried + i] >= 0)
      SLIPWAY_RETURN_IF_ERROR(Append(i, outputs[form_.carried + i], known));
  }
  ++iterations_;
  return OkStatus();
}

Status ControlRun::Append(size_t i, const slipway_tensor& output, bool known) {
  const size_t k = form_.carried + i, axis = OutputAxis(i);
  const Session::Io& made = bodies_[0]->outputs_[form_.first_result + k];
  Value& stack = stacks_[i];
  if (iterations_ > 0 && !(stack.dims == made.dims)) {
    return InvalidArgument("stacked " + Output(k) + " is " + made.dims.ToString() +
                           " in iteration " + std::to_string(iterations_) + " but was " +
                           stack.dims.ToString() + "; all must be alike");
  }
  stack.dims = made.dims;
  if (known) {
    Dims whole = made.dims, want;
    for (size_t d = 0; d < static_cast<size_t>(output.rank); ++d) {
      if (d != axis) want.push_back(output.dims[d]);
    }
    if (!(whole == want))
      return InvalidArgument("slices of " + Output(k) + " are " + whole.ToString() +
                             ", the package expects " + want.ToString());
    const int64_t extent = output.dims[axis];
    if (iterations_ >= extent) {
      return InvalidArgument(Output(k) + " has more slices than the " + std::to_string(extent) +
                             " that the package expects");
    }
    PutSlices(Strides(DimsOf(output), axis, ElementBytes(output.dtype)), made.memory.data(),
              static_cast<size_t>(OutputBackward(i) ? extent - 1 - iterations_ : iterations_), 1,
              static_cast<uint8_t*>(output.data));
    return OkStatus();
  }
  const int64_t bytes = made.dims.count() * static_cast<int64_t>(ElementBytes(output.dtype));
  const auto total = CheckedMul(bytes, std::max(iterations_ + 1, expected_));
  if (!total || !stack.memory.Grow(static_cast<uint64_t>(*total))) {
    return NoMemory(static_cast<uint64_t>(bytes),
                    Output(k) + " in iteration " + std::to_string(iterations_));
  }
  if (bytes > 0)
    std::memcpy(stack.memory.data() + iterations_ * bytes, made.memory.data(),
                static_cast<size_t>(bytes));
  return OkStatus();
}

void ControlRun::Extents(std::span<slipway_tensor> outputs) const {
  for (size_t k = 0; k < outputs.size(); ++k) {
    if (step_.outputs[k] < 0) continue;
    auto set = [&](std::span<const int64_t> dims) { std::ranges::copy(dims, outputs[k].dims); };
    if (control_.kind == format::ControlKind::kIf) {
      set(bodies_[taken_]->outputs_[k].dims);
    } else if (k < form_.carried) {
      if (iterations_ > 0) set(carried_[k].dims);
    } else {
      const size_t axis = OutputAxis(k - form_.carried);
      const Session::Io& io = bodies_[0]->outputs_[form_.first_result + k];
      const SymShape& shape = bodies_[0]->Tensor(io.tensor).shape;
      for (size_t d = 0, from = 0; d < static_cast<size_t>(outputs[k].rank); ++d) {
        if (d == axis) {
          outputs[k].dims[d] = iterations_;
          continue;
        }
        outputs[k].dims[d] = iterations_ > 0       ? stacks_[k - form_.carried].dims[from]
                             : shape[from].known() ? shape[from].value()
                                                   : -1;
        ++from;
      }
    }
  }
}

Status ControlRun::DeliverCarried(Tensors inputs, Tensors outputs) {
  for (size_t k = 0; k < form_.carried; ++k) {
    if (step_.outputs[k] < 0) continue;
    const slipway_tensor& given = inputs[form_.first_carried + k];
    if (bodies_[0]->IsContainer(bodies_[0]->outputs_[form_.first_result + k].tensor)) {
      PutList(outputs[k],
              iterations_ == 0 ? *static_cast<const ListPtr*>(given.data) : carried_[k].list);
      continue;
    }
    SLIPWAY_RETURN_IF_ERROR(
        iterations_ == 0
            ? CopyTo(outputs[k], DimsOf(given), given.data, Carried(k))
            : CopyTo(outputs[k], carried_[k].dims, carried_[k].memory.data(), Carried(k)));
  }
  return OkStatus();
}

Status ControlRun::Deliver(Tensors inputs, Tensors outputs) {
  if (control_.kind == format::ControlKind::kIf) {
    for (size_t k = 0; k < outputs.size(); ++k) {
      const Session::Io& io = bodies_[taken_]->outputs_[k];
      if (step_.outputs[k] < 0) continue;
      if (bodies_[taken_]->IsContainer(io.tensor)) {
        PutList(outputs[k], ListOf(io, *bodies_[taken_]));
      } else {
        SLIPWAY_RETURN_IF_ERROR(CopyTo(outputs[k], io.dims, io.memory.data(), Output(k)));
      }
    }
    return OkStatus();
  }
  SLIPWAY_RETURN_IF_ERROR(DeliverCarried(inputs, outputs));
  for (size_t i = 0; i < form_.stacked; ++i) {
    const size_t k = form_.carried + i, axis = OutputAxis(i);
    if (step_.outputs[k] < 0 || outputs[k].bytes == 0) continue;
    const slipway_tensor& to = outputs[k];
    const auto count = static_cast<size_t>(iterations_);
    // The extents are those that Extents said.
    const Strides s(DimsOf(to), axis, ElementBytes(to.dtype));
    const size_t bytes = static_cast<size_t>(s.outer) * s.inner;
    if (to.bytes != bytes * count)
      return InvalidArgument(Output(k) + " is " + Extent(DimsOf(to)) + " but has " +
                             std::to_string(count) + " slices");
    for (size_t at = 0; at < count; ++at) {
      PutSlices(s, stacks_[i].memory.data() + at * bytes, OutputBackward(i) ? count - 1 - at : at,
                1, static_cast<uint8_t*>(to.data));
    }
  }
  return OkStatus();
}

// --- the session's side ---

Status Session::AskControl(size_t index, std::span<slipway_tensor> answer) {
  const size_t s = phases_[index].begin;
  BoundStep& bound = steps_[s];
  const format::PackageStep& step = package_->data().steps[s];
  const auto start = std::chrono::steady_clock::now();
  const double before = shared_->steps_ms;
  SLIPWAY_RETURN_IF_ERROR(bound.control->Run(bound.inputs, answer, false));
  bound.control->Extents(answer);
  bound.entered_ms =
      std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - start).count() -
      (shared_->steps_ms - before);
  // No iteration: the carried values are the inputs, and of slices what is known otherwise, else
  // nothing.
  const format::ControlForm form = format::FormOf(step);
  for (size_t k = 0; k < answer.size(); ++k) {
    if (step.outputs[k] < 0) continue;
    const SymShape& shape = Tensor(step.outputs[k]).shape;
    for (size_t d = 0; d < shape.size(); ++d) {
      int64_t& dim = answer[k].dims[d];
      if (dim >= 0) continue;
      if (k < form.carried) {
        dim = bound.inputs[form.first_carried + k].dims[d];
        continue;
      }
      const auto value =
          shape[d].known()
              ? Result<int64_t>(shape[d].value())
              : shape[d].Evaluate([&](std::string_view symbol) -> std::optional<int64_t> {
                  const auto it = symbols_.find(symbol);
                  return it == symbols_.end() || it->second.phase >= index
                             ? std::nullopt
                             : std::optional(it->second.value);
                });
      dim = value.ok() ? std::max<int64_t>(*value, 0) : 0;
    }
  }
  return OkStatus();
}

Status Session::RunControl(size_t s) {
  BoundStep& bound = steps_[s];
  const bool asked = package_->data().steps[s].data_dims;  // then it has run already
  const auto start = std::chrono::steady_clock::now();
  const double before = shared_->steps_ms;
  const Status status = asked ? bound.control->Deliver(bound.inputs, bound.outputs)
                              : bound.control->Run(bound.inputs, bound.outputs, true);
  if (!status.ok()) return status.With(package_->steps()[s].description);
  if (options_.profile) {
    const double ms =
        std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - start)
            .count() -
        (shared_->steps_ms - before);
    Count(s, std::max(0.0, ms + (asked ? bound.entered_ms : 0)));
  }
  return OkStatus();
}

void Session::Count(size_t s, double ms) {
  StepProfile& p = profile_[s];
  p.min_ms = p.runs == 0 ? ms : std::min(p.min_ms, ms);
  p.total_ms += ms;
  ++p.runs;
  shared_->steps_ms += ms;
}

void Session::ListSteps(const std::string& prefix, std::vector<StepRow>& rows) const {
  for (size_t s = 0; s < steps_.size(); ++s) {
    const format::PackageStep& step = package_->data().steps[s];
    const slipway_backend* backend = package_->steps()[s].backend;
    rows.push_back({prefix + step.name, &step, backend ? backend->name : "session", &profile_[s],
                    &steps_[s].macs, &steps_[s].inputs, &steps_[s].outputs});
    if (!steps_[s].control) continue;
    for (const auto& body : steps_[s].control->bodies())
      body->ListSteps(prefix + step.name + "/" + body->package().data().name + "/", rows);
  }
}

void Session::ResetProfile() {
  std::fill(profile_.begin(), profile_.end(), StepProfile{});
  for (const BoundStep& step : steps_) {
    if (!step.control) continue;
    for (const auto& body : step.control->bodies()) body->ResetProfile();
  }
}

uint64_t Session::memory_bytes() const {
  if (!prepared_) return 0;
  uint64_t total = plan_.arena_size;
  for (const auto* list : {&inputs_, &outputs_}) {
    for (const Io& io : *list)
      total += !io.given ? 0 : is_body_ ? io.memory.capacity() : BytesOf(io);
  }
  for (const BoundStep& step : steps_) total += step.control ? step.control->memory_bytes() : 0;
  return total;
}

}  // namespace slipway::runtime
