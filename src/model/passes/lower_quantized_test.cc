#include "model/passes/pass_test_util.h"

namespace slipway::passes {
namespace {

// Runs the integer level and compares with the QDQ graph: codes may differ by one step (the float
// graph rounds twice), and few of them. `layers` that follow each other pass differences on.
std::unique_ptr<Graph> Lower(const std::string& text,
                             PassOptions options = {.level = Level::kInteger}, int layers = 1) {
  auto before = Parse(text);
  auto after = before->Clone();
  options.verify_each = true;
  auto reports = RunPasses(*after, options);
  EXPECT_TRUE(reports.ok()) << reports.status().ToString();
  uint32_t seed = std::random_device{}();
  SCOPED_TRACE("seed " + std::to_string(seed));
  Tensors inputs = RandomInputs(*before, seed);
  auto expected = Run(*before, inputs), actual = Run(*after, inputs);
  EXPECT_TRUE(expected.ok() && actual.ok()) << actual.status().ToString() << ir::ToText(*after);
  if (!expected.ok() || !actual.ok()) return after;
  for (const auto& [name, e] : *expected) {
    const Tensor& a = (*actual)[name];
    EXPECT_EQ(e.dtype(), a.dtype());
    EXPECT_EQ(e.dims(), a.dims());
    std::vector<double> x = e.ToDoubles(), y = a.ToDoubles();
    if (e.dtype() == DType::kFloat32) {
      EXPECT_LE(MaxRelativeError({{name, e}}, {{name, a}}), 5e-4);  // the bias is rounded
      continue;
    }
    size_t different = 0;
    for (size_t i = 0; i < x.size(); ++i) {
      EXPECT_LE(std::abs(x[i] - y[i]), layers) << name << " element " << i;
      different += x[i] != y[i];
    }
    EXPECT_LE(different, 2 + x.size() * static_cast<size_t>(layers) / 50) << name << "\n"
                                                                          << ir::ToText(*after);
  }
  return after;
}

std::string Ops(const Graph& graph) {
  std::string ops;
  for (const auto& node : graph.nodes()) ops += (ops.empty() ? "" : " ") + node->op();
  return ops;
}

constexpr char kConstants[] = R"(
      const %s: float32[] = fill(0.02)
      const %t: float32[] = fill(0.03)
      const %u: float32[] = fill(0.0117)
      const %z: uint8[] = fill(120)
      const %zero: uint8[] = fill(0)
      const %w: int8[4, 4, 3, 3] = iota
      const %ws: float32[4] = [0.001, 0.002, 0.0005, 0.0015]
      const %b: float32[4] = [0.5, -0.25, 1, 0.1]
      const %bq: int32[4] = [5000, -3000, 20000, 100]
      const %bs: float32[4] = [0.00002, 0.00004, 0.00001, 0.00003]
      const %six: float32[] = fill(6)
      const %nil: float32[] = fill(0)
      %dw = slipway.Dequantize(%w, %ws) {axis = 0}
      %db = slipway.Dequantize(%bq, %bs) {axis = 0, bits = 32}
)";

std::string G(const std::string& body) { return "graph \"g\" {\n" + body + "\n}"; }

TEST(LowerQuantized, WeightsAroundAZeroPoint) {
  const std::string head = R"(
      input %x: float32[3, 4])" +
                           std::string(kConstants) + R"(
      const %uw: uint8[4, 2] = [120, 131, 140, 90, 131, 131, 200, 3]
      const %uz: uint8[] = fill(ZERO)
      const %us: float32[] = fill(0.01)
      %qx = slipway.Quantize(%x, %s, %z) {signed = 0}
      %dx = slipway.Dequantize(%qx, %s, %z) {signed = 0}
      %du = slipway.Dequantize(%uw, %us, %uz) {signed = 0}
      %m = MatMul(%dx, %du)
      %q = slipway.Quantize(%m, %t, %z) {signed = 0}
      output %q
  )";
  auto with = [&](const char* zero, bool wide = false) {
    std::string text = head;
    text.replace(text.find("ZERO"), 4, zero);
    return Ops(*Lower(G(text), {.level = Level::kInteger, .wide_codes = wide}));
  };
  EXPECT_EQ(with("131"), "Quantize QLinear");
  // 200 - 60 is no int8: the product stays in float, unless int16 is asked for.
  EXPECT_EQ(with("60").find("QLinear"), std::string::npos);
  EXPECT_EQ(with("60", true), "Quantize QLinear");
}

