// Bodies, sequences and optionals, out to ONNX and back; and operators with bodies that only files
// have.

#include "model/frontends/onnx/bodies.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

#include "model/frontends/onnx/export.h"
#include "model/frontends/onnx/import.h"
#include "model/frontends/onnx/proto.h"
#include "model/frontends/onnx/test_case.h"
#include "model/frontends/onnx/test_model.h"
#include "model/frontends/onnx/value_proto.h"
#include "model/interp/interpreter.h"
#include "model/ir/infer.h"
#include "model/ir/text.h"
#include "model/ir/verify.h"

namespace slipway::onnx {
namespace {

using ir::Container;
using ir::Graph;
using ir::Tensor;
namespace fs = std::filesystem;

std::unique_ptr<Graph> Parse(const std::string& body) {
  auto g = ir::ParseText("graph \"t\" {\n" + body + "\n}");
  EXPECT_TRUE(g.ok()) << g.status().message() << "\n" << body;
  if (!g.ok()) return nullptr;
  const Status s = ir::InferShapes(**g);
  EXPECT_TRUE(s.ok()) << s.message();
  return std::move(*g);
}

Tensor Vector(std::vector<float> v) { return Tensor::Vector<float>(v); }
Tensor Sequence(std::vector<Tensor> items) {
  auto s = Tensor::Sequence(DType::kFloat32, std::move(items));
  EXPECT_TRUE(s.ok());
  return *s;
}

// Exports at each opset, imports, and compares results. Below `since` the export must be refused
// and name an opset that can.
void RoundTrip(const std::string& body, const std::vector<std::vector<Tensor>>& runs,
               int since = 11) {
  auto g = Parse(body);
  ASSERT_TRUE(g);
  for (int opset : {11, 12, 13, 14, 15, 16, 17, 18, 21, 24, 26}) {
    SCOPED_TRACE("opset " + std::to_string(opset));
    auto bytes = ExportOnnxBytes(*g, {.opset = opset});
    if (opset < since) {
      ASSERT_FALSE(bytes.ok());
      EXPECT_EQ(bytes.status().code(), StatusCode::kUnsupported);
      EXPECT_NE(bytes.status().message().find(": "), std::string::npos);
      EXPECT_NE(bytes.status().message().find("needs opset 1"), std::string::npos)
          << bytes.status().message();
      continue;
    }
    ASSERT_TRUE(bytes.ok()) << bytes.status().message();
    auto owner = std::make_shared<std::vector<uint8_t>>(std::move(*bytes));
    auto back = ImportOnnxBytes(*owner, owner);
    ASSERT_TRUE(back.ok()) << back.status().message();
    EXPECT_TRUE(ir::Verify(**back).ok());
    for (const auto& inputs : runs) {
      auto want = interp::Evaluate(*g, inputs), got = interp::Evaluate(**back, inputs);
      ASSERT_TRUE(want.ok()) << want.status().message();
      ASSERT_TRUE(got.ok()) << got.status().message() << "\n" << ir::ToText(**back);
      ASSERT_EQ(want->size(), got->size());
      for (size_t i = 0; i < want->size(); ++i)
        EXPECT_EQ(CompareTensors((*got)[i], (*want)[i], 0, 0), "") << "output " << i;
    }
  }
}

Tensor Bool(bool v) { return Tensor::Scalar<bool>(v); }
Tensor Int(int64_t v) { return Tensor::Scalar<int64_t>(v); }

TEST(ExportBodies, Branches) {
  // Captured values, a constant and an input as outputs, one value twice, names that repeat.
  RoundTrip(
      "input %c: bool[]\ninput %x: float32[2]\n%a: float32[2] = Relu(%x) \"r\"\n"
      "%p, %q, %s = If(%c, %x, %a) \"if\"\n"
      "body \"then_branch\" graph \"t\" {\ninput %x\ninput %a\nconst %k: float32[2] = [5, 6]\n"
      "%c = Add(%x, %k) \"r\"\noutput %c\noutput %a\noutput %k\n}\n"
      "body \"else_branch\" graph \"e\" {\ninput %x\ninput %b\n%p = Neg(%b)\noutput %p\noutput %p\n"
      "output %x\n}\noutput %p\noutput %q\noutput %s",
      {{Bool(true), Vector({1, -2})}, {Bool(false), Vector({1, -2})}});
}

TEST(ExportBodies, LoopWithNestedIf) {
  RoundTrip(
      "input %n: int64[]\ninput %x: float32[2]\n%y: float32[2] = Abs(%x)\n"
      "%z, %all = Loop(%n, _, %x, %y) {carried = 1} \"loop\"\n"
      "body \"body\" graph \"b\" {\ninput %i\ninput %go\ninput %v\ninput %y\n"
      "const %one: int64[] = [1]\nconst %two: int64[] = [2]\n%m = Mod(%i, %two)\n"
      "%odd = Equal(%m, %one)\n"
      "%w = If(%odd, %v, %y) body \"then_branch\" graph \"t\" {\ninput %v\ninput %y\n"
      "%w = Add(%v, %y)\noutput %w\n} body \"else_branch\" graph \"e\" {\ninput %v\ninput %y\n"
      "%w = Sub(%v, %y)\noutput %w\n}\noutput %go\noutput %w\noutput %v\n}\noutput %z\noutput %all",
      {{Int(5), Vector({1, -2})}, {Int(0), Vector({1, -2})}});
}

TEST(ExportBodies, Scan) {
  RoundTrip(
      "input %s: float32[2]\ninput %x: float32[2, 3]\ninput %b: float32[2]\n"
      "%t, %y = Scan(%s, %x, %b) {carried = 1, num_scan_inputs = 1, scan_input_axes = [1], "
      "scan_output_axes = [1], scan_input_directions = [1]} \"scan\"\n"
      "body \"body\" graph \"b\" {\ninput %s\ninput %e\ninput %b\n%u = Add(%s, %e)\n"
      "%v = Mul(%u, %b)\noutput %u\noutput %v\n}\noutput %t\noutput %y",
      {{Vector({1, 2}), Tensor::Of<float>({2, 3}, std::vector<float>{1, 2, 3, 4, 5, 6}),
        Vector({3, 4})}});
}

// Operators in bodies are written for the opset too.
TEST(ExportBodies, BodiesAreDowngraded) {
  RoundTrip(
      "input %c: bool[]\ninput %x: float32[2, 3]\n%y = If(%c, %x) \"if\"\n"
      "body \"then_branch\" graph \"t\" {\ninput %x: float32[2, 3]\nconst %a: int64[1] = [1]\n"
      "%r = ReduceSum(%x, %a) {keepdims = 0}\n%u = Unsqueeze(%r, %a)\n%h = HardSwish(%u)\n"
      "%g = Gelu(%h)\noutput %g\n}\n"
      "body \"else_branch\" graph \"e\" {\ninput %x: float32[2, 3]\nconst %a: int64[1] = [1]\n"
      "%r = ReduceMax(%x, %a)\n%s = Softmax(%r) {axis = 0}\noutput %s\n}\noutput %y",
      {{Bool(true), Tensor::Of<float>({2, 3}, std::vector<float>{1, 2, 3, 4, 5, 6})},
       {Bool(false), Tensor::Of<float>({2, 3}, std::vector<float>{1, 2, 3, 4, 5, 6})}});
}

TEST(ExportBodies, LargeConstantsOfBodiesAreWrittenOnce) {
  auto g = Parse(
      "input %c: bool[]\ninput %x: float32[512]\nconst %w: float32[512] = random(3)\n"
      "%z = Mul(%x, %w)\n"
      "%y = If(%c, %z) \"if\" body \"then_branch\" graph \"t\" {\ninput %z: float32[512]\n"
      "const %w: float32[512] = random(4)\n%y = Add(%z, %w)\noutput %y\n}\n"
      "body \"else_branch\" graph \"e\" {\ninput %z: float32[512]\nconst %v: float32[512] = "
      "random(5)\n%y = Sub(%z, %v)\noutput %y\n}\noutput %y");
  ASSERT_TRUE(g);
  // Both branches use the outer weights, as importing a file gives them.
  for (const auto& node : g->nodes()) {
    for (auto& [key, body] : node->subgraphs) {
      for (const auto& v : body->values()) {
        if (v->is_constant()) body->SetConstant(v.get(), *g->FindValue("w")->constant());
      }
    }
  }
  auto bytes = ExportOnnxBytes(*g);
  ASSERT_TRUE(bytes.ok()) << bytes.status().message();
  EXPECT_LT(bytes->size(), 3500u);  // 2048 bytes of weights once
  auto owner = std::make_shared<std::vector<uint8_t>>(std::move(*bytes));
  auto back = ImportOnnxBytes(*owner, owner);
  ASSERT_TRUE(back.ok()) << back.status().message();
  std::vector<float> x(512, 2.0f);
  for (bool c : {true, false}) {
    auto want = interp::Evaluate(*g, std::vector<Tensor>{Bool(c), Vector(x)});
    auto got = interp::Evaluate(**back, std::vector<Tensor>{Bool(c), Vector(x)});
    ASSERT_TRUE(want.ok() && got.ok());
    EXPECT_EQ(CompareTensors((*got)[0], (*want)[0], 0, 0), "");
  }
}

TEST(ExportBodies, ResizeInABodyOfAnOldOpset) {
  RoundTrip(
      "input %c: bool[]\ninput %x: float32[1, 1, 2, 2]\n%y = If(%c, %x) \"if\"\n"
      "body \"then_branch\" graph \"t\" {\ninput %x: float32[1, 1, 2, 2]\n"
      "const %s: float32[4] = [1, 1, 2, 2]\n"
      "%y = Resize(%x, _, %s) {mode = \"nearest\"}\noutput %y\n}\n"
      "body \"else_branch\" graph \"e\" {\ninput %x: float32[1, 1, 2, 2]\n"
      "const %s: int64[4] = [1, 1, 3, 3]\n"
      "%y = Resize(%x, _, _, %s) {mode = \"nearest\"}\noutput %y\n}\noutput %y",
      {{Bool(true), Tensor::Of<float>({1, 1, 2, 2}, std::vector<float>{1, 2, 3, 4})},
       {Bool(false), Tensor::Of<float>({1, 1, 2, 2}, std::vector<float>{1, 2, 3, 4})}});
}

TEST(ExportSequences, Operators) {
  RoundTrip(
      "input %x: float32[N, 3]\ninput %i: int64[]\n%e = SequenceEmpty() {dtype = 1}\n"
      "%a = SequenceInsert(%e, %x)\n%b = SplitToSequence(%x) {keepdims = 0}\n"
      "%c = SequenceAt(%b, %i)\n%d = SequenceInsert(%b, %c, %i)\n%f = SequenceErase(%d)\n"
      "%y = ConcatFromSequence(%f) {axis = 0, new_axis = 1}\n%n = SequenceLength(%d)\n"
      "%s = SequenceConstruct(%x, %x)\noutput %y\noutput %n\noutput %s\noutput %a\noutput %e",
      {{Tensor::Of<float>({2, 3}, std::vector<float>{1, 2, 3, 4, 5, 6}), Int(1)}});
}

TEST(ExportSequences, Bodies) {
  RoundTrip(
      "input %s: seq(float32[N])\ninput %n: int64[]\n%y = Loop(%n, _, %s) {carried = 1} \"loop\"\n"
      "body \"body\" graph \"b\" {\ninput %i\ninput %c\ninput %q\n%e = SequenceAt(%q, %i)\n"
      "%d = Add(%e, %e)\n%r = SequenceInsert(%q, %d)\noutput %c\noutput %r\n}\noutput %y",
      {{Sequence({Vector({1}), Vector({2, 3})}), Int(2)}}, 13);
  RoundTrip("input %s: seq(float32[N])\n%y = Identity(%s)\noutput %y",
            {{Sequence({Vector({1}), Vector({2, 3})})}}, 14);
  RoundTrip(
      "input %c: bool[]\ninput %s: seq(float32[N])\n%y = If(%c, %s) \"if\"\n"
      "body \"then_branch\" graph \"t\" {\ninput %s\noutput %s\n}\n"
      "body \"else_branch\" graph \"e\" {\ninput %s\n%e = SequenceErase(%s)\noutput %e\n}\n"
      "output %y",
      {{Bool(true), Sequence({Vector({1})})}, {Bool(false), Sequence({Vector({1})})}}, 14);
}

TEST(ExportSequences, Optionals) {
  const Tensor none = Tensor::NoOptional(DType::kFloat32, Container::kOptionalSequence);
  RoundTrip(
      "input %o: optional(seq(float32[N]))\n%h = OptionalHasElement(%o)\n"
      "%y = If(%h, %o) \"if\" body \"then_branch\" graph \"t\" {\ninput %o\n"
      "%e = OptionalGetElement(%o)\n%y = Optional(%e)\noutput %y\n}\n"
      "body \"else_branch\" graph \"e\" {\ninput %o\n%y = Optional() {type = "
      "\"seq(float32[?])\"}\noutput %y\n}\noutput %y\noutput %h",
      {{none}, {Tensor::Optional(Sequence({Vector({1}), Vector({2})}))}}, 16);
  // Before opset 18 they asked optionals only: the answer is known.
  RoundTrip(
      "input %x: float32[2]\n%h = OptionalHasElement(%x)\n%n = OptionalHasElement()\n"
      "%y = OptionalGetElement(%x)\noutput %h\noutput %n\noutput %y",
      {{Vector({1, 2})}});
}

WireWriter Body(const std::string& name, const TestModel& body) {
  WireWriter w;
  w.Text(1, name);
  w.Message(6, body.graph);
  w.Int(20, 5);
  return w;
}

// Scan of opset 8 runs over a batch; lengths leave zeros behind.
TEST(ImportBodies, ScanOfOpset8) {
  TestModel body(8);
  body.Input("s", {"2"})
      .Input("e", {"2"})
      .Output("t", {"2"}, DType::kFloat32)
      .Output("u", {"2"}, DType::kFloat32);
  body.Node("Add", {"s", "e"}, {"t"}).Node("Mul", {"t", "k"}, {"u"});
  const auto model = [&](const std::string& lengths, const std::vector<int64_t>& directions) {
    TestModel m(8);
    m.Input("len", {"B"}, DType::kInt64).Input("init", {"B", "2"}).Input("x", {"B", "T", "2"});
    m.Input("k0", {"1"});
    m.Node("Neg", {"k0"}, {"k"});
    std::vector<WireWriter> attributes = {Body("body", body), TestModel::Int("num_scan_inputs", 1)};
    if (!directions.empty()) attributes.push_back(TestModel::IntList("directions", directions));
    m.Node("Scan", {lengths, "init", "x"}, {"y", "z"}, attributes, "scan");
    m.Output("y").Output("z");
    return m.Import();
  };
  const std::vector<Tensor> inputs = {
      Tensor::Vector<int64_t>({3, 1}), Tensor::Of<float>({2, 2}, std::vector<float>{0, 0, 10, 20}),
      Tensor::Of<float>({2, 3, 2}, std::vector<float>{1, 2, 3, 4, 5, 6, 1, 1, 2, 2, 3, 3}),
      Vector({-1})};
  const auto run = [&](const std::string& lengths, const std::vector<int64_t>& directions) {
    auto g = model(lengths, directions);
    EXPECT_TRUE(g.ok()) << g.status().message();
    if (!g.ok()) return std::vector<std::vector<double>>();
    auto out = interp::Evaluate(**g, inputs);
    EXPECT_TRUE(out.ok()) << out.status().message();
    if (!out.ok()) return std::vector<std::vector<double>>();
    EXPECT_EQ((*out)[1].dims().ToString(), "[2, 3, 2]");
    return std::vector<std::vector<double>>{(*out)[0].ToDoubles(), (*out)[1].ToDoubles()};
  };
  using Rows = std::vector<std::vector<double>>;
  EXPECT_EQ(run("", {}), (Rows{{9, 12, 16, 26}, {1, 2, 4, 6, 9, 12, 11, 21, 13, 23, 16, 26}}));
  EXPECT_EQ(run("len", {}), (Rows{{9, 12, 11, 21}, {1, 2, 4, 6, 9, 12, 11, 21, 0, 0, 0, 0}}));
  EXPECT_EQ(run("", {1}), (Rows{{9, 12, 16, 26}, {5, 6, 8, 10, 9, 12, 13, 23, 15, 25, 16, 26}}));
  // One input too few.
  TestModel m(8);
  m.Input("x", {"B", "T", "2"}).Input("k", {"1"});
  m.Node("Scan", {"", "x"}, {"y", "z"}, {Body("body", body), TestModel::Int("num_scan_inputs", 1)},
         "scan");
  m.Output("y");
  auto g = m.Import();
  ASSERT_FALSE(g.ok());
  EXPECT_NE(g.status().message().find("Scan node 'scan': its body has 2 inputs"), std::string::npos)
      << g.status().message();
}

TEST(ImportBodies, SequenceMap) {
  // Two sequences, one tensor for all, a captured value.
  TestModel body;
  body.Input("a", {"?"}).Input("b", {"?"}).Input("t", {"1"}).Output("p", {"?"}, DType::kFloat32);
  body.Output("q", {"1"}, DType::kInt64);
  body.Node("Add", {"a", "b"}, {"s"}).Node("Mul", {"s", "t"}, {"r"}).Node("Add", {"r", "w"}, {"p"});
  body.Node("Shape", {"a"}, {"q"});
  const auto model = [&](std::vector<std::string> inputs, std::vector<std::string> outputs) {
    TestModel m;
    m.Input("x", {"2", "3"}).Input("t", {"1"});
    m.Node("Abs", {"t"}, {"w"});
    m.Node("SplitToSequence", {"x"}, {"sx"}, {TestModel::Int("axis", 1)});
    m.Node("SequenceMap", inputs, outputs, {Body("body", body)}, "map");
    m.Node("ConcatFromSequence", {"y"}, {"z"}, {TestModel::Int("axis", 1)});
    m.Output("z").Output("n");
    return m.Import();
  };
  auto g = model({"sx", "sx", "t"}, {"y", "n"});
  ASSERT_TRUE(g.ok()) << g.status().message();
  auto out = interp::Evaluate(
      **g, std::vector<Tensor>{Tensor::Of<float>({2, 3}, std::vector<float>{1, 2, 3, 4, 5, 6}),
                               Vector({-1})});
  ASSERT_TRUE(out.ok()) << out.status().message();
  EXPECT_EQ((*out)[0].dims().ToString(), "[2, 3]");
  EXPECT_EQ((*out)[0].ToDoubles(), (std::vector<double>{-1, -3, -5, -7, -9, -11}));
  ASSERT_EQ((*out)[1].items().size(), 3u);
  EXPECT_EQ((*out)[1].items()[2].ToInts(), (std::vector<int64_t>{2, 1}));
  for (const auto& [inputs, outputs] :
       std::vector<std::pair<std::vector<std::string>, std::vector<std::string>>>{
           {{"sx", "sx"}, {"y", "n"}}, {{"sx", "", "t"}, {"y", "n"}}}) {
    auto bad = model(inputs, outputs);
    ASSERT_FALSE(bad.ok());
    EXPECT_NE(bad.status().message().find("SequenceMap node 'map'"), std::string::npos)
        << bad.status().message();
  }
  // Its first input must be a sequence.
  auto tensor = model({"x", "sx", "t"}, {"y", "n"});
  ASSERT_FALSE(tensor.ok());
  EXPECT_NE(tensor.status().message().find("must be a sequence"), std::string::npos)
      << tensor.status().message();
}

// --- files of values ---

class ValueFiles : public testing::Test {
 protected:
  std::string Write(const std::vector<uint8_t>& bytes) {
    const std::string path = (fs::path(testing::TempDir()) / "slipway_value.pb").string();
    std::ofstream(path, std::ios::binary)
        .write(reinterpret_cast<const char*>(bytes.data()),
               static_cast<std::streamsize>(bytes.size()));
    return path;
  }
  std::string Read(const WireWriter& message, const std::string& type) {
    auto parsed = ir::ParseTypeText(type);
    auto value = ReadValueProtoFile(Write(message.Finish()), *parsed, &name_);
    if (!value.ok()) return "error: " + value.status().message();
    std::string text = value->Describe();
    return text;
  }
  std::string name_;
};

TEST_F(ValueFiles, SequencesAndOptionals) {
  const Tensor one = Vector({1, 2}), two = Vector({3});
  WireWriter sequence;
  sequence.Text(1, "s");
  sequence.Int(2, 1);
  sequence.Message(3, WriteTensorProto("", one));
  sequence.Message(3, WriteTensorProto("", two));
  EXPECT_EQ(Read(sequence, "seq(float32[?])"), "a sequence of 2 float32 tensors");
  EXPECT_EQ(name_, "s");
  WireWriter nothing;
  EXPECT_EQ(Read(nothing, "seq(int64[?])"), "a sequence of 0 int64 tensors");
  EXPECT_EQ(Read(nothing, "optional(int64[?])"), "an empty optional of int64");
  EXPECT_EQ(Read(nothing, "optional(seq(int64[?]))"), "an empty optional of int64 sequences");
  WireWriter some, list;
  some.Int(2, 1);
  some.Message(3, WriteTensorProto("", one));
  EXPECT_EQ(Read(some, "optional(float32[?])"), "an optional of float32[2]");
  list.Int(2, 3);
  list.Message(5, sequence);
  EXPECT_EQ(Read(list, "optional(seq(float32[?]))"),
            "an optional of a sequence of 2 float32 tensors");
  EXPECT_EQ(Read(WriteTensorProto("", one), "float32[?]"), "float32[2]");
}

TEST_F(ValueFiles, Refused) {
  const auto expect = [&](const WireWriter& w, const std::string& type, const std::string& part) {
    const std::string got = Read(w, type);
    EXPECT_EQ(got.substr(0, 7), "error: ") << got;
    EXPECT_NE(got.find(part), std::string::npos) << got;
  };
  const Tensor one = Vector({1, 2}), whole = Tensor::Vector<int64_t>({1});
  WireWriter maps, nested, mixed, some, broken;
  maps.Int(2, 4);
  expect(maps, "seq(float32[?])", "something else than dense tensors");
  expect(maps, "optional(float32[?])", "something else than dense tensors");
  nested.Message(5, WireWriter());
  expect(nested, "seq(float32[?])", "something else than dense tensors");
  mixed.Message(3, WriteTensorProto("", one));
  mixed.Message(3, WriteTensorProto("", whole));
  expect(mixed, "seq(float32[?])", "cannot hold int64[1]");
  some.Message(3, WriteTensorProto("", one));
  expect(some, "optional(seq(float32[?]))", "the optional holds float32[2] where the model");
  broken.Text(3, "no tensor");
  EXPECT_EQ(Read(broken, "seq(float32[?])").substr(0, 7), "error: ");
  // Every truncation is an error or a shorter sequence.
  WireWriter sequence;
  sequence.Message(3, WriteTensorProto("", one));
  sequence.Message(3, WriteTensorProto("", one));
  const auto bytes = sequence.Finish();
  const ir::Type type = *ir::ParseTypeText("seq(float32[?])");
  for (size_t n = 0; n < bytes.size(); ++n) {
    auto value =
        ReadValueProtoFile(Write({bytes.begin(), bytes.begin() + static_cast<ptrdiff_t>(n)}), type);
    if (value.ok()) {
      EXPECT_LT(value->items().size(), 2u);
    }
  }
}

}  // namespace
}  // namespace slipway::onnx
