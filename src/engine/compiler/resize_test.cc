// A network with upsampling between convolutions: one layout all along, codes where it is
// quantized, bfloat16 where that is asked for, and the upsampled piece of a concatenation written
// in place.

#include <set>

#include "engine/compiler/compiled_test_util.h"
#include "model/passes/pass.h"

namespace slipway::compiler {
namespace {

// Three scales, a feature pyramid's way up (to the nearest, and an addition), and a decoder's
// (linear, and a concatenation).
class Network {
 public:
  // With `codes` all activations are quantized, unsigned and on one scale.
  explicit Network(bool codes) : codes_(codes) {
    text_ =
        "graph \"g\" {\ninput %x: float32[1, 3, 48, 40]\nconst %s: float32[] = [0.02]\n"
        "const %t: float32[] = [0.0004]\nconst %up: float32[4] = [1, 1, 2, 2]\n";
    const std::string x = Kept("%x"), c1 = Conv(x, 3, 16, 3, 2), c2 = Conv(c1, 16, 32, 3, 2),
                      c3 = Conv(c2, 32, 32, 3, 2), p3 = Conv(c3, 32, 32, 1, 1),
                      p2 = Node("Add(" + Conv(c2, 32, 32, 1, 1) + ", " + Up(p3, "nearest") + ")"),
                      s2 = Conv(p2, 32, 32, 3, 1),
                      cat = Node("Concat(" + Up(s2, "linear") + ", " + c1 + ") {axis = 1}"),
                      y = Conv(cat, 48, 16, 3, 1);
    last_ = "v" + std::to_string(next_ - 1);
    text_ += "output " + y + "\n}";
  }
  const std::string& text() const { return text_; }
  const std::string& last() const { return last_; }  // the value that goes out

 private:
  std::string Kept(const std::string& x) {
    if (!codes_) return x;
    text_ += x + "_q = slipway.Quantize(" + x + ", %s) {signed = 0}\n" + x +
             "_d = slipway.Dequantize(" + x + "_q, %s) {signed = 0}\n";
    return x + "_d";
  }
  std::string Node(const std::string& made) {
    const std::string y = "%v" + std::to_string(next_++);
    text_ += y + " = " + made + "\n";
    return Kept(y);
  }
  std::string Up(const std::string& x, const std::string& mode) {
    return Node("Resize(" + x + ", _, %up) {mode = \"" + mode + "\"}");
  }
  std::string Conv(const std::string& x, int in, int out, int k, int stride) {
    const std::string i = std::to_string(next_++), side = std::to_string(k);
    std::string w = "%w" + i;
    text_ += "const " + w + (codes_ ? ": int8[" : ": float32[") + std::to_string(out) + ", " +
             std::to_string(in) + ", " + side + ", " + side + "] = random(" + i + ")\n";
    if (codes_) text_ += w + "_d = slipway.Dequantize(" + w + ", %t)\n";
    const std::string p = std::to_string(k / 2), s = std::to_string(stride);
    text_ += "%c" + i + " = Conv(" + x + ", " + w + (codes_ ? "_d" : "") + ") {pads = [" + p +
             ", " + p + ", " + p + ", " + p + "], strides = [" + s + ", " + s + "]}\n";
    return Node("Relu(%c" + i + ")");
  }

