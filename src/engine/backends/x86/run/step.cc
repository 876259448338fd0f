#include "engine/backends/x86/run/step.h"

#include <algorithm>
#include <cstring>

#include "base/float16.h"

namespace slipway::backends::x86 {

Status Builder::Open() {
  if (!attributes().Has(kPackedForm)) return OkStatus();
  const ops::Attributes& a = attributes();
  const int64_t isa = a.Int(kPackedIsa, -1), type = a.Int(kPackedType, 0);
  const auto dims = a.Ints(kPackedDims);
  const uint32_t count = step_.num_inputs;
  if (count < 3 || Has(1) || dims.size() > SLIPWAY_MAX_RANK || type < 1 || type > 255)
    return DataLoss("packed weights without the description of the weights they stand for");
  stored_ = step_.inputs[count - 1];
  if (stored_.dtype != static_cast<uint32_t>(DType::kUInt8) || stored_.rank != 1 ||
      !stored_.is_constant || !stored_.data)
    return DataLoss("packed weights that are no constant bytes");
  if (isa < 0 || isa > static_cast<int64_t>(kernels::Isa::kAvx512))
    return DataLoss("weights packed for an unknown instruction set");
  if (isa > static_cast<int64_t>(isa_)) {
    return Unsupported(std::string("weights packed for ") +
                       kernels::IsaName(static_cast<kernels::Isa>(isa)) + ", this CPU has " +
                       kernels::IsaName(isa_) + "; compile the model for it");
  }
  isa_ = static_cast<kernels::Isa>(isa);
  stored_form_ = std::string(a.String(kPackedForm, ""));
  slipway_tensor weights{};
  weights.dtype = static_cast<uint32_t>(type);
  weights.is_constant = 1;
  weights.rank = static_cast<int32_t>(dims.size());
  std::copy(dims.begin(), dims.end(), weights.dims);
  const auto bytes =
      std::all_of(dims.begin(), dims.end(), [](int64_t d) { return d >= 0; })
          ? format::LayoutBytes(static_cast<DType>(type), Dims(std::span(dims.data(), dims.size())),
                                Layout::kPlain)
          : std::nullopt;
  if (!bytes) return DataLoss("packed weights of an impossible shape");
  weights.bytes = static_cast<uint64_t>(*bytes);
  inputs_.assign(step_.inputs, step_.inputs + count - 1);
  inputs_[1] = weights;
  step_.inputs = inputs_.data();
  step_.num_inputs = count - 1;
  return OkStatus();
}

Status Builder::Close() const {
  if (!stored_.data || made_ || !run_) return OkStatus();
  return DataLoss("packed weights (" + stored_form_ + ") that its kernel does not read");
}

Result<PackedWeightsPtr> Builder::Packed(
    const std::string& form, int64_t bytes,
    const std::function<Status(const void* raw, uint8_t* to)>& pack) {
  if (bytes <= 0) return Internal("packed weights without bytes");
  if (stored_.data) {
    if (stored_form_ != form || stored_.dims[0] != bytes) {
      return Unsupported("weights packed as '" + stored_form_ + "' (" +
                         std::to_string(stored_.dims[0]) + " bytes), this runtime reads '" + form +
                         "' (" + std::to_string(bytes) + " bytes) here; compile the model again");
    }
    auto packed = std::make_shared<PackedWeights>();
    packed->form = form;
    packed->data = static_cast<const uint8_t*>(stored_.data);
    packed->bytes = bytes;
    made_ = std::move(packed);
    return made_;
  }
  const void* raw = ConstantData(1);
  if (!raw) return Unsupported("weights that are no constant");
  SLIPWAY_ASSIGN_OR_RETURN(made_, Shared<PackedWeights>([&]() -> Result<PackedWeightsPtr> {
                             auto packed = std::make_shared<PackedWeights>();
                             packed->form = form;
                             packed->own = AlignedBuffer::Table(static_cast<size_t>(bytes));
                             if (!packed->own.data())
                               return ResourceExhausted("no memory for packed weights");
                             packed->data = packed->own.data();
                             packed->bytes = bytes;
                             SLIPWAY_RETURN_IF_ERROR(pack(raw, packed->own.data()));
                             return PackedWeightsPtr(std::move(packed));
                           }));
  if (made_ && (made_->form != form || made_->bytes != bytes))
    return Internal("the weights changed");
  return made_;
}

int64_t Builder::Physical(const slipway_tensor& t) const {
  Dims d = DimsOf(t);
  const int block = format::ChannelBlock(static_cast<Layout>(t.layout));
  if (block > 1 && d.rank() > 1) d[1] = RoundUp(d[1], block);
  return d.count();
}

Status Builder::Need(size_t inputs, size_t outputs) const {
  for (size_t i = 0; i < inputs; ++i) {
    if (!Has(i)) return InvalidArgument(op() + " needs input " + std::to_string(i));
  }
  for (size_t i = 0; i < outputs; ++i) {
    if (i >= step_.num_outputs || step_.outputs[i].dtype == 0)
      return InvalidArgument(op() + " needs output " + std::to_string(i));
  }
  return OkStatus();
}

Status Builder::NeedType(size_t i, DType type) const {
  if (in_type(i) == type) return OkStatus();
  return Unsupported(std::string(DTypeName(in_type(i))) + " input");
}

Status Builder::NeedPlain() const {
  auto check = [](const slipway_tensor* list, uint32_t count) {
    return std::all_of(list, list + count,
                       [](const slipway_tensor& t) { return t.dtype == 0 || t.layout == 0; });
  };
  if (check(step_.inputs, step_.num_inputs) && check(step_.outputs, step_.num_outputs))
    return OkStatus();
  return Unsupported(op() + " in a layout other than plain");
}

Status Builder::NeedLikeOutput(size_t i) const {
  if (in_dims(i) == out_dims() && in_layout(i) == out_layout()) return OkStatus();
  return InvalidArgument(op() + ": input " + std::to_string(i) + " " + in_dims(i).ToString() +
                         " must have the shape and layout of the output " + out_dims().ToString());
}

Result<std::vector<int64_t>> Builder::Ints(size_t i) const {
  const void* data = ConstantData(i);
  if (!data) return Unsupported("input " + std::to_string(i) + " that is no constant");
  std::vector<int64_t> v(static_cast<size_t>(in_dims(i).count()));
  if (in_type(i) == DType::kInt64) {
    if (!v.empty()) std::memcpy(v.data(), data, v.size() * 8);
  } else if (in_type(i) == DType::kInt32) {
    for (size_t k = 0; k < v.size(); ++k) v[k] = static_cast<const int32_t*>(data)[k];
  } else {
    return Unsupported("input " + std::to_string(i) + " of type " + DTypeName(in_type(i)));
  }
  return v;
}

Status Builder::NeedHalf(DType type) const {
  return type != DType::kFloat16 || float16_
             ? OkStatus()
             : Unsupported("float16 where nothing computes in it");
}

Result<float> Builder::Scalar(size_t i, float fallback) const {
  if (!Has(i)) return fallback;
  const void* data = ConstantData(i);
  if (!data) return Unsupported("input " + std::to_string(i) + " that is no constant");
  const bool half = in_type(i) == DType::kFloat16;
  if ((in_type(i) != DType::kFloat32 && !half) || in_dims(i).count() != 1)
    return InvalidArgument("input " + std::to_string(i) + " must be a float32 scalar");
  return half ? static_cast<float>(*static_cast<const Float16*>(data))
              : *static_cast<const float*>(data);
}

Result<int> Builder::Axis(int64_t axis, int rank) {
  if (axis < -rank || axis >= rank)
    return InvalidArgument("axis " + std::to_string(axis) + " is outside a tensor of rank " +
                           std::to_string(rank));
  return static_cast<int>(axis < 0 ? axis + rank : axis);
}

}  // namespace slipway::backends::x86