TEST(LowerQuantized, CodesOfSixteenBits) {
  const std::string text = G(R"(
      input %x: float32[2, 4, 6, 6])" +
                             std::string(kConstants) + R"(
      const %ts: float32[] = fill(0.0001)
      const %tz: uint16[] = fill(30000)
      const %one: int8[4, 4, 1, 1] = [1, -2, 3, 4, 5, 6, 7, 8, -9, 10, 11, 12, 13, -14, 15, 16]
      %qx = slipway.Quantize(%x, %ts, %tz) {signed = 0, bits = 16}
      %dx = slipway.Dequantize(%qx, %ts, %tz) {signed = 0, bits = 16}
      %d1 = slipway.Dequantize(%one, %ws) {axis = 0}
      %c = Conv(%dx, %d1, %b)
      %r = Relu(%c)
      %qr = slipway.Quantize(%r, %ts, %tz) {signed = 0, bits = 16}
      %dr = slipway.Dequantize(%qr, %ts, %tz) {signed = 0, bits = 16}
      %g = GlobalAveragePool(%dr)
      %q = slipway.Quantize(%g, %ts, %tz) {signed = 0, bits = 16}
      output %q
  )");
  EXPECT_EQ(Ops(*Lower(text, {.level = Level::kInteger, .wide_codes = true}, 1)),
            "Quantize QConv QAveragePool");
  EXPECT_EQ(Ops(*Lower(text, {.level = Level::kInteger}, 1)).find("QConv"), std::string::npos);
}

TEST(LowerQuantized, ConvChainInPyTorchForm) {
  auto made = Lower(G(R"(
      input %x: float32[2, 4, 6, 6])" +
                      std::string(kConstants) + R"(
      %qx = slipway.Quantize(%x, %s, %z) {signed = 0}
      %dx = slipway.Dequantize(%qx, %s, %z) {signed = 0}
      %c = Conv(%dx, %dw, %b) {pads = [1, 1, 1, 1]}
      %r = Relu(%c)
      %qr = slipway.Quantize(%r, %t, %zero) {signed = 0}
      %dr = slipway.Dequantize(%qr, %t, %zero) {signed = 0}
      %d = Conv(%dr, %dw, %db) {pads = [1, 1, 1, 1]}
      %a = Add(%d, %dx)
      %k = Clip(%a, %nil, %six)
      %qa = slipway.Quantize(%k, %u, %zero) {signed = 0}
      %y = slipway.Dequantize(%qa, %u, %zero) {signed = 0}
      output %qa)"),
                    {.level = Level::kInteger}, 2);
  EXPECT_EQ(Ops(*made), "Quantize QConv QConv");
  const Node* second = made->nodes().back().get();
  EXPECT_EQ(second->attributes.Int("q_max", 0), 255);  // 6 / 0.0117 is beyond the codes
  EXPECT_EQ(second->attributes.Int("q_min", -1), 0);
  EXPECT_FLOAT_EQ(second->attributes.Float("z_multiplier", 0), 0.02f / 0.0117f);
  // The int32 bias comes through as it is.
  EXPECT_EQ(second->constant_input(3)->ToInts(), (std::vector<int64_t>{3333, -2000, 13333, 67}));
}

