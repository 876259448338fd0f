// Which values of four dimensions are images (NHWC in the file), and the operators of transformers.

#include <algorithm>
#include <map>

#include "quant/exporters/tflite.h"

namespace slipway::quant {
namespace {

using ir::Node;
using ir::Tensor;
using ir::Value;
using Code = fb::BuiltinOperator;

int64_t Rank(const Value* v) {
  return v->type().shape ? static_cast<int64_t>(v->type().shape->size()) : -1;
}

// Operators whose windows lie over images, by their first input.
bool SeesImages(const Node& n) {
  for (const char* op :
       {"Conv", "MaxPool", "AveragePool", "GlobalAveragePool", "Resize", "DepthToSpace"}) {
    if (n.Is(op)) return true;
  }
  return false;
}

// Operators behind which a value may lie in another order.
bool ChangesOrder(const Node& n) {
  for (const char* op :
       {"Reshape", "Flatten", "Squeeze", "Unsqueeze", "Transpose", "MatMul", "Gemm"}) {
    if (n.Is(op)) return true;
  }
  return false;
}

}  // namespace

// Values that operators tie together have one order: images as soon as one of them is.
void TfliteWriter::FindImages() {
  std::map<const Value*, const Value*> parent;
  const auto root = [&](const Value* v) {
    while (parent.contains(v) && parent[v] != v) v = parent[v] = parent[parent[v]];
    return v;
  };
  const auto join = [&](const Value* a, const Value* b) {
    parent.emplace(a, a);
    parent.emplace(b, b);
    parent[root(a)] = root(b);
  };
  std::vector<const Value*> seeds;
  for (const auto* values : {&graph_.inputs(), &graph_.outputs()}) {
    for (const Value* v : *values) {
      if (Rank(v) == 4) seeds.push_back(v);
    }
  }
  for (const auto& node : graph_.nodes()) {
    if (SeesImages(*node)) {
      for (const Value* v : {node->input(0), node->output()}) {
        if (v && Rank(v) == 4) seeds.push_back(v);
      }
      if (node->input(0) && node->output()) join(node->input(0), node->output());
      continue;
    }
    if (ChangesOrder(*node)) continue;
    const Value* first = nullptr;
    for (const auto* values : {&node->inputs(), &node->outputs()}) {
      for (const Value* v : *values) {
        if (!v || Rank(v) != 4) continue;
        if (first) join(first, v);
        first = v;
      }
    }
  }
  std::set<const Value*> image_roots;
  for (const Value* v : seeds) image_roots.insert(root(v));
  for (const auto& v : graph_.values()) {
    if (Rank(v.get()) == 4 && image_roots.contains(root(v.get()))) images_.insert(v.get());
  }
}

int64_t TfliteWriter::FileAxis(int64_t axis, const Value* v) const {
  const int64_t rank = Rank(v);
  if (axis < 0) axis += rank;
  constexpr int64_t kImage[] = {0, 3, 1, 2};
  return IsImage(v) && axis >= 0 && axis < 4 ? kImage[axis] : axis;
}

Status TfliteWriter::BatchMatMul(const Site& s) {
  const Node& n = *s.node;
  if (Rank(n.input(0)) < 2 || Rank(n.input(1)) < 2)
    return Refuse(n, "TensorFlow Lite multiplies matrices, not vectors");
  std::vector<int> inputs;
  for (size_t i = 0; i < 2; ++i) {
    SLIPWAY_ASSIGN_OR_RETURN(int in, In(s, i));
    if (IsImage(n.input(i))) in = Transposed(in, {0, 3, 1, 2});
    inputs.push_back(in);
  }
  SLIPWAY_ASSIGN_OR_RETURN(const int out, Out(s));
  fb::BatchMatMulOptionsT options;
  const int version = s.coded ? 2 : 1;
  if (!IsImage(s.value())) {
    file_.Op(Code::BATCH_MATMUL, version, inputs, {out}, options);
    return OkStatus();
  }
  const std::vector<int64_t> image = file_.ShapeOf(out);
  const int plain = Like(n.name() + "/nchw", {image[0], image[3], image[1], image[2]}, out);
  file_.Op(Code::BATCH_MATMUL, version, inputs, {plain}, options);
  file_.Op(Code::TRANSPOSE, s.coded ? 2 : 1, {plain, file_.Ints(n.name() + "/perm", {0, 2, 3, 1})},
           {out});
  return OkStatus();
}

// In its pieces: there is no operator for it.
Status TfliteWriter::LayerNorm(const Site& s) {
  const Node& n = *s.node;
  const int64_t rank = Rank(n.input(0));
  int64_t axis = n.attributes.Int("axis", -1);
  if (axis < 0) axis += rank;
  if (axis < 0 || axis >= rank || n.output(1) || n.output(2))
    return Refuse(n, "its mean and deviation are read too, or its axis does not fit");
  if (IsImage(n.input(0)))
    return Refuse(n, "it goes over the last axis of an image, which lies elsewhere in the file");
  for (size_t i = 1; i <= 2; ++i) {
    if (n.input(i) && Rank(n.input(i)) > rank - axis)
      return Refuse(n, "its scale or bias has more dimensions than it goes over");
  }
  const Site real{&n};
  if (s.coded) floats_.push_back(n.name());
  SLIPWAY_ASSIGN_OR_RETURN(const int x, In(real, 0));
  const std::vector<int64_t> shape = file_.ShapeOf(x);
  std::vector<int64_t> over, narrow = shape;
  for (int64_t a = axis; a < rank; ++a) {
    over.push_back(a);
    narrow[static_cast<size_t>(a)] = 1;
  }
  const std::string name = n.name();
  const int axes = file_.Ints(name + "/axes", over);
  fb::ReducerOptionsT keep;
  keep.keep_dims = true;
  const auto made = [&](const char* part, const std::vector<int64_t>& of) {
    return Like(name + "/" + part, of, x);
  };
  const int mean = made("mean", narrow), squares = made("squares", shape),
            variance = made("variance", narrow), shifted = made("variance_epsilon", narrow),
            factor = made("factor", narrow), centred = made("centred", shape);
  file_.Op(Code::MEAN, 1, {x, axes}, {mean}, keep);
  file_.Op(Code::SUB, 1, {x, mean}, {centred}, fb::SubOptionsT());
  file_.Op(Code::SQUARED_DIFFERENCE, 1, {x, mean}, {squares});
  file_.Op(Code::MEAN, 1, {squares, axes}, {variance}, keep);
  const int epsilon =
      file_.Constant(name + "/epsilon", Tensor::Scalar(n.attributes.Float("epsilon", 1e-5f)));
  file_.Op(Code::ADD, 1, {variance, epsilon}, {shifted}, fb::AddOptionsT());
  file_.Op(Code::RSQRT, 1, {shifted}, {factor});
  const bool scaled = n.input(1) != nullptr, biased = n.input(2) != nullptr;
  int last = -1;
  const auto next = [&](const char* part, bool end) -> Result<int> {
    if (end) return Out(real);
    return made(part, shape);
  };
  SLIPWAY_ASSIGN_OR_RETURN(last, next("normal", !scaled && !biased));
  file_.Op(Code::MUL, 1, {centred, factor}, {last}, fb::MulOptionsT());
  if (scaled) {
    SLIPWAY_ASSIGN_OR_RETURN(const int scale, Real(n.input(1)));
    SLIPWAY_ASSIGN_OR_RETURN(const int to, next("scaled", !biased));
    file_.Op(Code::MUL, 1, {last, scale}, {to}, fb::MulOptionsT());
    last = to;
  }
  if (biased) {
    SLIPWAY_ASSIGN_OR_RETURN(const int bias, Real(n.input(2)));
    SLIPWAY_ASSIGN_OR_RETURN(const int to, next("", true));
    file_.Op(Code::ADD, 1, {last, bias}, {to}, fb::AddOptionsT());
  }
  return OkStatus();
}

Status TfliteWriter::Split(const Site& s) {
  const Node& n = *s.node;
  const bool coded = IsCodes(n.input(0));
  // A part whose one reader rounds it stays codes, whatever the first one's does.
  if (coded && !s.coded) floats_.pop_back();
  if (!coded && s.coded) floats_.push_back(n.name());
  const Value* from = n.input(0);
  SLIPWAY_ASSIGN_OR_RETURN(const int x, coded ? Codes(from) : Real(from));
  const int64_t axis = FileAxis(n.attributes.Int("axis", 0), from);
  std::vector<int> parts;
  std::vector<int64_t> sizes;
  struct Later {
    int from;
    const Value* value;
    const Node* quantize;
  };
  std::vector<Later> later;
  for (const Value* v : n.outputs()) {
    if (!v) return Refuse(n, "one of its parts has no name");
    SLIPWAY_ASSIGN_OR_RETURN(const auto shape, Shape(v));
    if (axis < 0 || axis >= static_cast<int64_t>(shape.size()) ||
        shape[static_cast<size_t>(axis)] < 0)
      return Refuse(n, "the extents of its parts are not known; give --shape");
    sizes.push_back(shape[static_cast<size_t>(axis)]);
    const Node* reader = v->OnlyUser();
    const Node* quantize = coded && reader && reader->IsSlipway("Quantize") ? reader : nullptr;
    const int part = Like(coded ? v->name() + "_part" : v->name(), shape, x);
    parts.push_back(part);
    if (!coded) {
      tensors_[v] = part;
      continue;
    }
    if (quantize) {
      SLIPWAY_ASSIGN_OR_RETURN(const TfliteQuant q, QuantFor(*quantize));
      if (q == file_.QuantOf(x)) {
        tensors_[quantize->output()] = part;
        done_.insert(quantize);
        continue;
      }
    }
    later.push_back({part, v, quantize});
  }
  const bool even =
      std::all_of(sizes.begin(), sizes.end(), [&](int64_t e) { return e == sizes[0]; });
  const int at = file_.Constant(n.name() + "/axis", Tensor::Scalar(static_cast<int32_t>(axis)));
  if (even) {
    fb::SplitOptionsT options;
    options.num_splits = static_cast<int32_t>(parts.size());
    file_.Op(Code::SPLIT, coded ? 2 : 1, {at, x}, parts, options);
  } else {
    fb::SplitVOptionsT options;
    options.num_splits = static_cast<int32_t>(parts.size());
    file_.Op(Code::SPLIT_V, coded ? 2 : 1, {x, file_.Ints(n.name() + "/sizes", sizes), at}, parts,
             options);
  }
  for (const Later& l : later) {
    SLIPWAY_ASSIGN_OR_RETURN(const auto shape, Shape(l.value));
    if (l.quantize) {
      SLIPWAY_ASSIGN_OR_RETURN(const int out,
                               Out({.node = &n, .coded = true, .quantize = l.quantize}));
      file_.Op(Code::QUANTIZE, 2, {l.from}, {out});
      continue;
    }
    const int out = file_.Tensor(l.value->name(), shape, fb::TensorType::FLOAT32);
    file_.Op(Code::DEQUANTIZE, 2, {l.from}, {out});
    tensors_[l.value] = out;
  }
  return OkStatus();
}

}  // namespace slipway::quant
