#pragma once
// A tensor: dense row-major bytes that may live in a mapped file, in memory, or be shared with
// another tensor. While a graph runs a value may also be a sequence or an optional of tensors; no
// constant is.

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "base/checked.h"
#include "base/dims.h"
#include "base/dtype.h"
#include "base/status.h"
#include "model/ops/tensor_view.h"

namespace slipway::ir {

// What a value is made of: ONNX's sequences and optionals hold tensors of one element type, an
// optional may hold a sequence (https://onnx.ai/onnx/repo-docs/IR.html#optional-type).
enum class Container : uint8_t { kTensor, kSequence, kOptional, kOptionalSequence };

// Longer sequences are refused.
inline constexpr size_t kMaxSequence = size_t{1} << 20;

class Tensor {
 public:
  Tensor() = default;

  // `bytes` must hold exactly the dense tensor (sub-byte types packed low bits first) and stay
  // valid while `owner` lives. Errors: rank over kMaxRank, a negative or overflowing extent, an
  // unsized type, a wrong byte count.
  static Result<Tensor> Wrap(DType dtype, const Dims& dims, std::span<const uint8_t> bytes,
                             std::shared_ptr<const void> owner);
  // Uninitialised memory of its own; write through mutable_data() before sharing. Errors as Wrap,
  // and ResourceExhausted.
  static Result<Tensor> Allocate(DType dtype, const Dims& dims);

  // A sequence; its tensors may differ in extent. Errors: an item that is no tensor of this type,
  // more than kMaxSequence items, an unsized type.
  static Result<Tensor> Sequence(DType dtype, std::vector<Tensor> items);
  // An optional that holds this tensor or sequence. Empty when `value` is neither.
  static Tensor Optional(Tensor value);
  // One that holds nothing and could hold a tensor, or with kOptionalSequence a sequence.
  static Tensor NoOptional(DType dtype, Container kind);

  // For constants that the program makes itself: extents known to be sane.
  template <typename T>
  static Tensor Of(const Dims& dims, std::span<const T> values);
  template <typename T>
  static Tensor Scalar(T value) {
    return Of<T>({}, std::span<const T>(&value, 1));
  }
  template <typename T>
  static Tensor Vector(const std::vector<T>& values) {
    return Of<T>({static_cast<int64_t>(values.size())}, std::span<const T>(values));
  }

  bool present() const { return dtype_ != DType::kUndefined; }
  // Of a sequence or an optional: that of the tensors in it.
  DType dtype() const { return dtype_; }
  // Sequences and optionals have the extent [0] and no bytes of their own: code that expects a
  // tensor and forgets to ask sees an empty one.
  Container container() const { return container_; }
  bool is_container() const { return container_ != Container::kTensor; }
  // The tensors of a sequence; the one value in an optional, or none.
  std::span<const Tensor> items() const;
  // Bytes of the tensor, or of everything in it.
  int64_t TotalBytes() const;
  // "float32[2, 3]", "a sequence of 3 float32 tensors", "an empty optional of float32": for errors.
  std::string Describe() const;
  const Dims& dims() const { return dims_; }
  int64_t count() const { return dims_.count(); }
  std::span<const uint8_t> bytes() const { return {data_, bytes_}; }
  // The memory may be unaligned when it lies in a mapped file; use Aligned() before handing it to a
  // kernel.
  template <typename T>
  const T* data() const {
    return reinterpret_cast<const T*>(data_);
  }
  // Null unless made by Allocate.
  uint8_t* mutable_data() { return mutable_ ? const_cast<uint8_t*>(data_) : nullptr; }

  // This tensor, or a copy of it in 64-byte aligned memory when its bytes are not aligned to its
  // element type.
  Tensor Aligned() const;
  // The same bytes under another extent of the same count.
  Tensor Reshaped(const Dims& dims) const;
  // Any integer, bool or float type, element by element; empty when not such a type. For small
  // shape-like tensors.
  std::vector<int64_t> ToInts() const;
  std::vector<double> ToDoubles() const;

  ops::TensorView view() const { return {dtype_, dims_, const_cast<uint8_t*>(data_)}; }

 private:
  DType dtype_ = DType::kUndefined;
  Dims dims_;
  const uint8_t* data_ = nullptr;
  size_t bytes_ = 0;
  bool mutable_ = false;
  Container container_ = Container::kTensor;
  std::shared_ptr<const void> owner_;  // of a container: its std::vector<Tensor>
};

template <typename T>
Tensor Tensor::Of(const Dims& dims, std::span<const T> values) {
  auto t = Allocate(DTypeOf<T>::value, dims);
  if (!t.ok() || t->count() != static_cast<int64_t>(values.size())) return {};
  for (size_t i = 0; i < values.size(); ++i) reinterpret_cast<T*>(t->mutable_data())[i] = values[i];
  return std::move(*t);
}

}  // namespace slipway::ir
