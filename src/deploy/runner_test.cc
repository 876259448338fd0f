#include "deploy/runner.h"

#include <gtest/gtest.h>

#include "model/ir/text.h"

namespace slipway::deploy {
namespace {

using ir::Tensor;

std::vector<Runner::Port> Ports() {
  std::vector<Runner::Port> ports;
  for (const auto& [name, type] :
       std::vector<std::pair<std::string, std::string>>{{"x", "float32[N, 2]"},
                                                        {"s", "seq(float32[K])"},
                                                        {"o", "optional(int64[])"},
                                                        {"p", "optional(seq(float32[2]))"}})
    ports.push_back({name, *ir::ParseTypeText(type)});
  return ports;
}

TEST(MakeInputs, SequencesComeTensorByTensor) {
  const Tensor a = Tensor::Vector<float>({1, 2}), b = Tensor::Vector<float>({3});
  auto made = MakeInputs(Ports(),
                         {{"x", Tensor::Of<float>({1, 2}, std::vector<float>{1, 2})},
                          {"s.0", a},
                          {"s.1", b},
                          {"o", Tensor::Scalar<int64_t>(5)},
                          {"p.0", a}},
                         {}, false);
  ASSERT_TRUE(made.ok()) << made.status().message();
  EXPECT_EQ((*made)[1].Describe(), "a sequence of 2 float32 tensors");
  EXPECT_EQ((*made)[1].items()[1].dims().ToString(), "[1]");
  EXPECT_EQ((*made)[2].Describe(), "an optional of int64[]");
  EXPECT_EQ((*made)[3].Describe(), "an optional of a sequence of 1 float32 tensors");
}

TEST(MakeInputs, RandomOnesOfEveryKind) {
  auto made = MakeInputs(Ports(), {}, {{"x", {3, 2}}}, true);
  ASSERT_TRUE(made.ok()) << made.status().message();
  EXPECT_EQ((*made)[0].Describe(), "float32[3, 2]");
  EXPECT_EQ((*made)[1].Describe(), "a sequence of 2 float32 tensors");
  EXPECT_EQ((*made)[2].Describe(), "an optional of int64[]");
  EXPECT_EQ((*made)[3].Describe(), "an optional of a sequence of 2 float32 tensors");
}

TEST(MakeInputs, SaysWhatIsMissing) {
  const Tensor x = Tensor::Of<float>({1, 2}, std::vector<float>{1, 2});
  const auto error = [](const std::map<std::string, Tensor>& given) {
    auto made = MakeInputs(Ports(), given, {}, false);
    return made.ok() ? std::string("none") : made.status().message();
  };
  EXPECT_NE(error({{"x", x}}).find("input 's' is missing; give --input s.0=FILE.npy"),
            std::string::npos);
  // A gap: what comes behind it belongs to nothing.
  EXPECT_NE(error({{"x", x}, {"s.1", x}}).find("the model has no input 's.1'"), std::string::npos);
  EXPECT_NE(error({{"x", x}, {"s.0", x}, {"s.1", Tensor::Scalar<int64_t>(1)}})
                .find("input 's': a sequence of float32 tensors cannot hold int64[]"),
            std::string::npos);
}

TEST(MakeInputs, FailuresNameSizesThatWereAssumed) {
  const ir::Type type{DType::kFloat32,
                      SymShape{Dim::Symbol("N"), Dim(3), Dim::Symbol("H"), Dim::Symbol("W")}};
  const std::vector<Runner::Port> ports = {{"x", type}};
  const Status failed = InvalidArgument("no room");
  EXPECT_EQ(WithAssumedSizes(failed, ports, {}, {}).message(),
            "no room; sizes of input 'x' (H, W) were not given and became 1: give them, as in --shape "
            "x=1,3,64,64");
  EXPECT_EQ(WithAssumedSizes(failed, ports, {}, {{"x", {1, 3, 8, 8}}}).message(), "no room");
  const Tensor x = Tensor::Of<float>({1, 3, 1, 1}, std::vector<float>{1, 2, 3});
  EXPECT_EQ(WithAssumedSizes(failed, ports, {{"x", x}}, {}).message(), "no room");
  EXPECT_EQ(WithAssumedSizes(Internal("a fault"), ports, {}, {}).message(), "a fault");
  const std::vector<Runner::Port> batch = {{"x", {DType::kFloat32, SymShape{Dim::Symbol("N")}}}};
  EXPECT_EQ(WithAssumedSizes(failed, batch, {}, {}).message(), "no room");
}

}  // namespace
}  // namespace slipway::deploy
