// What If, Loop and Scan mean: the definition that a backend's control flow is compared with.

#include <algorithm>
#include <cstring>
#include <optional>
#include <string>

#include "base/checked.h"
#include "model/interp/interpreter.h"
#include "model/ir/control.h"

namespace slipway::interp {

using ir::Tensor;

namespace {

std::string Given(const Tensor& t) { return t.Describe(); }

bool IsOptional(const Tensor& t) {
  return t.container() == ir::Container::kOptional ||
         t.container() == ir::Container::kOptionalSequence;
}

// A tensor seen as [outer, extent of the axis, inner] of whole bytes.
struct Strides {
  int64_t outer = 1, extent = 1;
  size_t inner = 1;  // bytes
};

Strides StridesOf(const Tensor& t, size_t axis) {
  Strides s;
  for (size_t i = 0; i < axis; ++i) s.outer *= t.dims()[i];
  s.extent = t.dims()[axis];
  int64_t elements = 1;
  for (size_t i = axis + 1; i < t.dims().size(); ++i) elements *= t.dims()[i];
  s.inner = static_cast<size_t>(elements) * static_cast<size_t>(DTypeBits(t.dtype()) / 8);
  return s;
}

Result<Tensor> Slice(const Tensor& t, size_t axis, int64_t at) {
  Dims dims;
  for (size_t i = 0; i < t.dims().size(); ++i) {
    if (i != axis) dims.push_back(t.dims()[i]);
  }
  SLIPWAY_ASSIGN_OR_RETURN(Tensor out, Tensor::Allocate(t.dtype(), dims));
  const Strides s = StridesOf(t, axis);
  if (out.bytes().empty()) return out;
  for (int64_t o = 0; o < s.outer; ++o) {
    std::memcpy(out.mutable_data() + static_cast<size_t>(o) * s.inner,
                t.bytes().data() + static_cast<size_t>(o * s.extent + at) * s.inner, s.inner);
  }
  return out;
}

}  // namespace

// One If, Loop or Scan while it runs.
class ControlRun {
 public:
  ControlRun(const Interpreter::Step& step, std::span<const Tensor> inputs,
             const RunOptions& options, Interpreter::Budget& budget)
      : step_(step), node_(*step.node), inputs_(inputs), options_(options), budget_(budget) {
    options_.observer = nullptr;
  }

  Result<std::vector<Tensor>> Run() {
    SLIPWAY_ASSIGN_OR_RETURN(form_, ir::FormOf(node_));
    if (node_.op() == "If") return RunIf();
    return node_.op() == "Loop" ? RunLoop() : RunScan();
  }

 private:
  Status Wrong(const std::string& what) const {
    return InvalidArgument(node_.Describe() + ": " + what);
  }

  // The one element of an integer or boolean tensor.
  Result<int64_t> Scalar(const Tensor& t, DType dtype, const char* what) const {
    if (t.is_container() || t.dtype() != dtype || t.count() != 1)
      return Wrong(std::string(what) + " must be one " + DTypeName(dtype) + ", is " + Given(t));
    return t.ToInts()[0];
  }

  Result<std::vector<Tensor>> Body(size_t which, std::vector<Tensor> inputs) {
    for (size_t i = form_.formal; i < inputs_.size(); ++i) inputs.push_back(inputs_[i]);
    auto out = step_.bodies[which]->RunBody(inputs, options_, budget_);
    if (!out.ok()) return std::move(out).status().With(node_.Describe());
    return out;
  }

  Result<std::vector<Tensor>> RunIf() {
    SLIPWAY_ASSIGN_OR_RETURN(const int64_t condition,
                             Scalar(inputs_[0], DType::kBool, "its condition"));
    return Body(condition ? 0 : 1, {});
  }

  Status CountIteration() {
    if (budget_.iterations-- > 0) return OkStatus();
    return ResourceExhausted(node_.Describe() + ": loops ran more than " +
                             std::to_string(options_.max_iterations) +
                             " iterations; check the loop's condition, or raise max_iterations");
  }

