#include "quant/reconstruct/importance.h"

#include <gtest/gtest.h>

#include <cmath>

#include "model/interp/interpreter.h"
#include "model/ir/infer.h"
#include "model/ir/text.h"

namespace slipway::quant {
namespace {

using ir::Graph;
using ir::Tensor;

constexpr int64_t kSamples = 512, kBatch = 64;

struct Net {
  std::unique_ptr<Graph> graph;
  Values values;
};
// x [N, 3] -> h [N, 4] -> y [N, 3]
Net Make(const std::string& tail) {
  Net n;
  auto graph = ir::ParseText(R"(graph "net" {
  input %x: float32[64, 3]
  const %w1: float32[3, 4] = random(1)
  const %w2: float32[4, 3] = random(2)
  %h = MatMul(%x, %w1) "first"
  %z = MatMul(%h, %w2) "second"
)" + tail + "\n}");
  EXPECT_TRUE(graph.ok()) << graph.status().message();
  n.graph = std::move(*graph);
  EXPECT_TRUE(ir::InferShapes(*n.graph).ok());
  Tensor x = *Tensor::Allocate(DType::kFloat32, {kSamples, 3});
  for (int64_t i = 0; i < x.count(); ++i)
    reinterpret_cast<float*>(x.mutable_data())[i] = static_cast<float>(std::sin(1.7 * i + 1));
  const auto w = n.graph->FindValue("w1")->constant()->ToDoubles();
  Tensor h = *Tensor::Allocate(DType::kFloat32, {kSamples, 4});
  for (int64_t s = 0; s < kSamples; ++s) {
    for (int64_t o = 0; o < 4; ++o) {
      double sum = 0;
      for (int64_t i = 0; i < 3; ++i)
        sum += double{x.data<float>()[s * 3 + i]} * w[static_cast<size_t>(i * 4 + o)];
      reinterpret_cast<float*>(h.mutable_data())[s * 4 + o] = static_cast<float>(sum);
    }
  }
  n.values["h"] = std::make_shared<Tensor>(h);
  n.values["x"] = std::make_shared<Tensor>(x);  // not needed any more
  return n;
}

class OfHidden : public testing::Test {
 protected:
  Result<std::vector<Tensor>> Of(const Net& n, const std::string& output = "h", uint64_t seed = 1) {
    auto engine = learn::GetEngine();
    EXPECT_TRUE(engine.ok());
    auto work = WorkFolder::Open("");
    EXPECT_TRUE(work.ok());
    const Block block{"first", {"first"}, {"x"}, {output}};
    return Importance(*n.graph, block, n.values, kSamples, kBatch, **engine, **work, seed);
  }
  void SetUp() override {
    if (auto engine = learn::GetEngine(); !engine.ok()) GTEST_SKIP() << engine.status().message();
  }
};

// Over the samples the mean of g^2 is Fisher's information: for scores z with probabilities p the
// diagonal of W2 (diag p - p p^T) W2^T.
TEST_F(OfHidden, IsFishersInformation) {
  const Net n = Make("  output %z");
  const auto w = n.graph->FindValue("w2")->constant()->ToDoubles();
  const auto h = n.values.at("h")->ToDoubles();
  std::vector<double> want(4), got(4);
  for (size_t s = 0; s < kSamples; ++s) {
    double z[3] = {}, p[3], sum = 0;
    for (size_t o = 0; o < 3; ++o) {
      for (size_t i = 0; i < 4; ++i) z[o] += h[s * 4 + i] * w[i * 3 + o];
      sum += p[o] = std::exp(z[o]);
    }
    for (size_t i = 0; i < 4; ++i) {
      double mean = 0, square = 0;
      for (size_t o = 0; o < 3; ++o) {
        mean += p[o] / sum * w[i * 3 + o];
        square += p[o] / sum * w[i * 3 + o] * w[i * 3 + o];
      }
      want[i] += square - mean * mean;
    }
  }
  constexpr int kSeeds = 20;
  for (uint64_t seed = 1; seed <= kSeeds; ++seed) {
    auto importance = Of(n, "h", seed);
    ASSERT_TRUE(importance.ok()) << importance.status().message();
    ASSERT_EQ((*importance)[0].dims(), Dims({kSamples, 4}));
    const auto v = (*importance)[0].ToDoubles();
    double mean = 0;
    for (size_t i = 0; i < v.size(); ++i) {
      EXPECT_GE(v[i], 0.5);
      mean += v[i] / static_cast<double>(v.size());
      got[i % 4] += 2 * v[i] - 1;  // g^2 by its mean
    }
    EXPECT_NEAR(mean, 1, 1e-4);
  }
  const double all_want = want[0] + want[1] + want[2] + want[3],
               all_got = got[0] + got[1] + got[2] + got[3];
  for (size_t i = 0; i < 4; ++i) EXPECT_NEAR(got[i] / all_got, want[i] / all_want, 0.02) << i;
}

// A Softmax behind the scores is the same task.
TEST_F(OfHidden, KnowsSoftmax) {
  auto plain = Of(Make("  output %z")), soft = Of(Make("  %y = Softmax(%z)\n  output %y")),
       log = Of(Make("  %y = LogSoftmax(%z)\n  output %y"));
  ASSERT_TRUE(plain.ok() && soft.ok() && log.ok());
  const auto a = (*plain)[0].ToDoubles(), b = (*soft)[0].ToDoubles(), c = (*log)[0].ToDoubles();
  int otherwise = 0;  // labels drawn from probabilities that differ in their last bits
  for (size_t s = 0; s < kSamples; ++s) {
    const double size = 1e-3 * a[4 * s];
    otherwise += std::fabs(a[4 * s] - b[4 * s]) > size || std::fabs(a[4 * s] - c[4 * s]) > size;
  }
  EXPECT_LE(otherwise, 5);
}

TEST_F(OfHidden, OutputsThatAreNoScores) {
  const Net n = Make(
      "  const %shape: int64[3] = [64, 3, 1]\n  %y = Reshape(%z, %shape)\n"
      "  output %y");
  auto importance = Of(n);
  ASSERT_TRUE(importance.ok()) << importance.status().message();
  // Of a linear map the sums of squares by random signs are those of its columns.
  const auto w = n.graph->FindValue("w2")->constant()->ToDoubles();
  const auto v = (*importance)[0].ToDoubles();
  double want[4] = {}, got[4] = {}, all_want = 0, all_got = 0;
  for (size_t i = 0; i < 4; ++i) {
    for (size_t o = 0; o < 3; ++o)
      all_want += w[i * 3 + o] * w[i * 3 + o], want[i] += w[i * 3 + o] * w[i * 3 + o];
    for (size_t s = 0; s < kSamples; ++s) got[i] += 2 * v[4 * s + i] - 1;
    all_got += got[i];
  }
  for (size_t i = 0; i < 4; ++i) EXPECT_NEAR(got[i] / all_got, want[i] / all_want, 0.06) << i;
  // At the end there is nothing behind: every element counts the same.
  const Net last = Make("  output %h");
  auto same = Of(last);
  ASSERT_TRUE(same.ok()) << same.status().message();
}

}  // namespace
}  // namespace slipway::quant