  bool codes_;
  int next_ = 1;
  std::string text_, last_;
};

Tensor Image() {
  Tensor x = *Tensor::Allocate(DType::kFloat32, {1, 3, 48, 40});
  for (int64_t i = 0; i < x.count(); ++i)
    reinterpret_cast<float*>(x.mutable_data())[i] = static_cast<float>(i * 7919 % 1009) / 250;
  return x;
}

// Energy of the difference, as a share.
double Error(const Tensor& got, const Tensor& want) {
  if (got.dims() != want.dims()) return 1;
  double off = 0, all = 0;
  for (int64_t i = 0; i < want.count(); ++i) {
    const double x = got.data<float>()[i], y = want.data<float>()[i];
    off += (x - y) * (x - y);
    all += y * y;
  }
  return all > 0 ? off / all : 1;
}

class CompileResize : public testing::Test {
 protected:
  void SetUp() override {
    if (ThisCpu().arch != "x86_64") GTEST_SKIP() << "skipped: the x86 backend needs x86-64";
  }
  static std::unique_ptr<Compiled> Make(const std::string& platform, const ir::Graph& graph,
                                        int threads) {
    auto p = LoadPlatform(std::string(SLIPWAY_SOURCE_DIR) + "/platforms/" + platform + ".yaml");
    EXPECT_TRUE(p.ok());
    p->backends = {"x86"};
    auto made = Compiled::Make(graph, *p, CompileOptions{}, {}, threads);
    EXPECT_TRUE(made.ok()) << made.status().ToString();
    return made.ok() ? std::move(*made) : nullptr;
  }
  // The steps that resize, by their input's type; the layouts of nothing but the network's ends
  // change.
  static void Expect(const Compiled& compiled, DType type, const std::set<std::string>& ops,
                     format::Layout layout, const std::string& last) {
    const format::PackageData& data = compiled.result().package;
    std::set<std::string> resized;
    for (const format::PackageStep& s : data.steps) {
      const auto tensor = [&](int i) -> const format::PackageTensor& {
        return data.tensors[static_cast<size_t>(i)];
      };
      if (s.op.ends_with("Reorder")) {
        const bool end = s.name.starts_with(last) || tensor(s.inputs[0]).shape[1].Is(3);
        EXPECT_TRUE(end) << s.name << " " << s.kernel;
      }
      if (!s.op.ends_with("Resize")) continue;
      resized.insert(s.op);
      EXPECT_EQ(data.backends[static_cast<size_t>(s.backend)].name, "x86");
      for (int i : {s.inputs[0], s.outputs[0]}) {
        EXPECT_EQ(tensor(i).dtype, type) << s.name;
        EXPECT_EQ(tensor(i).layout, layout) << s.name;
      }
    }
    EXPECT_EQ(resized, ops);
  }
};

TEST_F(CompileResize, FloatsInBlocks) {
  const Network network(false);
  auto graph = Parse(network.text());
  ASSERT_TRUE(graph);
  auto want = interp::Evaluate(*graph, std::vector<Tensor>{Image()});
  ASSERT_TRUE(want.ok());
  for (int threads : {1, 2}) {
    auto compiled = Make("x86", *graph, threads);
    ASSERT_TRUE(compiled);
    Expect(*compiled, DType::kFloat32, {"Resize"},
           HasFeature(CpuFeature::kAvx512) ? format::Layout::kBlocked16 : format::Layout::kBlocked8,
           network.last());
    for (const auto& s : compiled->result().package.steps) EXPECT_NE(s.op, "Concat");
    auto got = compiled->Run({Image()});
    ASSERT_TRUE(got.ok()) << got.status().ToString();
    EXPECT_LT(Error(got->at(0), want->at(0)), 1e-7);
  }
}

TEST_F(CompileResize, CodesAllTheWay) {
  const Network network(true);
  auto graph = Parse(network.text());
  ASSERT_TRUE(graph);
  auto integer = graph->Clone();
  ASSERT_TRUE(passes::RunPasses(*integer, {.level = passes::Level::kInteger}).ok());
  auto want = interp::Evaluate(*integer, std::vector<Tensor>{Image()});
  ASSERT_TRUE(want.ok());
  for (int threads : {1, 2}) {
    auto compiled = Make("x86-int8", *graph, threads);
    ASSERT_TRUE(compiled);
    Expect(*compiled, DType::kUInt8, {"Resize", "slipway.QResize"}, format::Layout::kChannelsLast,
           network.last());
    int conversions = 0;
    for (const auto& s : compiled->result().package.steps) conversions += s.op.ends_with("uantize");
    EXPECT_EQ(conversions, 2) << "at the ends";
    auto got = compiled->Run({Image()});
    ASSERT_TRUE(got.ok()) << got.status().ToString();
    EXPECT_EQ(Different((*got)[0], (*want)[0], true), "");
  }
}

TEST_F(CompileResize, BFloat16) {
  if (!HasFeature(CpuFeature::kAvx512Bf16)) GTEST_SKIP() << "skipped: no AVX512-BF16";
  const Network network(false);
  auto graph = Parse(network.text());
  ASSERT_TRUE(graph);
  auto want = interp::Evaluate(*graph, std::vector<Tensor>{Image()});
  ASSERT_TRUE(want.ok());
  auto compiled = Make("x86-bf16", *graph, 1);
  ASSERT_TRUE(compiled);
  Expect(*compiled, DType::kBFloat16, {"Resize"}, format::Layout::kBlocked16, network.last());
  auto got = compiled->Run({Image()});
  ASSERT_TRUE(got.ok()) << got.status().ToString();
  EXPECT_LT(Error(got->at(0), want->at(0)), 1e-3);
}

}  // namespace
}  // namespace slipway::compiler
