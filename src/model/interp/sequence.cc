// What the operators on sequences and optionals mean: the definition that a backend's are compared
// with.

#include <algorithm>
#include <string>

#include "base/checked.h"
#include "model/interp/interpreter.h"
#include "model/ir/infer.h"
#include "model/ops/kernel.h"

namespace slipway::interp {

using ir::Container;
using ir::Tensor;

// One such node with its values.
class SequenceRun {
 public:
  SequenceRun(const Interpreter::Step& step, std::span<const Tensor> inputs,
              const RunOptions& options, Interpreter::Budget& budget)
      : node_(*step.node), inputs_(inputs), options_(options), budget_(budget) {}

  Result<Tensor> Run() {
    const std::string& op = node_.op();
    if (op == "SequenceEmpty") return Made(TypeAttribute(), {});
    if (op == "SequenceConstruct") return Construct();
    if (op == "SequenceInsert") return Insert();
    if (op == "SequenceErase") return Erase();
    if (op == "SequenceAt") return At();
    if (op == "SequenceLength") {
      SLIPWAY_RETURN_IF_ERROR(CheckSequence(0));
      return Tensor::Scalar<int64_t>(static_cast<int64_t>(inputs_[0].items().size()));
    }
    if (op == "SplitToSequence") return Split();
    if (op == "ConcatFromSequence") return Concat();
    if (op == "Optional") return MakeOptional();
    if (op == "OptionalHasElement")
      return Tensor::Scalar<bool>(Has(0) &&
                                  (!IsOptional(inputs_[0]) || !inputs_[0].items().empty()));
    if (op == "OptionalGetElement") return Element();
    if (op == "Identity") return inputs_[0];
    return Internal(node_.Describe() + ": is no operator on sequences");
  }

 private:
  Status Wrong(const std::string& what) const {
    return InvalidArgument(node_.Describe() + ": " + what);
  }
  bool Has(size_t i) const { return i < inputs_.size() && inputs_[i].present(); }
  static bool IsOptional(const Tensor& t) {
    return t.container() == Container::kOptional || t.container() == Container::kOptionalSequence;
  }
  Status CheckSequence(size_t i) const {
    if (Has(i) && inputs_[i].container() == Container::kSequence) return OkStatus();
    return Wrong("input " + std::to_string(i) + " is " +
                 (Has(i) ? inputs_[i].Describe() : "absent") + " but must be a sequence");
  }
  Status CheckTensor(size_t i) const {
    if (Has(i) && !inputs_[i].is_container()) return OkStatus();
    return Wrong("input " + std::to_string(i) + " is " +
                 (Has(i) ? inputs_[i].Describe() : "absent") + " but must be a tensor");
  }

  // The index at input i into `count` places, or `otherwise`.
  Result<size_t> Position(size_t i, size_t count, size_t otherwise) const {
    if (!Has(i)) return otherwise;
    const Tensor& t = inputs_[i];
    if (t.is_container() || (t.dtype() != DType::kInt64 && t.dtype() != DType::kInt32) ||
        t.count() != 1)
      return Wrong("its position must be one integer, is " + t.Describe());
    const int64_t at = t.ToInts()[0], n = static_cast<int64_t>(inputs_[0].items().size());
    const int64_t from_front = at < 0 ? at + n : at;  // at < 0: no overflow
    if (from_front < 0 || from_front >= static_cast<int64_t>(count))
      return Wrong("position " + std::to_string(at) + " is outside of a sequence of " +
                   std::to_string(n) + " tensors");
    return static_cast<size_t>(from_front);
  }

  // Copying long sequences again and again costs time, and counts as iterations.
  Status Work(size_t items) {
    constexpr size_t kItemsPerIteration = 16;
    budget_.iterations -= static_cast<int64_t>(items / kItemsPerIteration);
    if (budget_.iterations >= 0) return OkStatus();
    return ResourceExhausted(
        node_.Describe() +
        ": too many tensors were moved between sequences; use a loop's stacked "
        "outputs instead of a sequence, or raise max_iterations");
  }
  Result<Tensor> Made(DType dtype, std::vector<Tensor> items) {
    SLIPWAY_RETURN_IF_ERROR(Work(items.size()));
    auto made = Tensor::Sequence(dtype, std::move(items));
    if (!made.ok()) return std::move(made).status().With(node_.Describe());
    return made;
  }
  DType TypeAttribute() const {
    const int64_t t = node_.attributes.Int("dtype", 1);
    return t > 0 && t < 256 ? static_cast<DType>(t) : DType::kUndefined;
  }