  // What a body returned from output form_.first_result on: carried values and stacked slices.
  Status Take(std::vector<Tensor>& made, std::vector<Tensor>& carried) {
    unwrap_.resize(form_.carried, false);
    for (size_t k = 0; k < form_.carried; ++k) {
      Tensor& next = made[form_.first_result + k];
      if (IsOptional(carried[k]) && next.present() && !IsOptional(next)) {
        // What starts as an optional may come back as its element (and leaves the loop as that).
        Tensor wrapped = Tensor::Optional(next);
        if (wrapped.container() == carried[k].container()) next = std::move(wrapped);
        unwrap_[k] = true;
      }
      if (next.dtype() != carried[k].dtype() || next.container() != carried[k].container()) {
        return Wrong("carried value " + std::to_string(k) + " goes in as " + Given(carried[k]) +
                     " but the body returned " + Given(next));
      }
      carried[k] = std::move(next);
    }
    for (size_t i = 0; i < stacked_.size(); ++i) {
      if (!node_.output(form_.carried + i)) continue;
      Tensor& slice = made[form_.first_result + form_.carried + i];
      if (slice.is_container())
        return Wrong("output " + std::to_string(form_.carried + i) + " is " + Given(slice) +
                     " in each iteration; only tensors can be stacked");
      if (!stacked_[i].empty() && (stacked_[i][0].dtype() != slice.dtype() ||
                                   !(stacked_[i][0].dims() == slice.dims()))) {
        return Wrong("stacked output " + std::to_string(form_.carried + i) + " is " +
                     Given(slice) + " in iteration " + std::to_string(stacked_[i].size()) +
                     " but was " + Given(stacked_[i][0]) + "; all must be alike");
      }
      const auto bytes = static_cast<int64_t>(slice.bytes().size());
      if (bytes > budget_.bytes) return Full();
      budget_.bytes -= bytes;
      held_ += bytes;
      stacked_[i].push_back(std::move(slice));
    }
    return OkStatus();
  }
  Status Full() const {
    return ResourceExhausted(node_.Describe() + ": its stacked outputs exceed the memory limit of " +
                             std::to_string(options_.max_bytes) + " bytes");
  }

  // Slices to one tensor, along `axis` of the result.
  Result<Tensor> Stack(size_t i, int64_t axis, bool backward) {
    const size_t output = form_.carried + i;
    const auto& slices = stacked_[i];
    DType dtype;
    Dims inner;
    if (slices.empty()) {  // the body never ran: its types tell
      const ir::Type& type = Graph().outputs()[form_.first_result + output]->type();
      if (type.dtype == DType::kUndefined || !type.shape || type.is_container())
        return Unsupported(node_.Describe() + ": it ran no iteration, and the type of its output " +
                           std::to_string(output) + " is not known; infer shapes first");
      dtype = type.dtype;
      for (const Dim& d : *type.shape) inner.push_back(d.known() ? d.value() : 0);
    } else {
      dtype = slices[0].dtype();
      inner = slices[0].dims();
    }
    if (DTypeBits(dtype) < 8)
      return Unsupported(node_.Describe() + ": cannot stack slices of type " + DTypeName(dtype));
    const auto rank = static_cast<int64_t>(inner.size()) + 1;
    if (axis < 0) axis += rank;
    if (axis < 0 || axis >= rank || rank > static_cast<int64_t>(kMaxRank))
      return Wrong("cannot stack slices of rank " + std::to_string(inner.size()) + " along axis " +
                   std::to_string(axis));
    Dims dims;
    for (int64_t d = 0, from = 0; d < rank; ++d)
      dims.push_back(d == axis ? static_cast<int64_t>(slices.size())
                               : inner[static_cast<size_t>(from++)]);
    const auto bytes = CheckedBytes(dtype, dims);
    if (!bytes || *bytes > budget_.bytes) return Full();
    SLIPWAY_ASSIGN_OR_RETURN(Tensor out, Tensor::Allocate(dtype, dims));
    if (out.bytes().empty()) return out;
    const Strides s = StridesOf(out, static_cast<size_t>(axis));
    for (size_t k = 0; k < slices.size(); ++k) {
      const size_t at = backward ? slices.size() - 1 - k : k;
      for (int64_t o = 0; o < s.outer; ++o) {
        std::memcpy(out.mutable_data() +
                        (static_cast<size_t>(o * s.extent) + at) * s.inner,
                    slices[k].bytes().data() + static_cast<size_t>(o) * s.inner, s.inner);
      }
    }
    return out;
  }

  const ir::Graph& Graph() const { return step_.bodies[0]->graph(); }

  Result<std::vector<Tensor>> Finish(std::vector<Tensor> carried) {
    budget_.bytes += held_;  // the slices become the result, which the caller counts
    for (size_t k = 0; k < form_.carried; ++k) {
      const ir::Value* out = node_.output(k);
      const bool declared = out && out->dtype() != DType::kUndefined && !out->type().is_optional();
      if (!IsOptional(carried[k]) || !(declared || (k < unwrap_.size() && unwrap_[k]))) continue;
      if (carried[k].items().empty())
        return Wrong("it ran no iteration, and its carried value " + std::to_string(k) +
                     " is empty but leaves the loop as its element");
      carried[k] = Tensor(carried[k].items()[0]);
    }
    for (size_t i = 0; i < stacked_.size(); ++i) {
      if (!node_.output(form_.carried + i)) {
        carried.emplace_back();
        continue;
      }
      const bool backward = ir::ScanAxis(node_, "scan_output_directions", i) != 0;
      SLIPWAY_ASSIGN_OR_RETURN(
          Tensor t, Stack(i, ir::ScanAxis(node_, "scan_output_axes", i), backward));
      carried.push_back(std::move(t));
      stacked_[i].clear();
    }
    return carried;
  }

