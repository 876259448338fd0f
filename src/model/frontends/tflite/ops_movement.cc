// Operators that select, order or repeat elements, and those that compute shapes.

#include <algorithm>
#include <limits>

#include "model/frontends/tflite/builder.h"

namespace slipway::tflite {
namespace {

using B = fb::BuiltinOperator;
constexpr int64_t kMost = std::numeric_limits<int64_t>::max(),
                  kLeast = std::numeric_limits<int64_t>::min();

// Four numbers, one a dimension of NHWC, in the order NCHW; and where an axis goes.
Ints InNchwOrder(const Ints& v) { return {v[0], v[3], v[1], v[2]}; }
int64_t NchwAxis(int64_t axis) { return axis == 0 ? 0 : axis == 3 ? 1 : axis + 1; }

void Reshape(Op& op) {
  const bool codes = op.MovesCodes();
  Value* x = op.Data(0, codes);
  const auto* options = op.info.options->builtin_options_as_ReshapeOptions();
  Ints shape;
  if (op.has(1) && !op.IsConstant(1)) {
    return op.SetData(op.b.Emit("Reshape", {x, op.Int64(1)}), codes);
  } else if (op.has(1)) {
    shape = op.ConstInts(1, "the new shape");
  } else if (options && options->new_shape()) {
    shape.assign(options->new_shape()->begin(), options->new_shape()->end());
    if (shape == Ints{0}) shape.clear();  // how old converters write a scalar
  } else {
    return op.Invalid("it has no new shape");
  }
  Attributes a;
  if (std::count(shape.begin(), shape.end(), 0) > 0) a.Set("allowzero", int64_t{1});
  op.SetData(op.b.Emit("Reshape", {x, op.b.Int64s(shape)}, a), codes);
}

void Squeeze(Op& op) {
  const bool codes = op.MovesCodes();
  Value* x = op.Data(0, codes);
  const auto* options = op.info.options->builtin_options_as_SqueezeOptions();
  Ints axes;
  if (options && options->squeeze_dims())
    axes.assign(options->squeeze_dims()->begin(), options->squeeze_dims()->end());
  std::vector<Value*> inputs = {x};
  if (!axes.empty()) inputs.push_back(op.b.Int64s(axes));
  op.SetData(op.b.Emit("Squeeze", inputs), codes);
}

void ExpandDims(Op& op) {
  const bool codes = op.MovesCodes();
  op.SetData(op.b.Emit("Unsqueeze", {op.Data(0, codes), op.b.Int64s({op.ConstInt(1, "the axis")})}),
             codes);
}

void Transpose(Op& op) {
  const bool codes = op.MovesCodes();
  Value* x = op.Data(0, codes);
  const Ints perm = op.ConstInts(1, "the permutation");
  if (op.b.failed()) return;
  op.SetData(op.b.Emit("Transpose", {x}, {{"perm", perm}}), codes);
}

// The layout of an operator that takes several tensors of one shape: NCHW when one is an image
// already.
bool AnyImage(Op& op, size_t first, size_t count) {
  for (size_t i = first; i < first + count; ++i) {
    if (op.has(i) && op.b.IsImage(op.info.inputs[i])) return true;
  }
  return false;
}

void Concatenation(Op& op) {
  const auto& o = op.Options(op.info.options->builtin_options_as_ConcatenationOptions());
  const size_t count = op.num_inputs();
  if (count == 0) return op.Invalid("it has no inputs");
  bool codes = o.activation() == fb::Activation::NONE;
  for (size_t i = 0; i < count; ++i) codes = op.MovesCodes(i) && codes;
  const bool nchw = AnyImage(op, 0, count);
  std::vector<Value*> inputs;
  for (size_t i = 0; i < count; ++i) {
    Value* v = op.Data(i, codes);
    const int rank = op.b.Rank(v);
    if (nchw && rank != 4 && rank >= 0) op.Invalid("the inputs have different ranks");
    if (op.b.failed()) return;
    inputs.push_back(nchw ? op.Data(i, codes, true) : v);
  }
  int64_t axis = op.Axis(o.axis(), op.b.Rank(inputs[0]));
  if (op.b.failed()) return;
  Value* y = op.b.Emit("Concat", inputs, {{"axis", nchw ? NchwAxis(axis) : axis}});
  op.SetData(op.Activate(y, o.activation()), codes, 0, nchw);
}

void Pack(Op& op) {
  const auto& o = op.Options(op.info.options->builtin_options_as_PackOptions());
  bool codes = true;
  for (size_t i = 0; i < op.num_inputs(); ++i) codes = op.MovesCodes(i) && codes;
  std::vector<Value*> inputs;
  int rank = -1;
  for (size_t i = 0; i < op.num_inputs(); ++i) {
    Value* v = op.Data(i, codes);
    rank = op.b.Rank(v);
    const int64_t axis = op.Axis(o.axis(), rank + 1);
    if (op.b.failed()) return;
    inputs.push_back(op.b.Emit("Unsqueeze", {v, op.b.Int64s({axis})}));
  }
  if (inputs.empty()) return op.Invalid("it has no inputs");
  op.SetData(op.b.Emit("Concat", inputs, {{"axis", op.Axis(o.axis(), rank + 1)}}), codes);
}

void Unpack(Op& op) {
  const auto& o = op.Options(op.info.options->builtin_options_as_UnpackOptions());
  const bool codes = op.MovesCodes();
  Value* x = op.Data(0, codes);
  const int64_t axis = op.Axis(o.axis(), op.b.Rank(x));
  const size_t count = op.num_outputs();
  if (op.b.failed()) return;
  if (count == 0 || o.num() != static_cast<int64_t>(count))
    return op.Invalid("it has " + std::to_string(count) +
                      " outputs but num = " + std::to_string(o.num()));
  const auto parts = op.b.EmitMany(
      "Split", {x}, {{"axis", axis}, {"num_outputs", static_cast<int64_t>(count)}}, count);
  if (auto extent = op.b.Extent(x, static_cast<size_t>(axis));
      extent && *extent != static_cast<int64_t>(count))
    return op.Invalid("dimension " + std::to_string(axis) + " has " + std::to_string(*extent) +
                      " elements, not " + std::to_string(count));
  for (size_t i = 0; i < count; ++i)
    op.SetData(op.b.Emit("Squeeze", {parts[i], op.b.Int64s({axis})}), codes, i);
}

void SplitInto(Op& op, size_t data, int64_t axis, Ints sizes) {
  const bool codes = op.MovesCodes(data);
  const bool nchw = op.b.IsImage(op.in_index(data));
  Value* x = op.Data(data, codes, nchw);
  axis = op.Axis(axis, op.b.Rank(x));
  if (op.b.failed()) return;
  if (nchw) axis = NchwAxis(axis);
  const size_t count = op.num_outputs();
  if (count == 0) return op.Invalid("it has no outputs");
  const auto extent = op.b.Extent(x, static_cast<size_t>(axis));
  Attributes a{{"axis", axis}};
  std::vector<Value*> inputs = {x};
  if (sizes.empty()) {
    if (extent && *extent % static_cast<int64_t>(count) != 0) {
      return op.Invalid(std::to_string(*extent) + " elements do not split into " +
                        std::to_string(count) + " equal parts");
    }
    a.Set("num_outputs", static_cast<int64_t>(count));
  } else {
    if (sizes.size() != count)
      return op.Invalid("it has " + std::to_string(count) + " outputs but " +
                        std::to_string(sizes.size()) + " sizes");
    int64_t rest = extent.value_or(-1);
    for (int64_t s : sizes) {
      if (s < -1 || s > int64_t{1} << 40)
        return op.Invalid("a size of " + std::to_string(s) + " is impossible");
      rest -= std::max<int64_t>(s, 0);
    }
    for (int64_t& s : sizes) {
      if (s != -1) continue;
      if (rest < 0) return op.Unsupported("a size of -1 needs a known dimension");
      s = rest;
      rest = -1;  // a second one is an error
    }
    inputs.push_back(op.b.Int64s(sizes));
  }
  const auto parts = op.b.EmitMany("Split", inputs, a, count);
  for (size_t i = 0; i < count; ++i) op.SetData(parts[i], codes, i, nchw);
}

void Split(Op& op) {
  const int64_t axis = op.ConstInt(0, "the axis");
  if (!op.b.failed()) SplitInto(op, 1, axis, {});
}

void SplitV(Op& op) {
  const Ints sizes = op.ConstInts(1, "the sizes");
  const int64_t axis = op.ConstInt(2, "the axis");
  if (op.b.failed()) return;
  if (sizes.empty()) return op.Invalid("it has no sizes");
  SplitInto(op, 0, axis, sizes);
}

void Slice(Op& op) {
  const bool codes = op.MovesCodes();
  if (!op.IsConstant(1) || !op.IsConstant(2)) {
    Value *begin = op.Int64(1), *size = op.Int64(2);
    Value* x = op.Data(0, codes);
    const int rank = op.b.Rank(x);
    if (rank <= 0 || op.b.failed()) return op.Invalid("the input must have dimensions");
    Value* to_end = op.b.Emit("Equal", {size, op.b.Int64s({-1})});
    Value* end =
        op.b.Emit("Where", {to_end, op.b.Int64s({kMost}), op.b.Emit("Add", {begin, size})});
    Ints axes;
    for (int i = 0; i < rank; ++i) axes.push_back(i);
    return op.SetData(op.b.Emit("Slice", {x, begin, end, op.b.Int64s(axes)}), codes);
  }
  const bool nchw = op.b.IsImage(op.in_index(0));
  Value* x = op.Data(0, codes, nchw);
  Ints begin = op.ConstInts(1, "begin"), size = op.ConstInts(2, "size"), end, axes;
  const int rank = op.b.Rank(x);
  if (op.b.failed()) return;
  if (static_cast<int>(begin.size()) != rank || begin.size() != size.size())
    return op.Invalid("begin and size must have " + std::to_string(rank) + " elements");
  for (size_t i = 0; i < begin.size(); ++i) {
    if (begin[i] < 0 || size[i] < -1 || begin[i] > int64_t{1} << 40 || size[i] > int64_t{1} << 40)
      return op.Invalid("begin " + std::to_string(begin[i]) + " and size " +
                        std::to_string(size[i]) + " are impossible");
    end.push_back(size[i] == -1 ? kMost : begin[i] + size[i]);
    axes.push_back(static_cast<int64_t>(i));
  }
  if (nchw) begin = InNchwOrder(begin), end = InNchwOrder(end);
  op.SetData(op.b.Emit("Slice", {x, op.b.Int64s(begin), op.b.Int64s(end), op.b.Int64s(axes)}),
             codes, 0, nchw);
}

void StridedSlice(Op& op) {
  const auto& o = op.Options(op.info.options->builtin_options_as_StridedSliceOptions());
  const bool codes = op.MovesCodes();
  Value* x = op.Data(0, codes);
  const int rank = op.b.Rank(x);
  const Ints strides = op.ConstInts(3, "the strides");
  if (op.b.failed()) return;
  const size_t count = strides.size();
  if (count > 31) return op.Invalid("it has too many dimensions");
  const bool constant = op.IsConstant(1) && op.IsConstant(2);
  Ints begin(count, 0), end(count, 0);
  if (constant) {
    begin = op.ConstInts(1, "begin");
    end = op.ConstInts(2, "end");
    if (begin.size() != count || end.size() != count)
      return op.Invalid("begin, end and strides have different lengths");
  } else if (o.ellipsis_mask() != 0 || o.new_axis_mask() != 0) {
    return op.Unsupported(
        "begin and end must be constants when an ellipsis or new dimensions are used");
  }
  auto bit = [](int32_t mask, size_t i) { return (mask >> i & 1) != 0; };
  size_t named = 0;  // dimensions that the lists name
  bool ellipsis = false;
  for (size_t i = 0; i < count; ++i) {
    if (bit(o.ellipsis_mask(), i)) {
      if (ellipsis) return op.Invalid("it has two ellipses");
      ellipsis = true;
    } else if (!bit(o.new_axis_mask(), i)) {
      ++named;
    }
  }
  if (static_cast<int>(named) > rank)
    return op.Invalid("it names more dimensions than the input has");
  Ints starts, ends, axes, steps, removed, added;
  std::vector<bool> start_free, end_free, single;
  int64_t axis = 0, place = 0;
  for (size_t i = 0; i < count; ++i) {
    if (bit(o.ellipsis_mask(), i)) {
      const auto covered = rank - static_cast<int64_t>(named);
      axis += covered;
      place += covered;
      continue;
    }
    if (bit(o.new_axis_mask(), i)) {
      added.push_back(place++);
      continue;
    }
    int64_t step = strides[i], from = begin[i], to = end[i];
    if (step == 0 || step < -(int64_t{1} << 31))
      return op.Invalid("a stride of " + std::to_string(step) + " is impossible");
    if (o.offset()) to = from + to;
    const bool shrink = bit(o.shrink_axis_mask(), i);
    const bool free_start = bit(o.begin_mask(), i) && !shrink,
               free_end = bit(o.end_mask(), i) && !shrink;
    if (shrink) {
      to = from == -1 ? kMost : from + 1;
      step = 1;
      removed.push_back(axis);
    } else {
      ++place;
    }
    if (free_start) from = step > 0 ? 0 : kMost;
    if (free_end) to = step > 0 ? kMost : kLeast;
    starts.push_back(from);
    ends.push_back(to);
    steps.push_back(step);
    axes.push_back(axis++);
    start_free.push_back(free_start);
    end_free.push_back(free_end);
    single.push_back(shrink);
  }
  Value* y = x;
  if (!axes.empty()) {
    Value *first = op.b.Int64s(starts), *last = op.b.Int64s(ends);
    if (!constant) {
      auto mask = [&](const std::vector<bool>& bits) {
        std::vector<uint8_t> bytes(bits.begin(), bits.end());
        auto t = Tensor::Allocate(DType::kBool, {static_cast<int64_t>(bytes.size())});
        if (t.ok()) std::copy(bytes.begin(), bytes.end(), t->mutable_data());
        return op.b.Constant(t.ok() ? std::move(*t) : Tensor());
      };
      Value *from = op.Int64(1), *to = op.Int64(2);
      if (o.offset()) to = op.b.Emit("Add", {from, to});
      Value* is_last = op.b.Emit("Equal", {from, op.b.Int64s({-1})});
      Value* next = op.b.Emit(
          "Where", {is_last, op.b.Int64s({kMost}), op.b.Emit("Add", {from, op.b.Int64s({1})})});
      Value* other = op.b.Emit("Where", {mask(end_free), last, to});
      first = op.b.Emit("Where", {mask(start_free), first, from});
      last = op.b.Emit("Where", {mask(single), next, other});
    }
    y = op.b.Emit("Slice", {x, first, last, op.b.Int64s(axes), op.b.Int64s(steps)});
  }
  if (!removed.empty()) y = op.b.Emit("Squeeze", {y, op.b.Int64s(removed)});
  if (!added.empty()) y = op.b.Emit("Unsqueeze", {y, op.b.Int64s(added)});
  op.SetData(y == x ? op.b.Emit("Identity", {x}) : y, codes);
}

// [[before, after], ...] as all befores, then all afters.
bool ReadPaddings(Op& op, int rank, bool nchw, Ints* before, Ints* after) {
  const Ints paddings = op.ConstInts(1, "the paddings");
  if (op.b.failed()) return false;
  if (static_cast<int>(paddings.size()) != 2 * rank) {
    op.Invalid("the paddings must be " + std::to_string(rank) + " pairs");
    return false;
  }
  before->clear();
  after->clear();
  for (size_t i = 0; i < paddings.size(); i += 2) {
    if (paddings[i] < 0 || paddings[i + 1] < 0) {
      op.Invalid("a padding is negative");
      return false;
    }
    before->push_back(paddings[i]);
    after->push_back(paddings[i + 1]);
  }
  if (nchw) *before = InNchwOrder(*before), *after = InNchwOrder(*after);
  return true;
}

void Pad(Op& op) {
  const bool exact = op.MovesCodes();
  const bool nchw = op.b.IsImage(op.in_index(0));
  // As real numbers, where a padding with zeros merges into the convolution behind it.
  Value* x = op.Real(0, nchw);
  Ints before, after;
  if (!ReadPaddings(op, op.b.Rank(x), nchw, &before, &after)) return;
  before.insert(before.end(), after.begin(), after.end());
  std::vector<Value*> inputs = {x, op.b.Int64s(before)};
  if (op.info.code == B::PADV2) {
    // An unquantized filling of a quantized tensor is a code.
    const bool code = op.b.IsQuantized(op.in_index(0)) && !op.b.IsQuantized(op.in_index(2));
    Value* fill = code ? op.b.Dequantize(op.Raw(2), op.in(0)) : op.Real(2);
    const auto extents = op.b.Extents(fill);
    if (extents && !extents->empty()) fill = op.b.Emit("Reshape", {fill, op.b.Int64s({})});
    inputs.push_back(fill);
  }
  Value* y = op.b.Emit("Pad", inputs);
  if (exact && inputs.size() == 2) return op.b.SetExact(op.out_index(), y, nchw);
  op.SetReal(y, 0, nchw);
}

void MirrorPad(Op& op) {
  const auto mode = op.Options(op.info.options->builtin_options_as_MirrorPadOptions()).mode();
  const bool codes = op.MovesCodes(), nchw = op.b.IsImage(op.in_index(0));
  Value* x = op.Data(0, codes, nchw);
  Ints before, after;
  if (!ReadPaddings(op, op.b.Rank(x), nchw, &before, &after)) return;
  if (mode == fb::MirrorPadMode::REFLECT) {
    before.insert(before.end(), after.begin(), after.end());
    return op.SetData(
        op.b.Emit("Pad", {x, op.b.Int64s(before)}, {{"mode", std::string("reflect")}}), codes, 0,
        nchw);
  }
  if (mode != fb::MirrorPadMode::SYMMETRIC) return op.Invalid("the mode is unknown");
  // Borders included: the first and last elements of each dimension, backwards.
  for (size_t i = 0; i < before.size(); ++i) {
    const auto extent = op.b.Extent(x, i);
    if (extent && (before[i] > *extent || after[i] > *extent))
      return op.Invalid("a padding is larger than the input");
    const auto axis = static_cast<int64_t>(i);
    auto backwards = [&](int64_t from, int64_t to) {
      return op.b.Emit("Slice", {x, op.b.Int64s({from}), op.b.Int64s({to}), op.b.Int64s({axis}),
                                 op.b.Int64s({-1})});
    };
    std::vector<Value*> parts;
    if (before[i] > 0) parts.push_back(backwards(before[i] - 1, kLeast));
    parts.push_back(x);
    if (after[i] > 0) parts.push_back(backwards(-1, -after[i] - 1));
    if (parts.size() > 1) x = op.b.Emit("Concat", parts, {{"axis", axis}});
  }
  op.SetData(op.b.Emit("Identity", {x}), codes, 0, nchw);
}

void Tile(Op& op) {
  const bool codes = op.MovesCodes();
  op.SetData(op.b.Emit("Tile", {op.Data(0, codes), op.Int64(1)}), codes);
}

void BroadcastTo(Op& op) {
  const bool codes = op.MovesCodes();
  op.SetData(op.b.Emit("Expand", {op.Data(0, codes), op.Int64(1)}), codes);
}

void Resize(Op& op, bool linear, bool align_corners, bool half_pixel) {
  if (align_corners && half_pixel)
    return op.Invalid("align_corners and half_pixel_centers exclude each other");
  if (!op.b.IsImage(op.in_index(0)) && op.b.Rank(op.Real(0)) != 4)
    return op.Invalid("the input must have four dimensions");
  Value* x = op.Real(0, true);
  Value* size = op.Int64(1);
  if (op.b.failed()) return;
  Attributes a{{"axes", Ints{2, 3}}, {"mode", std::string(linear ? "linear" : "nearest")}};
  a.Set("coordinate_transformation_mode", std::string(align_corners ? "align_corners"
                                                      : half_pixel  ? "half_pixel"
                                                                    : "asymmetric"));
  if (!linear)
    a.Set("nearest_mode", std::string(align_corners || half_pixel ? "round_prefer_ceil" : "floor"));
  op.SetReal(op.b.Emit("Resize", {x, nullptr, nullptr, size}, a), 0, true);
}

void ResizeBilinear(Op& op) {
  const auto& o = op.Options(op.info.options->builtin_options_as_ResizeBilinearOptions());
  Resize(op, true, o.align_corners(), o.half_pixel_centers());
}

void ResizeNearest(Op& op) {
  const auto& o = op.Options(op.info.options->builtin_options_as_ResizeNearestNeighborOptions());
  Resize(op, false, o.align_corners(), o.half_pixel_centers());
}

void DepthSpace(Op& op) {
  const bool to_space = op.info.code == B::DEPTH_TO_SPACE;
  const int32_t block =
      to_space ? op.Options(op.info.options->builtin_options_as_DepthToSpaceOptions()).block_size()
               : op.Options(op.info.options->builtin_options_as_SpaceToDepthOptions()).block_size();
  const bool codes = op.MovesCodes();
  if (!op.b.IsImage(op.in_index(0)) && op.b.Rank(op.Data(0, codes)) != 4)
    return op.Invalid("the input must have four dimensions");
  Value* x = op.Data(0, codes, true);
  op.SetData(
      op.b.Emit(to_space ? "DepthToSpace" : "SpaceToDepth", {x}, {{"blocksize", int64_t{block}}}),
      codes, 0, true);
}

// Blocks of the dimensions behind the first move into it, or back: Reshape, Transpose, Reshape.
void BatchSpace(Op& op) {
  const bool to_batch = op.info.code == B::SPACE_TO_BATCH_ND;
  const bool codes = op.MovesCodes();
  Value* x = op.Data(0, codes);
  const int rank = op.b.Rank(x);
  const Ints block = op.ConstInts(1, "the block shape"),
             edges = op.ConstInts(2, to_batch ? "the paddings" : "the crops");
  if (op.b.failed()) return;
  const size_t m = block.size();
  if (static_cast<int>(m) + 1 > rank || edges.size() != 2 * m || m == 0)
    return op.Invalid("block shape and paddings or crops do not fit a tensor of " +
                      std::to_string(rank) + " dimensions");
  const auto r = static_cast<size_t>(rank);
  for (size_t i = 0; i < m; ++i) {
    if (block[i] < 1 || block[i] > 1 << 20 || edges[2 * i] < 0 || edges[2 * i + 1] < 0)
      return op.Invalid("a block or edge is impossible");
  }
  if (to_batch) {
    Ints pads(2 * r, 0);
    bool any = false;
    for (size_t i = 0; i < m; ++i) {
      pads[i + 1] = edges[2 * i];
      pads[r + i + 1] = edges[2 * i + 1];
      any |= edges[2 * i] + edges[2 * i + 1] > 0;
    }
    if (any) {
      // Zero of the real numbers is the zero point of the codes.
      if (codes && op.b.IsQuantized(op.in_index(0))) {
        x = op.b.Quantize(op.b.Emit("Pad", {op.Real(0), op.b.Int64s(pads)}), op.in(0));
      } else {
        x = op.b.Emit("Pad", {x, op.b.Int64s(pads)});
      }
    }
  }
  Ints extents;
  for (size_t i = 1; i < r; ++i) {
    const auto extent = op.b.Extent(x, i);
    if (!extent)
      return op.Unsupported(
          "all dimensions but the first must be known; fix the input shape of the model");
    extents.push_back(*extent);
  }
  Ints split, perm, joined;
  if (to_batch) {
    split = {0};
    for (size_t i = 0; i + 1 < r; ++i) {
      if (i >= m) {
        split.push_back(extents[i]);
        continue;
      }
      if (extents[i] % block[i] != 0)
        return op.Invalid("dimension " + std::to_string(i + 1) + " is no multiple of its block");
      split.push_back(extents[i] / block[i]);
      split.push_back(block[i]);
    }
    for (size_t i = 0; i < m; ++i) perm.push_back(static_cast<int64_t>(2 * i + 2));
    perm.push_back(0);
    for (size_t i = 0; i < m; ++i) perm.push_back(static_cast<int64_t>(2 * i + 1));
    for (size_t i = 2 * m + 1; i < m + r; ++i) perm.push_back(static_cast<int64_t>(i));
    joined = {-1};
    for (size_t i = 0; i + 1 < r; ++i) joined.push_back(i < m ? extents[i] / block[i] : extents[i]);
  } else {
    split = block;
    split.push_back(-1);
    split.insert(split.end(), extents.begin(), extents.end());
    perm.push_back(static_cast<int64_t>(m));
    for (size_t i = 0; i < m; ++i) {
      perm.push_back(static_cast<int64_t>(m + 1 + i));
      perm.push_back(static_cast<int64_t>(i));
    }
    for (size_t i = 2 * m + 1; i < m + r; ++i) perm.push_back(static_cast<int64_t>(i));
    joined = {-1};
    for (size_t i = 0; i + 1 < r; ++i) joined.push_back(i < m ? extents[i] * block[i] : extents[i]);
  }
  if (split.size() > static_cast<size_t>(kMaxRank))
    return op.Unsupported("it has too many dimensions");
  x = op.b.Reshape(op.b.Emit("Transpose", {op.b.Reshape(x, split)}, {{"perm", perm}}), joined);
  if (!to_batch) {
    Ints from, to, axes;
    for (size_t i = 0; i < m; ++i) {
      from.push_back(edges[2 * i]);
      to.push_back(joined[i + 1] - edges[2 * i + 1]);
      axes.push_back(static_cast<int64_t>(i + 1));
    }
    x = op.b.Emit("Slice", {x, op.b.Int64s(from), op.b.Int64s(to), op.b.Int64s(axes)});
  }
  op.SetData(x, codes);
}

void ReverseV2(Op& op) {
  const bool codes = op.MovesCodes();
  Value* x = op.Data(0, codes);
  const Ints axes = op.ConstInts(1, "the axes");
  if (op.b.failed()) return;
  const Ints from(axes.size(), -1), to(axes.size(), kLeast), step(axes.size(), -1);
  op.SetData(op.b.Emit("Slice", {x, op.b.Int64s(from), op.b.Int64s(to), op.b.Int64s(axes),
                                 op.b.Int64s(step)}),
             codes);
}

// --- shapes --------------------------------------------------------------------------------------

void Shape(Op& op) { op.SetRaw(op.b.Cast(op.b.Emit("Shape", {op.Raw(0)}), op.out().dtype)); }

void Rank(Op& op) {
  const int rank = op.b.Rank(op.Raw(0));
  op.SetRaw(op.b.Constant(Tensor::Scalar(static_cast<int32_t>(rank))));
}

void Fill(Op& op) {
  const bool codes = op.MovesCodes(1);
  op.SetData(op.b.Emit("Expand", {op.Data(1, codes), op.Int64(0)}), codes);
}

void Range(Op& op) { op.SetRaw(op.b.Emit("Range", {op.Raw(0), op.Raw(1), op.Raw(2)})); }

void ZerosLike(Op& op) {
  Value* x = op.Real(0);
  if (op.b.failed()) return;
  op.SetReal(op.b.Emit("Expand", {op.b.ScalarLike(x, 0), op.b.Emit("Shape", {x})}));
}

}  // namespace

void AddMovement(HandlerTable* table) {
  auto& t = *table;
  t[B::RESHAPE] = &Reshape;
  t[B::SQUEEZE] = &Squeeze;
  t[B::EXPAND_DIMS] = &ExpandDims;
  t[B::TRANSPOSE] = &Transpose;
  t[B::CONCATENATION] = &Concatenation;
  t[B::PACK] = &Pack;
  t[B::UNPACK] = &Unpack;
  t[B::SPLIT] = &Split;
  t[B::SPLIT_V] = &SplitV;
  t[B::SLICE] = &Slice;
  t[B::STRIDED_SLICE] = &StridedSlice;
  t[B::PAD] = &Pad;
  t[B::PADV2] = &Pad;
  t[B::MIRROR_PAD] = &MirrorPad;
  t[B::TILE] = &Tile;
  t[B::BROADCAST_TO] = &BroadcastTo;
  t[B::RESIZE_BILINEAR] = &ResizeBilinear;
  t[B::RESIZE_NEAREST_NEIGHBOR] = &ResizeNearest;
  t[B::DEPTH_TO_SPACE] = &DepthSpace;
  t[B::SPACE_TO_DEPTH] = &DepthSpace;
  t[B::SPACE_TO_BATCH_ND] = &BatchSpace;
  t[B::BATCH_TO_SPACE_ND] = &BatchSpace;
  t[B::REVERSE_V2] = &ReverseV2;
  t[B::SHAPE] = &Shape;
  t[B::RANK] = &Rank;
  t[B::FILL] = &Fill;
  t[B::RANGE] = &Range;
  t[B::ZEROS_LIKE] = &ZerosLike;
}

}  // namespace slipway::tflite
