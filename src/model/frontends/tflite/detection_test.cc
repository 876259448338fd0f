// Operators whose results have a size that the data decide.

#include <gtest/gtest.h>

#include "flatbuffers/flexbuffers.h"
#include "model/frontends/tflite/writer_test_util.h"
#include "model/ir/schema.h"
#include "model/passes/pass.h"

namespace slipway::tflite {
namespace {

using Doubles = std::vector<double>;

// Outputs as imported and after all passes.
void Check(const Writer& w, const std::vector<ir::Tensor>& inputs,
           const std::vector<Doubles>& want) {
  auto g = w.Import();
  ASSERT_TRUE(g.ok()) << g.status().ToString();
  for (const char* when : {"as imported", "optimised"}) {
    auto out = interp::Evaluate(**g, inputs);
    ASSERT_TRUE(out.ok()) << when << ": " << out.status().ToString();
    for (size_t o = 0; o < want.size(); ++o) {
      const Doubles got = (*out)[o].ToDoubles();
      ASSERT_EQ(got.size(), want[o].size()) << when << ", output " << o;
      for (size_t i = 0; i < got.size(); ++i)
        EXPECT_NEAR(got[i], want[o][i], 1e-6) << when << ", output " << o;
    }
    auto passes = passes::RunPasses(**g, {.level = passes::Level::kFused});
    ASSERT_TRUE(passes.ok()) << passes.status().ToString();
  }
}

TEST(TfliteOps, WhereListsTheIndices) {
  Writer w;
  const int x = w.Input("x", {2, 2}, T::BOOL), y = w.Value("y", {-1, 2}, T::INT64);
  w.Op(B::WHERE, {x}, {w.Output(y)});
  auto t = ir::Tensor::Allocate(DType::kBool, {2, 2});
  ASSERT_TRUE(t.ok());
  for (int i = 0; i < 4; ++i) t->mutable_data()[i] = i % 3 != 0;
  Check(w, {*t}, {{0, 1, 1, 0}});
}

TEST(TfliteOps, ReverseSequence) {
  if (!ir::FindOp("", "ReverseSequence"))
    GTEST_SKIP() << "the operator table has no ReverseSequence";
  Writer w;
  const int x = w.Input("x", {2, 3});
  w.Op(B::REVERSE_SEQUENCE, {x, w.Ints("lengths", {2, 3})}, {w.Output(w.Value("y", {2, 3}))},
       With<fb::ReverseSequenceOptionsT>([](auto& o) { o.seq_dim = 1; }));
  Check(w, {ir::Tensor::Of<float>({2, 3}, std::vector<float>{1, 2, 3, 4, 5, 6})},
        {{2, 1, 3, 6, 5, 4}});
}

TEST(TfliteOps, DetectionPostProcess) {
  if (!ir::FindOp("", "NonMaxSuppression"))
    GTEST_SKIP() << "the operator table has no NonMaxSuppression";
  for (bool regular : {false, true}) {
    Writer w;
    const int boxes = w.Input("boxes", {1, 3, 4}), scores = w.Input("scores", {1, 3, 3});
    // Centre and size: the whole image twice, its first quarter.
    const int anchors = w.Constant<float>(
        "anchors", {3, 4}, {0.5f, 0.5f, 1, 1, 0.5f, 0.5f, 1, 1, 0.25f, 0.25f, 0.5f, 0.5f});
    std::vector<int32_t> outputs = {w.Output(w.Value("b", {1, 3, 4})),
                                    w.Output(w.Value("c", {1, 3})), w.Output(w.Value("s", {1, 3})),
                                    w.Output(w.Value("n", {1}))};
    fb::OperatorT& op = w.Custom("TFLite_Detection_PostProcess", {boxes, scores, anchors}, outputs);
    flexbuffers::Builder options;
    options.Map([&] {
      options.Int("max_detections", 3);
      options.Int("max_classes_per_detection", 1);
      options.Int("num_classes", 2);
      options.Float("nms_score_threshold", 0.25f);
      options.Float("nms_iou_threshold", 0.5f);
      for (const char* name : {"y_scale", "x_scale", "h_scale", "w_scale"}) options.Float(name, 10);
      options.Bool("use_regular_nms", regular);
    });
    options.Finish();
    op.custom_options = options.GetBuffer();
    // The background first. The second box is the first one again; the third moves right by 0.1 of
    // its width.
    std::vector<float> encodings(12, 0);
    encodings[9] = 1;
    const std::vector<float> s = {0, 0.9f, 0.1f, 0, 0.8f, 0.2f, 0, 0.3f, 0.6f};
    const Doubles first = {0, 0, 1, 1}, third = {0, 0.05, 0.5, 0.55};
    auto rows = [](std::vector<Doubles> r) {
      Doubles all;
      for (const Doubles& d : r) all.insert(all.end(), d.begin(), d.end());
      return all;
    };
    const std::vector<ir::Tensor> inputs = {ir::Tensor::Of<float>({1, 3, 4}, encodings),
                                            ir::Tensor::Of<float>({1, 3, 3}, s)};
    if (regular) {
      Check(w, inputs, {rows({first, third, third}), {0, 1, 0}, {0.9, 0.6, 0.3}, {3}});
    } else {
      Check(w, inputs, {rows({first, third, {0, 0, 0, 0}}), {0, 1, 0}, {0.9, 0.6, 0}, {2}});
    }
  }
}

}  // namespace
}  // namespace slipway::tflite
