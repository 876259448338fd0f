// Weights that packages hold as the kernels read them.

#include "engine/backends/x86/run/step.h"
#include "engine/compiler/compiled_test_util.h"

namespace slipway::compiler {
namespace {

using backends::Prepack;
using format::PackageData;
using format::PackageStep;

const char kModel[] = R"(graph "g" {
input %x: float32[1, 32, 28, 28]
const %w: float32[64, 32, 3, 3] = random(1)
const %b: float32[64] = random(2)
%y = Conv(%x, %w, %b) {pads = [1, 1, 1, 1]}
%r = Relu(%y)
const %v: float32[64, 64, 3, 3] = random(3)
%z = Conv(%r, %v) {pads = [1, 1, 1, 1]}
output %z
})";

class CompilePrepack : public testing::Test {
 protected:
  void SetUp() override {
    if (!HasFeature(CpuFeature::kAvx512)) GTEST_SKIP() << "no AVX-512: packs otherwise";
    auto platform = LoadPlatform(std::string(SLIPWAY_SOURCE_DIR) + "/platforms/x86.yaml");
    ASSERT_TRUE(platform.ok()) << platform.status().ToString();
    platform_ = *platform;
    graph_ = Parse(kModel);
    ASSERT_TRUE(graph_);
    x_ = Floats(Dims{1, 32, 28, 28}, -3000);
  }
  Result<std::unique_ptr<Compiled>> Make(Prepack prepack,
                                         const std::function<void(PackageData&)>& change = {}) {
    CompileOptions options;
    options.prepack = prepack;
    return Compiled::Make(*graph_, platform_, options, change);
  }
  static bool IsPacked(const PackageStep& step) {
    auto op = format::DecodeOp(step.blob);
    return op.ok() && op->attributes.Has(backends::x86::kPackedForm);
  }
  static int Packed(const PackageData& package) {
    int count = 0;
    for (const PackageStep& s : package.steps) count += s.backend >= 0 && IsPacked(s);
    return count;
  }

  Platform platform_;
  std::unique_ptr<ir::Graph> graph_;
  Tensor x_;
};

TEST_F(CompilePrepack, SameBitsAndNoOtherWeights) {
  auto none = Make(Prepack::kNone), all = Make(Prepack::kAll);
  ASSERT_TRUE(none.ok()) << none.status().ToString();
  ASSERT_TRUE(all.ok()) << all.status().ToString();
  EXPECT_EQ(Packed((*none)->result().package), 0);
  EXPECT_EQ(Packed((*all)->result().package), 2);
  EXPECT_EQ((*none)->result().package.required_features, 0u);
  EXPECT_TRUE((*all)->result().package.required_features &
              static_cast<uint64_t>(CpuFeature::kAvx512));
  for (const format::PackageTensor& t : (*all)->session().package().data().tensors)
    EXPECT_FALSE(t.kind == format::TensorKind::kConstant && t.shape.size() == 4) << t.name;
  auto want = (*none)->Run({x_}), got = (*all)->Run({x_});
  ASSERT_TRUE(want.ok() && got.ok()) << got.status().ToString();
  EXPECT_EQ(Different((*got)[0], (*want)[0], true), "");
}

// Transformed weights take four times the room of the model's.
TEST_F(CompilePrepack, SameLeavesOutWhatGrows) {
  auto same = Make(Prepack::kSame), all = Make(Prepack::kAll);
  ASSERT_TRUE(same.ok() && all.ok());
  for (const PackageStep& s : (*same)->result().package.steps) {
    EXPECT_FALSE(s.kernel.find("winograd") != std::string::npos && IsPacked(s)) << s.name;
  }
  EXPECT_LT((*same)->result().constant_bytes, (*all)->result().constant_bytes);
}