  Result<Tensor> Construct() {
    for (size_t i = 0; i < inputs_.size(); ++i) SLIPWAY_RETURN_IF_ERROR(CheckTensor(i));
    return Made(inputs_[0].dtype(), {inputs_.begin(), inputs_.end()});
  }

  Result<Tensor> Insert() {
    SLIPWAY_RETURN_IF_ERROR(CheckSequence(0));
    SLIPWAY_RETURN_IF_ERROR(CheckTensor(1));
    const auto from = inputs_[0].items();
    SLIPWAY_ASSIGN_OR_RETURN(const size_t at, Position(2, from.size() + 1, from.size()));
    std::vector<Tensor> items;
    items.reserve(from.size() + 1);
    items.assign(from.begin(), from.end());
    items.insert(items.begin() + static_cast<ptrdiff_t>(at), inputs_[1]);
    return Made(inputs_[0].dtype(), std::move(items));
  }

  Result<Tensor> Erase() {
    SLIPWAY_RETURN_IF_ERROR(CheckSequence(0));
    const auto from = inputs_[0].items();
    if (from.empty()) return Wrong("the sequence holds no tensor that could be erased");
    SLIPWAY_ASSIGN_OR_RETURN(const size_t at, Position(1, from.size(), from.size() - 1));
    std::vector<Tensor> items(from.begin(), from.end());
    items.erase(items.begin() + static_cast<ptrdiff_t>(at));
    return Made(inputs_[0].dtype(), std::move(items));
  }

  Result<Tensor> At() {
    SLIPWAY_RETURN_IF_ERROR(CheckSequence(0));
    if (!Has(1)) return Wrong("has no position");
    const auto items = inputs_[0].items();
    SLIPWAY_ASSIGN_OR_RETURN(const size_t at, Position(1, items.size(), 0));
    return items[at];
  }

  Status TooLarge(const std::string& type) const {
    return ResourceExhausted(node_.Describe() + ": its result " + type +
                             " exceeds the memory limit of " + std::to_string(options_.max_bytes) +
                             " bytes");
  }

  Result<size_t> Axis(int64_t rank) const {
    int64_t axis = node_.attributes.Int("axis", 0);
    if (axis < 0) axis += rank;
    if (axis < 0 || axis >= rank)
      return Wrong("axis " + std::to_string(node_.attributes.Int("axis", 0)) +
                   " is outside of rank " + std::to_string(rank));
    return static_cast<size_t>(axis);
  }

  // Sizes of the pieces along the axis.
  Result<std::vector<int64_t>> Sizes(int64_t extent) const {
    const Tensor* split = Has(1) ? &inputs_[1] : nullptr;
    int64_t each = 1;
    if (split) {
      SLIPWAY_RETURN_IF_ERROR(CheckTensor(1));
      if ((split->dtype() != DType::kInt64 && split->dtype() != DType::kInt32) ||
          split->dims().rank() > 1)
        return Wrong("its sizes must be integers, one or a vector, are " + split->Describe());
      if (split->dims().rank() == 1) {
        std::vector<int64_t> sizes = split->ToInts();
        int64_t sum = 0;
        for (int64_t s : sizes) {
          const auto next = s < 0 ? std::nullopt : CheckedAdd(sum, s);
          if (!next) return Wrong("size " + std::to_string(s) + " of a piece is impossible");
          sum = *next;
        }
        if (sum != extent)
          return Wrong("the sizes of its pieces add up to " + std::to_string(sum) +
                       " but the axis has " + std::to_string(extent));
        return sizes;
      }
      each = split->ToInts()[0];
      if (each < 1) return Wrong("size " + std::to_string(each) + " of a piece is impossible");
    }
    const int64_t count = extent / each + (extent % each != 0 ? 1 : 0);
    if (count > static_cast<int64_t>(ir::kMaxSequence))
      return ResourceExhausted(node_.Describe() + ": would give " + std::to_string(count) +
                               " pieces; a sequence holds at most " +
                               std::to_string(ir::kMaxSequence));
    std::vector<int64_t> sizes(static_cast<size_t>(count), each);
    if (extent % each != 0) sizes.back() = extent % each;
    return sizes;
  }