  Result<std::vector<Tensor>> RunLoop() {
    std::optional<int64_t> trips;
    if (inputs_[0].present()) {
      SLIPWAY_ASSIGN_OR_RETURN(trips, Scalar(inputs_[0], DType::kInt64, "its trip count"));
    }
    int64_t condition = 1;
    if (inputs_[1].present()) {
      SLIPWAY_ASSIGN_OR_RETURN(condition, Scalar(inputs_[1], DType::kBool, "its condition"));
    }
    std::vector<Tensor> carried(inputs_.begin() + 2,
                                inputs_.begin() + 2 + static_cast<ptrdiff_t>(form_.carried));
    stacked_.resize(node_.outputs().size() - form_.carried);
    for (int64_t i = 0; condition != 0 && (!trips || i < *trips); ++i) {
      SLIPWAY_RETURN_IF_ERROR(CountIteration());
      std::vector<Tensor> in{Tensor::Scalar<int64_t>(i), Tensor::Scalar<bool>(true)};
      in.insert(in.end(), carried.begin(), carried.end());
      SLIPWAY_ASSIGN_OR_RETURN(std::vector<Tensor> made, Body(0, std::move(in)));
      SLIPWAY_ASSIGN_OR_RETURN(condition,
                               Scalar(made[0], DType::kBool, "the condition of its body"));
      SLIPWAY_RETURN_IF_ERROR(Take(made, carried));
    }
    return Finish(std::move(carried));
  }

  Result<std::vector<Tensor>> RunScan() {
    std::vector<size_t> axes;
    int64_t length = -1;
    for (size_t i = 0; i < form_.scanned; ++i) {
      const Tensor& t = inputs_[form_.carried + i];
      if (t.is_container())
        return Wrong("scanned input " + std::to_string(i) + " is " + Given(t) +
                     " but must be a tensor");
      const auto rank = static_cast<int64_t>(t.dims().size());
      int64_t axis = ir::ScanAxis(node_, "scan_input_axes", i);
      if (axis < 0) axis += rank;
      if (axis < 0 || axis >= rank)
        return Wrong("scanned input " + std::to_string(i) + " is " + Given(t) +
                     ", which has no axis " + std::to_string(axis));
      if (DTypeBits(t.dtype()) < 8)
        return Unsupported(node_.Describe() + ": cannot cut slices of type " +
                           DTypeName(t.dtype()));
      const int64_t slices = t.dims()[static_cast<size_t>(axis)];
      if (length >= 0 && slices != length)
        return Wrong("its scanned inputs have " + std::to_string(length) + " and " +
                     std::to_string(slices) + " slices; all must have the same number");
      length = slices;
      axes.push_back(static_cast<size_t>(axis));
    }
    std::vector<Tensor> carried(inputs_.begin(),
                                inputs_.begin() + static_cast<ptrdiff_t>(form_.carried));
    stacked_.resize(node_.outputs().size() - form_.carried);
    for (int64_t at = 0; at < length; ++at) {
      SLIPWAY_RETURN_IF_ERROR(CountIteration());
      std::vector<Tensor> in = carried;
      for (size_t i = 0; i < form_.scanned; ++i) {
        const bool backward = ir::ScanAxis(node_, "scan_input_directions", i) != 0;
        SLIPWAY_ASSIGN_OR_RETURN(Tensor slice, Slice(inputs_[form_.carried + i], axes[i],
                                                     backward ? length - 1 - at : at));
        in.push_back(std::move(slice));
      }
      SLIPWAY_ASSIGN_OR_RETURN(std::vector<Tensor> made, Body(0, std::move(in)));
      SLIPWAY_RETURN_IF_ERROR(Take(made, carried));
    }
    return Finish(std::move(carried));
  }

  const Interpreter::Step& step_;
  const ir::Node& node_;
  std::span<const Tensor> inputs_;
  RunOptions options_;
  Interpreter::Budget& budget_;
  ir::ControlForm form_;
  std::vector<bool> unwrap_;                  // carried values that leave without their optional
  std::vector<std::vector<Tensor>> stacked_;  // slices of each stacked output
  int64_t held_ = 0;                          // bytes of them
};

Result<std::vector<Tensor>> Interpreter::RunControl(const Step& step,
                                                    std::span<const Tensor> inputs,
                                                    const RunOptions& options, Budget& budget) {
  return ControlRun(step, inputs, options, budget).Run();
}

}  // namespace slipway::interp