TEST(LowerQuantized, BiasCodesOfTheRightScaleComeThrough) {
  auto made = Lower(G("input %q: uint8[1, 4, 6, 6]" + std::string(kConstants) + R"(
      %dx = slipway.Dequantize(%q, %s, %z) {signed = 0}
      %d = Conv(%dx, %dw, %db) {pads = [1, 1, 1, 1]}
      %y = slipway.Quantize(%d, %t, %z) {signed = 0}
      output %y)"));
  ASSERT_EQ(Ops(*made), "QConv");
  EXPECT_EQ(made->nodes().front()->constant_input(3)->ToInts(),
            (std::vector<int64_t>{5000, -3000, 20000, 100}));
  float m = static_cast<float>(static_cast<double>(0.02f) * 0.0005f / 0.03f);
  EXPECT_EQ(made->nodes().front()->constant_input(2)->ToDoubles()[2], m);
}

TEST(LowerQuantized, SignedReluClampsAtTheZeroPoint) {
  auto made = Lower(G("input %q: int8[1, 4, 6, 6]" + std::string(kConstants) + R"(
      const %m: int8[] = fill(-20)
      %dx = slipway.Dequantize(%q, %s)
      %d = Conv(%dx, %dw)
      %r = Relu(%d)
      %y = slipway.Quantize(%r, %t, %m)
      output %y)"));
  ASSERT_EQ(Ops(*made), "QConv");
  EXPECT_EQ(made->nodes().front()->attributes.Int("q_min", 0), -20);
  EXPECT_EQ(made->nodes().front()->attributes.Int("q_max", 0), 127);
}

TEST(LowerQuantized, OtherActivationsAreTakenAlong) {
  auto made = Lower(G("input %q: uint8[1, 4, 6, 6]" + std::string(kConstants) + R"(
      %dx = slipway.Dequantize(%q, %s, %z) {signed = 0}
      %c = Conv(%dx, %dw, %b)
      %h = HardSwish(%c)
      %y = slipway.Quantize(%h, %t, %z) {signed = 0}
      %f = Conv(%dx, %dw)
      output %y
      output %f)"));
  ASSERT_EQ(Ops(*made), "QConv QConv");
  const ir::Node* h = made->nodes().front().get();
  EXPECT_EQ(h->attributes.String("activation", ""), "HardSwish");
  EXPECT_EQ(h->attributes.Float("y_multiplier", 0), static_cast<float>(1.0 / 0.03f));
  EXPECT_EQ(h->output()->dtype(), DType::kUInt8);
  // In real units: the scale of the output comes behind the activation.
  EXPECT_FLOAT_EQ(static_cast<float>(h->constant_input(2)->ToDoubles()[2]), 0.02f * 0.0005f);
  // As float where no Quantize follows.
  made = Lower(G("input %q: uint8[1, 4, 6, 6]" + std::string(kConstants) + R"(
      %dx = slipway.Dequantize(%q, %s, %z) {signed = 0}
      %c = Conv(%dx, %dw, %b)
      %y = Sigmoid(%c)
      output %y)"));
  ASSERT_EQ(Ops(*made), "QConv");
  EXPECT_EQ(made->nodes().front()->attributes.String("activation", ""), "Sigmoid");
  EXPECT_EQ(made->nodes().front()->output()->dtype(), DType::kFloat32);
}

TEST(LowerQuantized, LinearInEveryForm) {
  const std::string head = R"(
      input %q: uint8[3, 8]
      const %s: float32[] = fill(0.02)
      const %z: uint8[] = fill(120)
      const %w: int8[8, 4] = iota
      const %ws: float32[4] = [0.0101, 0.0203, 0.0053, 0.0157]
      const %b: float32[4] = [0.5, -0.25, 1, 0.1]
      %x = slipway.Dequantize(%q, %s, %z) {signed = 0}
)";
  for (const char* body :
       {"%d = slipway.Dequantize(%w, %ws) {axis = 1} %m = MatMul(%x, %d) %v = Add(%m, %b)",
        "%d = slipway.Dequantize(%w, %ws) {axis = 1} %v = Gemm(%x, %d, %b)",
        "const %wt: int8[4, 8] = iota  %d = slipway.Dequantize(%wt, %ws) {axis = 0} %v = Gemm(%x, "
        "%d, %b) {transB = 1}",
        "const %wt: int8[4, 8] = iota  %d = slipway.Dequantize(%wt, %ws) {axis = 0}"
        " %t = Transpose(%d) {perm = [1, 0]} %v = MatMul(%x, %t)",
        "const %wf: float32[8, 4] = random(3) %i = slipway.Quantize(%wf, %s) %d = "
        "slipway.Dequantize(%i, %s)"
        " %v = MatMul(%x, %d)",
        "const %wu: uint8[8, 4] = iota %d = slipway.Dequantize(%wu, %s, %wz) {signed = 0} %v = "
        "MatMul(%x, %d)"}) {
    std::string text = head + "const %wz: uint8[] = fill(128)\n" + body;
    auto made = Lower(G(text + "\n %y = slipway.Quantize(%v, %s, %z) {signed = 0}\n output %y"));
    EXPECT_EQ(Ops(*made), "QLinear") << body;
    made = Lower(G(text + "\n output %v"));
    EXPECT_EQ(Ops(*made), "QLinear") << body;
    // Without the fusions too: bare ONNX operators.
    made = Lower(G(text + "\n %y = slipway.Quantize(%v, %s, %z) {signed = 0}\n output %y"),
                 {.level = Level::kInteger, .disabled = {"fuse-linear", "fuse-conv"}});
    EXPECT_EQ(CountOps(*made)["slipway.QLinear"], 1) << body;
  }
}

TEST(LowerQuantized, ElementwiseAndPooling) {
  const std::string head = R"(
      input %a: uint8[2, 3, 4, 4]
      input %b: int8[2, 3, 4, 4]
      const %s: float32[] = fill(0.02)
      const %t: float32[] = fill(0.03)
      const %u: float32[] = fill(0.0437)
      const %z: uint8[] = fill(120)
      const %i: int8[] = fill(-7)
      %x = slipway.Dequantize(%a, %s, %z) {signed = 0}
      %y = slipway.Dequantize(%b, %t, %i)
)";
  auto test = [&](const std::string& body, const std::string& ops) {
    auto made = Lower(G(head + body + "\n %o = slipway.Quantize(%v, %u, %i)\n output %o"));
    EXPECT_EQ(Ops(*made), ops) << body;
  };
  test("%v = Add(%x, %y)", "QAdd");
  test("%n = Add(%x, %y) %v = Relu(%n)", "QAdd");
  test("%v = Mul(%y, %x)", "QMul");
  test("%v = GlobalAveragePool(%x)", "QAveragePool");
  test("const %axes: int64[2] = [2, 3] %v = ReduceMean(%x, %axes)", "QAveragePool");
  test("%v = AveragePool(%y) {kernel_shape = [3, 3], pads = [1, 1, 1, 1], count_include_pad = 1}",
       "QAveragePool");
  test("%v = AveragePool(%y) {kernel_shape = [3, 3], pads = [1, 1, 1, 1]}", "QAveragePool");
  test("%v = Concat(%x, %y) {axis = 1}", "QRescale QRescale Concat");
  test("%v = Gelu(%x)", "QLookup");
  test("%e = Tanh(%y) %k = Mul(%e, %u) %v = Sigmoid(%k)", "QLookup");
  test("%v = MaxPool(%x) {kernel_shape = [2, 2]}", "MaxPool QRescale");
  const std::string twice = "const %up: float32[4] = [1, 1, 2, 2] %v = Resize(%x, _, %up) ";
  test(twice + "{mode = \"linear\"}", "QResize");
  test(twice + "{mode = \"linear\", coordinate_transformation_mode = \"align_corners\"}",
       "QResize");
  test(
      "const %to: int64[2] = [3, 7] %n = Resize(%y, _, _, %to) {axes = [2, 3], mode = \"cubic\", "
      "antialias = 1} %v = Relu(%n)",
      "QResize");
  test(twice, "Resize QRescale");
}

// An upsampling between two convolutions: codes all the way.
TEST(LowerQuantized, UpsamplingBetweenConvolutions) {
  // Between codes lie quarters, so half of the ways are ties: scales of powers of two keep them
  // ties in the float graph too, which then rounds as the integers do.
  for (const auto& [mode, op] : {std::pair("nearest", "Resize"), std::pair("linear", "QResize")}) {
    for (const char* scale : {"%p", "%o"}) {
      const std::string text =
          std::string(kConstants) + "input %q: uint8[1, 4, 6, 5]\n" +
          "const %up: float32[4] = [1, 1, 2, 2]\nconst %p: float32[] = fill(0.03125)\n" +
          "const %o: float32[] = fill(0.0625)\n" +
          "%x = slipway.Dequantize(%q, %s, %z) {signed = 0}\n" +
          "%c = Conv(%x, %dw) {pads = [1, 1, 1, 1]}\n%r = Relu(%c)\n" +
          "%rq = slipway.Quantize(%r, %p, %zero) {signed = 0}\n" +
          "%rd = slipway.Dequantize(%rq, %p, %zero) {signed = 0}\n" +
          "%w2 = Resize(%rd, _, %up) {mode = \"" + mode + "\"}\n" + "%wq = slipway.Quantize(%w2, " +
          scale + ", %zero) {signed = 0}\n" + "%wd = slipway.Dequantize(%wq, " + scale +
          ", %zero) {signed = 0}\n" + "%d = Conv(%wd, %dw) {pads = [1, 1, 1, 1]}\n" +
          "%y = slipway.Quantize(%d, %u, %z) {signed = 0}\n output %y";
      auto made = Lower(G(text), {.level = Level::kInteger}, 2);
      const bool rescaled = std::string(mode) == "nearest" && std::string(scale) == "%o";
      EXPECT_EQ(Ops(*made), std::string("QConv ") + op + (rescaled ? " QRescale QConv" : " QConv"))
          << scale;
    }
  }
}

TEST(LowerQuantized, LeavesWhatTheContractCannotSay) {
  const std::string head = R"(
      input %q: uint8[3, 8]
      input %p: uint8[8, 4]
      const %s: float32[] = fill(0.02)
      const %z: uint8[] = fill(120)
      const %w: int8[8, 4] = iota
      const %ws: float32[4] = [0.0101, 0.0203, 0.0053, 0.0157]
      const %kz: int8[4] = [-128, 0, 0, 0]
      const %ks: float32[8] = [1, 1, 1, 1, 1, 1, 1, 1]
      const %wide: int16[8, 4] = iota
      const %huge: float32[4] = [1e9, 0, 0, 0]
      %x = slipway.Dequantize(%q, %s, %z) {signed = 0}
)";
  for (const char* body :
       {// weights that do not fit int8 around their zero point
        "%d = slipway.Dequantize(%w, %ws, %kz) {axis = 1} %v = MatMul(%x, %d)",
        // scales along the wrong axis
        "%d = slipway.Dequantize(%w, %ks) {axis = 0} %v = MatMul(%x, %d)",
        // 16-bit weights
        "%d = slipway.Dequantize(%wide, %ws) {axis = 1, bits = 16} %v = MatMul(%x, %d)",
        // a bias beyond int32
        "%d = slipway.Dequantize(%w, %ws) {axis = 1} %v = Gemm(%x, %d, %huge)",
        // weights that are no constants
        "%d = slipway.Dequantize(%p, %s, %z) {signed = 0} %v = MatMul(%x, %d)"}) {
    auto made =
        Lower(G(head + body + "\n %y = slipway.Quantize(%v, %s, %z) {signed = 0}\n output %y"),
              {.level = Level::kInteger, .disabled = {"lower-matmul"}});
    auto ops = CountOps(*made);
    EXPECT_EQ(ops["slipway.QLinear"], 0) << body;
    EXPECT_EQ(ops["slipway.Linear"] + ops["MatMul"], 1) << body;
  }
}

}  // namespace
}  // namespace slipway::passes
