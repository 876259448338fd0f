#include "model/ir/tensor.h"

#include <cmath>
#include <cstring>
#include <limits>
#include <type_traits>

#include "base/aligned.h"
#include "base/float16.h"

namespace slipway::ir {
namespace {

Result<size_t> SizeOf(DType dtype, const Dims& dims) {
  auto bytes = CheckedBytes(dtype, dims);
  if (!bytes) {
    return InvalidArgument(
        "a tensor of " + std::string(DTypeName(dtype)) + dims.ToString() +
        " has no valid size; its dimensions must be non-negative and its bytes fit in 63 bits");
  }
  return static_cast<size_t>(*bytes);
}

template <typename To, typename From>
void Convert(const Tensor& t, std::vector<To>& out) {
  out.reserve(static_cast<size_t>(t.count()));
  for (int64_t i = 0; i < t.count(); ++i) {
    From v;
    std::memcpy(&v, t.bytes().data() + static_cast<size_t>(i) * sizeof(From), sizeof(From));
    if constexpr (sizeof(From) == 2 && !std::is_integral_v<From>) {
      out.push_back(static_cast<To>(static_cast<float>(v)));
    } else {
      out.push_back(static_cast<To>(v));
    }
  }
}

// The 8-, 4- and 2-bit types without a C++ type.
template <typename To>
void ConvertCodes(const Tensor& t, std::vector<To>& out) {
  const int bits = DTypeBits(t.dtype());
  for (int64_t i = 0; i < t.count(); ++i) {
    const int64_t bit = i * bits;
    const int code = t.bytes()[static_cast<size_t>(bit / 8)] >> (bit % 8) & ((1 << bits) - 1);
    if (IsFloating(t.dtype())) {
      const float v = DecodeFloat8(t.dtype(), static_cast<uint8_t>(code));
      out.push_back(std::is_integral_v<To> && !std::isfinite(v) ? To{0} : static_cast<To>(v));
    } else {
      const bool negative = IsSignedInteger(t.dtype()) && (code >> (bits - 1)) != 0;
      out.push_back(static_cast<To>(negative ? code - (1 << bits) : code));
    }
  }
}

template <typename To>
std::vector<To> ConvertAll(const Tensor& t) {
  std::vector<To> out;
  switch (t.dtype()) {
    case DType::kFloat32:
      Convert<To, float>(t, out);
      break;
    case DType::kFloat64:
      Convert<To, double>(t, out);
      break;
    case DType::kInt8:
      Convert<To, int8_t>(t, out);
      break;
    case DType::kUInt8:
    case DType::kBool:
      Convert<To, uint8_t>(t, out);
      break;
    case DType::kInt16:
      Convert<To, int16_t>(t, out);
      break;
    case DType::kUInt16:
      Convert<To, uint16_t>(t, out);
      break;
    case DType::kInt32:
      Convert<To, int32_t>(t, out);
      break;
    case DType::kUInt32:
      Convert<To, uint32_t>(t, out);
      break;
    case DType::kInt64:
      Convert<To, int64_t>(t, out);
      break;
    case DType::kUInt64:
      Convert<To, uint64_t>(t, out);
      break;
    case DType::kFloat16:
      Convert<To, Float16>(t, out);
      break;
    case DType::kBFloat16:
      Convert<To, BFloat16>(t, out);
      break;
    default:
      if (const int bits = DTypeBits(t.dtype()); bits > 0 && bits <= 8) ConvertCodes(t, out);
      break;
  }
  return out;
}

}  // namespace

Result<Tensor> Tensor::Wrap(DType dtype, const Dims& dims, std::span<const uint8_t> bytes,
                            std::shared_ptr<const void> owner) {
  SLIPWAY_ASSIGN_OR_RETURN(size_t size, SizeOf(dtype, dims));
  if (size != bytes.size()) {
    return InvalidArgument("a tensor of " + std::string(DTypeName(dtype)) + dims.ToString() +
                           " needs " + std::to_string(size) + " bytes but " +
                           std::to_string(bytes.size()) + " are given");
  }
  Tensor t;
  t.dtype_ = dtype;
  t.dims_ = dims;
  t.data_ = bytes.data();
  t.bytes_ = size;
  t.owner_ = std::move(owner);
  return t;
}

Result<Tensor> Tensor::Allocate(DType dtype, const Dims& dims) {
  SLIPWAY_ASSIGN_OR_RETURN(size_t size, SizeOf(dtype, dims));
  auto buffer = std::make_shared<AlignedBuffer>(size);
  if (buffer->size() != size) {
    return ResourceExhausted("no memory for a tensor of " + std::string(DTypeName(dtype)) +
                             dims.ToString() + " (" + std::to_string(size) + " bytes)");
  }
  Tensor t;
  t.dtype_ = dtype;
  t.dims_ = dims;
  t.data_ = buffer->data();
  t.bytes_ = size;
  t.mutable_ = true;
  t.owner_ = std::move(buffer);
  return t;
}

Result<Tensor> Tensor::Sequence(DType dtype, std::vector<Tensor> items) {
  if (!IsKnown(dtype) || DTypeBits(dtype) <= 0)
    return InvalidArgument(std::string("a sequence of ") + DTypeName(dtype) +
                           " cannot be made; its element type must be a number or bool");
  if (items.size() > kMaxSequence)
    return ResourceExhausted("a sequence of " + std::to_string(items.size()) +
                             " tensors is too long; at most " + std::to_string(kMaxSequence) +
                             " are allowed");
  for (const Tensor& t : items) {
    if (!t.is_container() && t.dtype() == dtype) continue;
    return InvalidArgument("a sequence of " + std::string(DTypeName(dtype)) +
                           " tensors cannot hold " + (t.present() ? t.Describe() : "nothing"));
  }
  Tensor out;
  out.dtype_ = dtype;
  out.dims_ = {0};
  out.container_ = Container::kSequence;
  out.owner_ = std::make_shared<const std::vector<Tensor>>(std::move(items));
  return out;
}

Tensor Tensor::Optional(Tensor value) {
  if (!value.present() || value.container_ == Container::kOptional ||
      value.container_ == Container::kOptionalSequence)
    return {};
  Tensor out =
      NoOptional(value.dtype_, value.is_container() ? Container::kOptionalSequence
                                                    : Container::kOptional);
  std::vector<Tensor> one;
  one.push_back(std::move(value));
  out.owner_ = std::make_shared<const std::vector<Tensor>>(std::move(one));
  return out;
}

Tensor Tensor::NoOptional(DType dtype, Container kind) {
  Tensor out;
  out.dtype_ = dtype;
  out.dims_ = {0};
  out.container_ =
      kind == Container::kOptionalSequence ? Container::kOptionalSequence : Container::kOptional;
  return out;
}

std::span<const Tensor> Tensor::items() const {
  if (!is_container() || !owner_) return {};
  return *static_cast<const std::vector<Tensor>*>(owner_.get());
}

int64_t Tensor::TotalBytes() const {
  if (!is_container()) return static_cast<int64_t>(bytes_);
  int64_t total = 0;
  for (const Tensor& t : items()) {
    // The same tensor many times over may exceed what one memory could hold.
    total = CheckedAdd(total, t.TotalBytes()).value_or(std::numeric_limits<int64_t>::max());
  }
  return total;
}

std::string Tensor::Describe() const {
  const std::string type = DTypeName(dtype_);
  switch (container_) {
    case Container::kTensor:
      return type + dims_.ToString();
    case Container::kSequence:
      return "a sequence of " + std::to_string(items().size()) + " " + type + " tensors";
    case Container::kOptional:
    case Container::kOptionalSequence:
      if (!items().empty()) return "an optional of " + items()[0].Describe();
      return "an empty optional of " + type +
             (container_ == Container::kOptionalSequence ? " sequences" : "");
  }
  return type;
}

Tensor Tensor::Aligned() const {
  if (is_container()) {
    std::vector<Tensor> items(this->items().begin(), this->items().end());
    bool same = true;
    for (Tensor& t : items) {
      const uint8_t* before = t.data_;
      t = t.Aligned();
      same &= t.data_ == before;
    }
    if (same) return *this;
    Tensor out = *this;
    out.owner_ = std::make_shared<const std::vector<Tensor>>(std::move(items));
    return out;
  }
  size_t element = static_cast<size_t>(std::max(8, DTypeBits(dtype_))) / 8;
  if (bytes_ == 0 || reinterpret_cast<uintptr_t>(data_) % element == 0) return *this;
  auto copy = Allocate(dtype_, dims_);
  if (!copy.ok()) return *this;
  std::memcpy(copy->mutable_data(), data_, bytes_);
  return std::move(*copy);
}

Tensor Tensor::Reshaped(const Dims& dims) const {
  Tensor t = *this;
  if (dims.count() == count()) t.dims_ = dims;
  return t;
}

std::vector<int64_t> Tensor::ToInts() const { return ConvertAll<int64_t>(*this); }
std::vector<double> Tensor::ToDoubles() const { return ConvertAll<double>(*this); }

}  // namespace slipway::ir
