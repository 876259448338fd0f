// TFLite_Detection_PostProcess: the end of SSD detectors. Boxes decoded against their anchors,
// non-maximum suppression, the best few in tensors of fixed size.

#include <cmath>
#include <limits>

#include "model/frontends/tflite/builder.h"
#include "model/frontends/tflite/flex.h"
#include "model/ir/schema.h"

namespace slipway::tflite {
namespace {

constexpr int64_t kMostDetections = 100000;

}  // namespace

// Inputs: encodings [1, A, 4] (y, x, h, w), scores [1, A, C + 1 with the background first], anchors
// [A, 4] (y, x, h, w of the centre). Outputs: boxes [1, D, 4] (y, x, y, x), classes [1, D], scores
// [1, D], count [1]; zeros behind the count.
void DetectionPostProcess(Op& op) {
  Builder& b = op.b;
  if (!ir::FindOp("", "NonMaxSuppression"))
    return op.Unsupported("non-maximum suppression is not supported; cut the model before it");
  auto options = ReadFlexNumbers(op.info.custom_options);
  if (!options.ok()) return b.Fail(options.status());
  auto number = [&](const char* key, double fallback) {
    auto it = options->find(key);
    return it == options->end() ? fallback : it->second;
  };
  auto integer = [&](const char* key, double fallback, int64_t most) -> int64_t {
    const double v = number(key, fallback);
    if (v >= 1 && v <= static_cast<double>(most)) return static_cast<int64_t>(v);
    op.Invalid(std::string(key) + " = " + std::to_string(v) + " must lie in [1, " +
               std::to_string(most) + "]");
    return 1;
  };
  const int64_t detections = integer("max_detections", 0, kMostDetections);
  const int64_t classes = integer("num_classes", 0, kMostDetections);
  const int64_t per_class = integer("detections_per_class", 100, kMostDetections);
  if (number("max_classes_per_detection", 1) != 1)
    return op.Unsupported("max_classes_per_detection must be 1");
  const bool regular = number("use_regular_nms", 0) != 0;
  float scales[4];
  const char* names[4] = {"y_scale", "x_scale", "h_scale", "w_scale"};
  for (int i = 0; i < 4; ++i) {
    scales[i] = static_cast<float>(number(names[i], 0));
    if (!(scales[i] > 0) || !std::isfinite(scales[i]))
      return op.Invalid(std::string(names[i]) + " must be positive");
  }
  const auto threshold = static_cast<float>(number("nms_score_threshold", 0));
  const auto overlap = static_cast<float>(number("nms_iou_threshold", 0.5));
  Value *encodings = op.Real(0), *scores = op.Real(1), *anchors = op.Real(2);
  if (b.failed()) return;
  const auto count = b.Extent(encodings, 1), labels = b.Extent(scores, 2);
  if (b.Rank(encodings) != 3 || b.Rank(scores) != 3 || !count || !labels ||
      b.Extent(encodings, 0) != 1)
    return op.Unsupported("boxes and scores must be of one image, with their number known");
  const int64_t background = *labels - classes;
  if (background < 0 || background > 1)
    return op.Invalid("the scores have " + std::to_string(*labels) + " classes, not " +
                      std::to_string(classes));

  // [A, 4] -> four columns [A, 1].
  auto columns = [&](Value* v) {
    return b.EmitMany("Split", {b.Reshape(v, {-1, 4})},
                      {{"axis", int64_t{1}}, {"num_outputs", int64_t{4}}}, 4);
  };
  const auto e = columns(encodings), a = columns(anchors);
  Value* corners[4];
  for (size_t i : {0, 1}) {
    Value* centre =
        b.Emit("Add", {b.Emit("Mul", {b.Emit("Div", {e[i], b.Float(scales[i])}), a[i + 2]}), a[i]});
    Value* grown = b.Emit(
        "Mul", {b.Emit("Exp", {b.Emit("Div", {e[i + 2], b.Float(scales[i + 2])})}), a[i + 2]});
    Value* half = b.Emit("Mul", {grown, b.Float(0.5f)});
    corners[i] = b.Emit("Sub", {centre, half});
    corners[i + 2] = b.Emit("Add", {centre, half});
  }
  Value* boxes =
      b.Emit("Concat", {corners[0], corners[1], corners[2], corners[3]}, {{"axis", int64_t{1}}});
  Value* real = b.Reshape(scores, {-1, *labels});  // [A, labels]
  if (background == 1)
    real = b.Emit("Slice", {real, b.Int64s({1}), b.Int64s({*labels}), b.Int64s({1})});
  Value* best_class = nullptr;
  Value* by_class = b.Emit("Transpose", {real}, {{"perm", Ints{1, 0}}});  // [C, A]
  if (!regular) {
    // One class: the best of each box.
    best_class = b.Emit("ArgMax", {real}, {{"axis", int64_t{1}}, {"keepdims", int64_t{0}}});  // [A]
    by_class = b.Emit("ReduceMax", {by_class, b.Int64s({0})}, {{"keepdims", int64_t{1}}});
  }
  // TFLite keeps a score at the threshold, NonMaxSuppression only above it.
  const float below = std::nextafter(threshold, -std::numeric_limits<float>::infinity());
  Value* kept = b.Emit(
      "NonMaxSuppression",
      {b.Emit("Unsqueeze", {boxes, b.Int64s({0})}), b.Emit("Unsqueeze", {by_class, b.Int64s({0})}),
       b.Int64s({regular ? per_class : detections}), b.Constant(Tensor::Vector<float>({overlap})),
       b.Constant(Tensor::Vector<float>({below}))});  // [K, 3]: image, class, box
  if (b.failed()) return;
  const auto thirds =
      b.EmitMany("Split", {kept}, {{"axis", int64_t{1}}, {"num_outputs", int64_t{3}}}, 3);
  Value* pair = b.Emit("Concat", {thirds[1], thirds[2]}, {{"axis", int64_t{1}}});
  Value* found = b.Emit("GatherND", {by_class, pair});  // [K]
  // Behind those found as many that do not count; their box is one of zeros behind the others.
  constexpr float kNone = -3e38f;
  Value* keys = b.Emit("Concat",
                       {found, b.Constant(Tensor::Vector<float>(
                                   std::vector<float>(static_cast<size_t>(detections), kNone)))},
                       {{"axis", int64_t{0}}});
  auto padded = [&](Value* v, int64_t fill) {
    return b.Emit("Concat",
                  {b.Reshape(v, {-1}), b.Int64s(Ints(static_cast<size_t>(detections), fill))},
                  {{"axis", int64_t{0}}});
  };
  Value *class_of = padded(thirds[1], 0), *box_of = padded(thirds[2], *count);
  const auto top = b.EmitMany("TopK", {keys, b.Int64s({detections})}, {{"axis", int64_t{0}}}, 2);
  Value* none = b.Emit("Less", {top[0], b.Float(-1e38f)});
  Value* chosen = b.Emit("Gather", {box_of, top[1]}, {{"axis", int64_t{0}}});
  const std::vector<float> zeros(4, 0);
  Value* more = b.Emit("Concat", {boxes, b.Constant(Tensor::Of<float>({1, 4}, zeros))},
                       {{"axis", int64_t{0}}});
  Value* out_class;
  if (regular) {
    out_class = b.Emit("Gather", {class_of, top[1]}, {{"axis", int64_t{0}}});
  } else {
    Value* labelled = b.Emit("Concat", {best_class, b.Int64s({0})}, {{"axis", int64_t{0}}});
    out_class = b.Emit("Gather", {labelled, chosen}, {{"axis", int64_t{0}}});
  }
  auto image = [&](Value* v) { return b.Emit("Unsqueeze", {v, b.Int64s({0})}); };
  op.SetReal(image(b.Emit("Gather", {more, chosen}, {{"axis", int64_t{0}}})), 0);
  op.SetReal(image(b.Cast(out_class, DType::kFloat32)), 1);
  op.SetReal(image(b.Emit("Where", {none, b.Float(0), top[0]})), 2);
  Value* counted = b.Cast(b.Emit("Not", {none}), DType::kFloat32);
  op.SetReal(b.Emit("ReduceSum", {counted, b.Int64s({0})}, {{"keepdims", int64_t{1}}}), 3);
}

}  // namespace slipway::tflite
