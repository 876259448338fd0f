// Batch, image size and sequence length change between the runs of one session: against the interpreter.

#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>

#include "deploy/model_io.h"
#include "deploy/runner.h"
#include "model/ir/infer.h"
#include "model/ir/text.h"

namespace slipway::deploy {
namespace {

ir::Tensor Waves(const Dims& dims) {
  auto t = ir::Tensor::Allocate(DType::kFloat32, dims);
  for (int64_t i = 0; i < t->count(); ++i)
    reinterpret_cast<float*>(t->mutable_data())[i] = std::sin(0.37f * static_cast<float>(i % 1009));
  return std::move(*t);
}

void ExpectAgrees(std::shared_ptr<const ir::Graph> graph, const std::vector<Dims>& sizes) {
  auto oracle = Runner::ForGraph(graph, "interpreter", {});
  ASSERT_TRUE(oracle.ok()) << oracle.status().ToString();
  for (const char* platform : {"x86", "x86-onednn"}) {
    SCOPED_TRACE(platform);
    auto session = Runner::ForGraph(graph, platform, {});
    ASSERT_TRUE(session.ok()) << session.status().ToString();
    for (const Dims& dims : sizes) {
      SCOPED_TRACE(dims.ToString());
      const ir::Tensor x = Waves(dims);
      auto want = oracle->Run({x});
      auto got = session->Run({x});
      ASSERT_TRUE(want.ok()) << want.status().ToString();
      ASSERT_TRUE(got.ok()) << got.status().ToString();
      ASSERT_EQ((*got)[0].dims().ToString(), (*want)[0].dims().ToString());
      float scale = 0;
      for (int64_t i = 0; i < (*want)[0].count(); ++i)
        scale = std::max(scale, std::fabs((*want)[0].data<float>()[i]));
      for (int64_t i = 0; i < (*want)[0].count(); ++i)
        ASSERT_NEAR((*got)[0].data<float>()[i], (*want)[0].data<float>()[i], 1e-4f * scale + 1e-6f);
    }
  }
}

std::shared_ptr<ir::Graph> Load(const std::string& name) {
  const std::string file = SLIPWAY_SOURCE_DIR "/../shared/data/models/" + name;
  if (!std::filesystem::exists(file)) return nullptr;
  auto graph = LoadModel(file);
  EXPECT_TRUE(graph.ok()) << graph.status().ToString();
  return graph.ok() ? std::move(*graph) : nullptr;
}

TEST(DynamicSizes, BatchOfResNet20) {
  auto graph = Load("resnet20_cifar10.onnx");
  if (!graph) GTEST_SKIP() << "../shared/data is not there";
  ExpectAgrees(graph, {{1, 3, 32, 32}, {5, 3, 32, 32}, {2, 3, 32, 32}, {1, 3, 32, 32}});
}

TEST(DynamicSizes, ImageSizeOfMobileNet) {
  auto graph = Load("mobilenet_v1_025_imagenet.onnx");
  if (!graph) GTEST_SKIP() << "../shared/data is not there";
  graph->inputs()[0]->set_type(
      {DType::kFloat32, SymShape{Dim::Symbol("N"), Dim(3), Dim::Symbol("H"), Dim::Symbol("W")}});
  ir::InferOptions infer;
  infer.forget_declared = true;
  ASSERT_TRUE(ir::InferShapes(*graph, infer).ok());
  ExpectAgrees(graph, {{1, 3, 224, 224}, {1, 3, 96, 160}, {2, 3, 65, 33}, {1, 3, 96, 160}});
}

constexpr char kEncoder[] = R"(graph "encoder" {
  input %x: float32[B, S, 32]
  const %wq: float32[32, 32] = random(1)
  const %wk: float32[32, 32] = random(2)
  const %wv: float32[32, 32] = random(3)
  const %scale: float32[32] = fill(1)
  const %heads: int64[4] = [0, 0, 4, 8]
  const %merge: int64[3] = [0, 0, 32]
  const %root: float32[] = [0.35]
  %a = LayerNormalization(%x, %scale)
  %q0 = MatMul(%a, %wq)
  %k0 = MatMul(%a, %wk)
  %v0 = MatMul(%a, %wv)
  %q1 = Reshape(%q0, %heads)
  %k1 = Reshape(%k0, %heads)
  %v1 = Reshape(%v0, %heads)
  %q = Transpose(%q1) {perm = [0, 2, 1, 3]}
  %k = Transpose(%k1) {perm = [0, 2, 3, 1]}
  %v = Transpose(%v1) {perm = [0, 2, 1, 3]}
  %s0 = MatMul(%q, %k)
  %s1 = Mul(%s0, %root)
  %p = Softmax(%s1)
  %o0 = MatMul(%p, %v)
  %o1 = Transpose(%o0) {perm = [0, 2, 1, 3]}
  %o = Reshape(%o1, %merge)
  %y = Add(%o, %x)
  output %y
})";

TEST(DynamicSizes, SequenceLengthOfAnEncoder) {
  auto graph = ir::ParseText(kEncoder);
  ASSERT_TRUE(graph.ok()) << graph.status().ToString();
  ASSERT_TRUE(ir::InferShapes(**graph).ok());
  ExpectAgrees(std::shared_ptr<ir::Graph>(std::move(*graph)),
               {{1, 5, 32}, {3, 17, 32}, {1, 1, 32}, {2, 64, 32}, {1, 5, 32}});
}

}  // namespace
}  // namespace slipway::deploy
