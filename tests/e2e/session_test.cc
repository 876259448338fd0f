// One session of one package under changing batches, and many sessions at once, through the C
// interface.

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <thread>

#include "deploy/model_io.h"
#include "deploy/runner.h"
#include "model/ir/text.h"

namespace slipway::deploy {
namespace {

std::string Source(const std::string& path) {
  const char* root = std::getenv("SLIPWAY_SOURCE_DIR");
  return std::string(root ? root : SLIPWAY_SOURCE_DIR) + "/" + path;
}

std::shared_ptr<const ir::Graph> Fashion() {
  auto graph = LoadModel(Source("examples/fashion_mnist/resnet_fashion.onnx"));
  EXPECT_TRUE(graph.ok()) << graph.status().ToString();
  return graph.ok() ? std::shared_ptr<const ir::Graph>(std::move(*graph)) : nullptr;
}

std::vector<ir::Tensor> Inputs(const Runner& oracle, int64_t batch, uint64_t seed) {
  std::vector<int64_t> dims;
  for (const Dim& d : *oracle.inputs()[0].type.shape) dims.push_back(d.known() ? d.value() : 1);
  dims[0] = batch;
  auto inputs = MakeInputs(oracle.inputs(), {}, {{oracle.inputs()[0].name, dims}}, true, seed);
  EXPECT_TRUE(inputs.ok()) << inputs.status().ToString();
  return inputs.ok() ? *inputs : std::vector<ir::Tensor>{};
}

void ExpectNear(const ir::Tensor& got, const ir::Tensor& want, const std::string& label) {
  ASSERT_EQ(got.dims().ToString(), want.dims().ToString()) << label;
  float low = want.data<float>()[0], high = low;
  for (int64_t i = 0; i < want.count(); ++i) {
    low = std::min(low, want.data<float>()[i]);
    high = std::max(high, want.data<float>()[i]);
  }
  for (int64_t i = 0; i < want.count(); ++i) {
    ASSERT_NEAR(got.data<float>()[i], want.data<float>()[i], 1e-4f * (high - low))
        << label << " element " << i;
  }
}

class Sessions : public testing::TestWithParam<const char*> {};

TEST_P(Sessions, BatchChangesWithinOneSession) {
  auto graph = Fashion();
  ASSERT_TRUE(graph);
  auto oracle = Runner::ForGraph(graph, "interpreter", {.threads = 2});
  ASSERT_TRUE(oracle.ok()) << oracle.status().ToString();
  auto runner = Runner::ForGraph(graph, GetParam(), {});
  ASSERT_TRUE(runner.ok()) << runner.status().ToString();
  uint64_t seed = 0;
  for (int64_t batch : {1, 5, 1, 2, 5}) {
    auto inputs = Inputs(*oracle, batch, ++seed);
    auto want = oracle->Run(inputs);
    auto got = runner->Run(inputs);
    ASSERT_TRUE(want.ok()) << want.status().ToString();
    ASSERT_TRUE(got.ok()) << got.status().ToString();
    ExpectNear((*got)[0], (*want)[0], "batch " + std::to_string(batch));
  }
}

// Packed integers, FP8 and FP4 as inputs, outputs and between steps.
TEST_P(Sessions, SmallElementTypes) {
  auto parsed = ir::ParseText(R"(graph "g" {
    input %x: float32[3, 5]
    input %p: int4[3, 5]
    const %s: float32[] = fill(0.5)
    %q = slipway.Quantize(%x, %s) {bits = 4}
    %c = Cast(%q) {to = 22}
    %t = Transpose(%p)
    %w = Cast(%t) {to = 1}
    %e = slipway.Quantize(%x, %s) {kind = "float8e4m3fn"}
    %f = slipway.Quantize(%x, %s) {kind = "float4e2m1", bits = 4}
    %d = slipway.Dequantize(%f, %s) {kind = "float4e2m1", bits = 4}
    output %c
    output %t
    output %w
    output %e
    output %f
    output %d
  })");
  ASSERT_TRUE(parsed.ok()) << parsed.status().ToString();
  std::shared_ptr<const ir::Graph> graph(std::move(*parsed));
  std::vector<float> x;
  for (int i = 0; i < 15; ++i) x.push_back(0.3f * static_cast<float>(i) - 2);
  auto packed = ir::Tensor::Allocate(DType::kInt4, {3, 5});
  ASSERT_TRUE(packed.ok());
  for (size_t i = 0; i < packed->bytes().size(); ++i)
    packed->mutable_data()[i] = static_cast<uint8_t>(i + 1 < packed->bytes().size() ? 37 * i : 9);
  const std::vector<ir::Tensor> inputs{ir::Tensor::Of<float>({3, 5}, x), *packed};
  auto oracle = Runner::ForGraph(graph, "interpreter", {});
  auto runner = Runner::ForGraph(graph, GetParam(), {});
  ASSERT_TRUE(oracle.ok()) << oracle.status().ToString();
  ASSERT_TRUE(runner.ok()) << runner.status().ToString();
  auto want = oracle->Run(inputs), got = runner->Run(inputs);
  ASSERT_TRUE(want.ok()) << want.status().ToString();
  ASSERT_TRUE(got.ok()) << got.status().ToString();
  for (size_t i = 0; i < want->size(); ++i) {
    EXPECT_EQ((*got)[i].dtype(), (*want)[i].dtype());
    EXPECT_EQ((*got)[i].ToDoubles(), (*want)[i].ToDoubles()) << "output " << i;
  }
}

TEST_P(Sessions, ErrorsLeaveASessionUsable) {
  auto graph = Fashion();
  ASSERT_TRUE(graph);
  auto runner = Runner::ForGraph(graph, GetParam(), {});
  ASSERT_TRUE(runner.ok()) << runner.status().ToString();
  auto good = Inputs(*runner, 2, 1);
  auto before = runner->Run(good);
  ASSERT_TRUE(before.ok()) << before.status().ToString();
  auto wrong = ir::Tensor::Allocate(DType::kFloat32, {2, 7, 28, 28});
  ASSERT_TRUE(wrong.ok());
  auto refused = runner->Run({*wrong});
  ASSERT_FALSE(refused.ok());
  EXPECT_EQ(refused.status().code(), StatusCode::kInvalidArgument) << refused.status().ToString();
  EXPECT_FALSE(runner->Run({}).ok());
  auto after = runner->Run(good);
  ASSERT_TRUE(after.ok()) << after.status().ToString();
  ExpectNear((*after)[0], (*before)[0], "after an error");
}

TEST_P(Sessions, ManyAtOnce) {
  auto graph = Fashion();
  ASSERT_TRUE(graph);
  auto platform = GetPlatform(GetParam());
  ASSERT_TRUE(platform.ok()) << platform.status().ToString();
  auto compiled = CompileModel(*graph, *platform, {});
  ASSERT_TRUE(compiled.ok()) << compiled.status().ToString();
  auto session = Session::FromBytes(compiled->bytes);
  ASSERT_TRUE(session.ok()) << session.status().ToString();
  auto oracle = Runner::ForGraph(graph, "interpreter", {.threads = 2});
  ASSERT_TRUE(oracle.ok()) << oracle.status().ToString();
  constexpr int kThreads = 4;
  std::vector<std::vector<ir::Tensor>> inputs, want;
  for (int i = 0; i < kThreads; ++i) {
    inputs.push_back(Inputs(*oracle, 1 + i, static_cast<uint64_t>(i + 1)));
    auto out = oracle->Run(inputs.back());
    ASSERT_TRUE(out.ok());
    want.push_back(*out);
  }
  std::vector<std::string> errors(kThreads);
  std::vector<std::vector<ir::Tensor>> got(kThreads);
  std::vector<std::thread> threads;
  for (int i = 0; i < kThreads; ++i) {
    threads.emplace_back([&, i] {
      auto own = session->Another({});
      if (!own.ok()) {
        errors[i] = own.status().ToString();
        return;
      }
      for (int run = 0; run < 3 && errors[i].empty(); ++run) {
        auto out = own->Run(inputs[i]);
        if (out.ok()) {
          got[i] = *out;
        } else {
          errors[i] = out.status().ToString();
        }
      }
    });
  }
  for (auto& t : threads) t.join();
  for (int i = 0; i < kThreads; ++i) {
    ASSERT_EQ(errors[i], "");
    ExpectNear(got[i][0], want[i][0], "session " + std::to_string(i));
  }
}

std::vector<const char*> Platforms() {
  std::vector<const char*> all{"reference", "x86-onednn", "x86"};
  // Where SLIPWAY_BACKENDS has it: on a test double (docs/tensorrt.md).
  if (std::getenv("SLIPWAY_TEST_TENSORRT")) all.push_back("x86-tensorrt");
  return all;
}
std::string NameOf(const testing::TestParamInfo<const char*>& info) {
  std::string name = info.param;
  std::replace(name.begin(), name.end(), '-', '_');
  return name;
}
INSTANTIATE_TEST_SUITE_P(Platforms, Sessions, testing::ValuesIn(Platforms()), NameOf);

}  // namespace
}  // namespace slipway::deploy