// Integer convolutions and linear layers, with what the weights' sums add to the bias.
TEST_F(CompilePrepack, Codes) {
  auto platform = LoadPlatform(std::string(SLIPWAY_SOURCE_DIR) + "/platforms/x86-int8.yaml");
  ASSERT_TRUE(platform.ok()) << platform.status().ToString();
  platform_ = *platform;
  const std::string text = R"(graph "g" {
input %x: float32[1, 16, 9, 9]
const %s: float32[] = [0.5]
const %w: float32[24, 16, 3, 3] = random(1)
const %b: float32[24] = random(2)
const %v: float32[24, 40] = random(3)
const %ws: float32[] = [0.02]
%xq = slipway.Quantize(%x, %s)
%xd = slipway.Dequantize(%xq, %s)
%wq = slipway.Quantize(%w, %ws)
%wd = slipway.Dequantize(%wq, %ws)
%y = Conv(%xd, %wd, %b) {pads = [1, 1, 1, 1], strides = [2, 1]}
%yq = slipway.Quantize(%y, %s)
%yd = slipway.Dequantize(%yq, %s)
%p = GlobalAveragePool(%yd)
%f = Flatten(%p)
%fq = slipway.Quantize(%f, %s)
%fd = slipway.Dequantize(%fq, %s)
%vq = slipway.Quantize(%v, %ws)
%vd = slipway.Dequantize(%vq, %ws)
%z = MatMul(%fd, %vd)
output %z
})";
  graph_ = Parse(text);
  ASSERT_TRUE(graph_);
  x_ = Floats(Dims{1, 16, 9, 9}, -160);
  auto none = Make(Prepack::kNone), same = Make(Prepack::kSame);
  ASSERT_TRUE(none.ok()) << none.status().ToString();
  ASSERT_TRUE(same.ok()) << same.status().ToString();
  int packed = 0;
  for (const PackageStep& s : (*same)->result().package.steps) {
    if (s.op != "slipway.QConv" && s.op != "slipway.QLinear") continue;
    EXPECT_TRUE(IsPacked(s)) << s.name << " " << s.kernel;
    ++packed;
  }
  EXPECT_EQ(packed, 2);
  auto want = (*none)->Run({x_}), got = (*same)->Run({x_});
  ASSERT_TRUE(want.ok() && got.ok()) << got.status().ToString();
  EXPECT_EQ(Different((*got)[0], (*want)[0], true), "");
}

// What a damaged or foreign file says is answered by an error.
TEST_F(CompilePrepack, ForeignWeightsAreRefused) {
  struct Case {
    const char* what;
    std::function<void(format::OpDesc&, PackageStep&)> change;
  };
  using namespace backends::x86;
  const Case cases[] = {
      {"compile the model again",
       [](format::OpDesc& op, PackageStep&) { op.attributes.Set(kPackedForm, std::string("x")); }},
      {"needs input 1", [](format::OpDesc& op, PackageStep&) { op.attributes.Erase(kPackedForm); }},
      {"instruction set",
       [](format::OpDesc& op, PackageStep&) { op.attributes.Set(kPackedIsa, int64_t{9}); }},
      {"instruction set",
       [](format::OpDesc& op, PackageStep&) { op.attributes.Set(kPackedIsa, int64_t{-1}); }},
      {"compile the model again",  // the kernels of a smaller instruction set pack otherwise
       [](format::OpDesc& op, PackageStep&) { op.attributes.Set(kPackedIsa, int64_t{0}); }},
      {"description",
       [](format::OpDesc& op, PackageStep&) { op.attributes.Set(kPackedType, int64_t{0}); }},
      {"", [](format::OpDesc& op, PackageStep&) { op.attributes.Set(kPackedType, int64_t{7}); }},
      {"", [](format::OpDesc& op, PackageStep&) { op.attributes.Erase(kPackedDims); }},
      {"impossible",
       [](format::OpDesc& op, PackageStep&) {
         op.attributes.Set(kPackedDims, std::vector<int64_t>{64, -32, 3, 3});
       }},
      {"",
       [](format::OpDesc& op, PackageStep&) {
         op.attributes.Set(kPackedDims, std::vector<int64_t>{64, 32, 3, int64_t{1} << 60});
       }},
      {"compile the model again",  // of other bytes
       [](format::OpDesc& op, PackageStep&) {
         op.attributes.Set("kernel", std::string("Conv:nchw16c-winograd2x2"));
       }},
      {"no constant bytes", [](format::OpDesc&, PackageStep& s) { s.inputs.back() = s.inputs[0]; }},
      {"no constant bytes", [](format::OpDesc&, PackageStep& s) { s.inputs.push_back(-1); }},
      {"", [](format::OpDesc&, PackageStep& s) { s.inputs.pop_back(); }},
      {"description", [](format::OpDesc&, PackageStep& s) { s.inputs[1] = s.inputs[0]; }},
      // An operator whose kernel would read weights that are not there.
      {"",
       [](format::OpDesc& op, PackageStep&) {
         op.domain = "";
         op.op = "Add";
         op.attributes.Set(kPackedDims, std::vector<int64_t>{1, 64, 1, 1});
       }},
  };
  for (size_t i = 0; i < std::size(cases); ++i) {
    SCOPED_TRACE(i);
    bool changed = false;
    auto made = Make(Prepack::kAll, [&](PackageData& package) {
      for (PackageStep& s : package.steps) {
        if (changed || s.backend < 0 || !IsPacked(s)) continue;
        auto op = format::DecodeOp(s.blob);
        ASSERT_TRUE(op.ok());
        cases[i].change(*op, s);
        s.blob = format::EncodeOp(*op);
        changed = true;
      }
    });
    EXPECT_TRUE(changed);
    ASSERT_FALSE(made.ok());
    EXPECT_NE(made.status().message().find(cases[i].what), std::string::npos)
        << made.status().ToString();
  }
}

}  // namespace
}  // namespace slipway::compiler