  Result<Tensor> Split() {
    SLIPWAY_RETURN_IF_ERROR(CheckTensor(0));
    const Tensor& x = inputs_[0];
    SLIPWAY_ASSIGN_OR_RETURN(const size_t axis, Axis(x.dims().rank()));
    SLIPWAY_ASSIGN_OR_RETURN(const std::vector<int64_t> sizes, Sizes(x.dims()[axis]));
    if (static_cast<int64_t>(x.bytes().size()) > budget_.bytes) return TooLarge(x.Describe());
    std::vector<Tensor> items;
    std::vector<ops::TensorView> out;
    for (int64_t size : sizes) {
      Dims dims = x.dims();
      dims[axis] = size;
      SLIPWAY_ASSIGN_OR_RETURN(Tensor t, Tensor::Allocate(x.dtype(), dims));
      out.push_back(t.view());
      items.push_back(std::move(t));
    }
    if (!items.empty()) {
      const ops::TensorView in = x.view();
      const ops::Attributes attributes({{"axis", static_cast<int64_t>(axis)}});
      const Status status =
          ops::FindKernel("", "Split")({{&in, 1}, out, &attributes, options_.pool});
      if (!status.ok()) return status.With(node_.Describe());
    }
    if (!Has(1) && node_.attributes.Int("keepdims", 1) == 0) {
      Dims dims;
      for (size_t i = 0; i < x.dims().size(); ++i) {
        if (i != axis) dims.push_back(x.dims()[i]);
      }
      for (Tensor& t : items) t = t.Reshaped(dims);
    }
    return Made(x.dtype(), std::move(items));
  }

  Result<Tensor> Concat() {
    SLIPWAY_RETURN_IF_ERROR(CheckSequence(0));
    const auto items = inputs_[0].items();
    if (items.empty())
      return Wrong("the sequence holds no tensor, so that nothing can be concatenated");
    const bool stack = node_.attributes.Int("new_axis", 0) != 0;
    const Dims& first = items[0].dims();
    SLIPWAY_ASSIGN_OR_RETURN(const size_t axis, Axis(first.rank() + (stack ? 1 : 0)));
    if (stack && first.rank() >= kMaxRank) return Wrong("the result has too many dimensions");
    Dims dims;
    for (size_t i = 0; i < first.size(); ++i) {
      if (stack && i == axis) dims.push_back(static_cast<int64_t>(items.size()));
      dims.push_back(first[i]);
    }
    if (stack && axis == first.size()) dims.push_back(static_cast<int64_t>(items.size()));
    if (!stack) dims[axis] = 0;
    std::vector<ops::TensorView> in;
    for (size_t i = 0; i < items.size(); ++i) {
      const Dims& d = items[i].dims();
      bool fits = d.rank() == first.rank();
      for (size_t k = 0; fits && k < d.size(); ++k)
        fits = d[k] == first[k] || (!stack && k == axis);
      if (!fits)
        return Wrong("tensor " + std::to_string(i) + " of the sequence is " + items[i].Describe() +
                     ", which does not fit the first, " + items[0].Describe());
      in.push_back(items[i].view());
      if (stack) {
        in.back().dims = dims;
        in.back().dims[axis] = 1;
      } else {
        const auto sum = CheckedAdd(dims[axis], d[axis]);
        if (!sum) return Wrong("the result is too large");
        dims[axis] = *sum;
      }
    }
    SLIPWAY_RETURN_IF_ERROR(Work(items.size()));
    const auto bytes = CheckedBytes(items[0].dtype(), dims);
    if (!bytes || *bytes > budget_.bytes)
      return TooLarge(std::string(DTypeName(items[0].dtype())) + dims.ToString());
    SLIPWAY_ASSIGN_OR_RETURN(Tensor out, Tensor::Allocate(items[0].dtype(), dims));
    const ops::TensorView y = out.view();
    const ops::Attributes attributes({{"axis", static_cast<int64_t>(axis)}});
    const Status status = ops::FindKernel("", "Concat")({in, {&y, 1}, &attributes, options_.pool});
    if (!status.ok()) return status.With(node_.Describe());
    return out;
  }

  Result<Tensor> MakeOptional() {
    if (!Has(0)) {
      SLIPWAY_ASSIGN_OR_RETURN(const auto types, ir::InferNode(node_, {}, {}));
      return Tensor::NoOptional(types[0].dtype, types[0].container);
    }
    if (IsOptional(inputs_[0])) return Wrong("an optional cannot hold " + inputs_[0].Describe());
    return Tensor::Optional(inputs_[0]);
  }

  Result<Tensor> Element() {
    if (!Has(0)) return Wrong("has no input");
    if (!IsOptional(inputs_[0])) return inputs_[0];
    if (inputs_[0].items().empty())
      return Wrong("its input is " + inputs_[0].Describe() + "; ask OptionalHasElement before");
    return inputs_[0].items()[0];
  }

  const ir::Node& node_;
  std::span<const Tensor> inputs_;
  const RunOptions& options_;
  Interpreter::Budget& budget_;
};

Result<Tensor> Interpreter::RunSequence(const Step& step, std::span<const Tensor> inputs,
                                        const RunOptions& options, Budget& budget) {
  return SequenceRun(step, inputs, options, budget).Run();
}

}  // namespace slipway::interp
