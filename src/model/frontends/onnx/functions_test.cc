#include "model/frontends/onnx/functions.h"

#include <gtest/gtest.h>

#include "model/frontends/onnx/test_model.h"
#include "model/interp/interpreter.h"

namespace slipway::onnx {
namespace {

WireWriter Node(const std::string& op, const std::vector<std::string>& inputs,
                const std::vector<std::string>& outputs,
                const std::vector<WireWriter>& attributes = {}, const std::string& domain = "",
                const std::string& name = "") {
  return TestModel::MakeNode(op, inputs, outputs, attributes, name, domain);
}

// An attribute whose value is the function's parameter `parameter`.
WireWriter Reference(const std::string& name, const std::string& parameter, int64_t type) {
  WireWriter w;
  w.Text(1, name);
  w.Int(20, type);
  w.Text(21, parameter);
  return w;
}

WireWriter Body(const std::string& name, const WireWriter& graph) {
  WireWriter w;
  w.Text(1, name);
  w.Message(6, graph);
  w.Int(20, 5);
  return w;
}

struct Function {
  std::string name;
  std::vector<std::string> inputs, outputs;
  std::vector<WireWriter> nodes;
  std::vector<WireWriter> defaults = {};
  int opset = 17;
  std::string domain = "local";

  WireWriter Write() const {
    WireWriter f, version;
    f.Text(1, name);
    for (const auto& i : inputs) f.Text(4, i);
    for (const auto& o : outputs) f.Text(5, o);
    for (const auto& n : nodes) f.Message(7, n);
    version.Text(1, "");
    version.Int(2, opset);
    f.Message(9, version);
    f.Text(10, domain);
    for (const auto& d : defaults) f.Message(11, d);
    return f;
  }
};

Result<std::unique_ptr<ir::Graph>> Import(const TestModel& model,
                                          const std::vector<Function>& functions,
                                          const ImportOptions& options = {}) {
  WireWriter more, local;
  local.Text(1, "local");
  local.Int(2, 1);
  more.Message(8, local);
  for (const Function& f : functions) more.Message(25, f.Write());
  auto bytes = std::make_shared<std::vector<uint8_t>>(model.Bytes());
  const std::vector<uint8_t> tail = more.Finish();
  bytes->insert(bytes->end(), tail.begin(), tail.end());
  return ImportOnnxBytes(*bytes, bytes, options);
}

std::vector<double> Results(const ir::Graph& graph, std::vector<ir::Tensor> inputs) {
  auto out = interp::Evaluate(graph, inputs);
  EXPECT_TRUE(out.ok()) << out.status().ToString();
  return out.ok() ? (*out)[0].ToDoubles() : std::vector<double>();
}

void Refused(const TestModel& model, const std::vector<Function>& functions,
             const std::string& part, const ImportOptions& options = {}) {
  auto graph = Import(model, functions, options);
  ASSERT_FALSE(graph.ok()) << part;
  EXPECT_NE(graph.status().message().find(part), std::string::npos) << graph.status().ToString();
}

const ir::Tensor kX = ir::Tensor::Of<float>({3}, std::vector<float>{-1, 2, 3});

TEST(Functions, TwoCallsWithAttributesAndDefaults) {
  TestModel m;
  m.Input("x", {"3"}).Output("z");
  m.Node("Leaky", {"x"}, {"y"}, {TestModel::Float("slope", 0.5F)}, "first", "local");
  m.Node("Leaky", {"y"}, {"z"}, {}, "second", "local");
  const Function leaky{.name = "Leaky",
                       .inputs = {"x"},
                       .outputs = {"y"},
                       .nodes = {Node("LeakyRelu", {"x"}, {"t"}, {Reference("alpha", "slope", 1)}),
                                 Node("Neg", {"t"}, {"y"}, {}, "", "negate")},
                       .defaults = {TestModel::Float("slope", 0.25F)}};
  auto graph = Import(m, {leaky});
  ASSERT_TRUE(graph.ok()) << graph.status().ToString();
  ASSERT_EQ((*graph)->nodes().size(), 4u);
  EXPECT_NE((*graph)->FindNode("first/negate"), nullptr);
  EXPECT_NE((*graph)->FindValue("second/t"), nullptr);
  EXPECT_EQ(Results(**graph, {kX}), (std::vector<double>{-0.5, 0.5, 0.75}));
}

// The parameter is given nowhere: the operator's own default counts.
TEST(Functions, AbsentAttributeTakesTheOperatorsDefault) {
  TestModel m;
  m.Input("x", {"3"}).Output("y");
  m.Node("F", {"x"}, {"y"}, {}, "", "local");
  auto graph = Import(
      m,
      {{"F", {"a"}, {"b"}, {Node("LeakyRelu", {"a"}, {"b"}, {Reference("alpha", "slope", 1)})}}});
  ASSERT_TRUE(graph.ok()) << graph.status().ToString();
  EXPECT_NEAR(Results(**graph, {kX})[0], -0.01, 1e-9);
}

// A function has the opset that it says: Squeeze took its axes from an attribute until 12.
TEST(Functions, OwnOpset) {
  TestModel m(17);
  m.Input("x", {"1", "3"}).Output("y");
  m.Node("Drop", {"x"}, {"y"}, {}, "", "local");
  auto graph =
      Import(m, {{.name = "Drop",
                  .inputs = {"a"},
                  .outputs = {"b"},
                  .nodes = {Node("Squeeze", {"a"}, {"b"}, {TestModel::IntList("axes", {0})})},
                  .opset = 11}});
  ASSERT_TRUE(graph.ok()) << graph.status().ToString();
  EXPECT_EQ((*graph)->outputs()[0]->type().ToString(), "float32[3]");
  Refused(m,
          {{.name = "Drop",
            .inputs = {"a"},
            .outputs = {"b"},
            .nodes = {Node("Neg", {"a"}, {"b"})},
            .opset = 999}},
          "opset 999");
}

// A function in a function, an optional input that is not given, outputs that are inputs, outputs
// nobody takes, and a caller's value whose name the function uses for something else.
TEST(Functions, NestedWithOptionalInputsAndCopies) {
  TestModel m;
  m.Input("t", {"3"}).Output("u").Output("same");
  m.Node("Outer", {"t"}, {"u", "same"}, {}, "call", "local");
  const Function inner{"Inner",
                       {"x", "low", "high"},
                       {"t", "extra"},
                       {Node("Clip", {"x", "low", "high"}, {"t"}), Node("Abs", {"t"}, {"extra"})}};
  const Function outer{"Outer",
                       {"x"},
                       {"y", "x"},
                       {Node("Constant", {}, {"u"}, {TestModel::Float("value_float", 2.0F)}),
                        Node("Inner", {"x", "", "u"}, {"y"}, {}, "local", "in")}};
  auto graph = Import(m, {outer, inner});
  ASSERT_TRUE(graph.ok()) << graph.status().ToString();
  EXPECT_NE((*graph)->FindNode("call/in/Clip_0"), nullptr);
  auto out = interp::Evaluate(**graph, std::vector<ir::Tensor>{kX});
  ASSERT_TRUE(out.ok()) << out.status().ToString();
  EXPECT_EQ((*out)[0].ToDoubles(), (std::vector<double>{-1, 2, 2}));
  EXPECT_EQ((*out)[1].ToDoubles(), (std::vector<double>{-1, 2, 3}));
}

// A body in a function reads the function's values, and its own may be called as the caller's are.
TEST(Functions, BodiesInside) {
  const auto branch = [](const std::string& op) {
    WireWriter g;
    g.Message(1, Node(op, {"a"}, {"x"}));
    g.Message(1, Node("Add", {"x", "b"}, {"y"}));
    g.Text(2, "branch");
    g.Message(12, TestModel::ValueInfo("y", DType::kFloat32, {"?"}));
    return g;
  };
  const Function choose{
      "Choose",
      {"a", "b", "c"},
      {"r"},
      {Node("If", {"c"}, {"r"},
            {Body("then_branch", branch("Neg")), Body("else_branch", branch("Abs"))})}};
  TestModel m;
  m.Input("x", {"3"}).Input("c", {}, DType::kBool).Output("r");
  m.Node("Choose", {"x", "x", "c"}, {"y"}, {}, "one", "local");
  m.Node("Choose", {"y", "x", "c"}, {"r"}, {}, "two", "local");
  auto graph = Import(m, {choose});
  ASSERT_TRUE(graph.ok()) << graph.status().ToString();
  EXPECT_EQ(Results(**graph, {kX, ir::Tensor::Scalar<bool>(true)}), (std::vector<double>{-1, 2, 3}));
  EXPECT_EQ(Results(**graph, {kX, ir::Tensor::Scalar<bool>(false)}), (std::vector<double>{-1, 6, 9}));
}

TEST(Functions, KnownOperatorsAreNotReplaced) {
  TestModel m;
  m.Input("x", {"3"}).Output("y");
  m.Node("Relu", {"x"}, {"y"});
  auto graph = Import(m, {{.name = "Relu",
                           .inputs = {"x"},
                           .outputs = {"y"},
                           .nodes = {Node("Neg", {"x"}, {"y"})},
                           .domain = ""}});
  ASSERT_TRUE(graph.ok()) << graph.status().ToString();
  EXPECT_EQ(Results(**graph, {kX}), (std::vector<double>{0, 2, 3}));
}

TEST(Functions, WrongOnesAreNamed) {
  TestModel m;
  m.Input("x", {"3"}).Output("y");
  m.Node("F", {"x"}, {"y"}, {}, "call", "local");
  const Function good{"F", {"x"}, {"y"}, {Node("Neg", {"x"}, {"y"})}};
  EXPECT_TRUE(Import(m, {good}).ok());
  Refused(m, {good, good}, "function 'local.F' is defined twice");
  Refused(m, {{"F", {"x"}, {"y"}, {Node("F", {"x"}, {"y"}, {}, "local")}}},
          "'local.F' calls 'local.F'");
  Refused(m,
          {{"F", {"x"}, {"y"}, {Node("G", {"x"}, {"y"}, {}, "local")}},
           {"G", {"x"}, {"y"}, {Node("F", {"x"}, {"y"}, {}, "local")}}},
          "'local.F' calls 'local.G' calls 'local.F'");
  Refused(m, {{"F", {}, {"y"}, {Node("Neg", {"x"}, {"y"})}}}, "is given 1 and 1");
  Refused(m, {{"F", {"x"}, {}, {}}}, "is given 1 and 1");
  Refused(m, {{"F", {"a"}, {"y"}, {Node("Neg", {"b"}, {"y"})}}}, "reads 'b'");
  Refused(m, {{"F", {"x"}, {"z"}, {Node("Neg", {"x"}, {"y"})}}}, "the output 'z'");
  Refused(m, {{"F", {"x", "x"}, {"y"}, {Node("Neg", {"x"}, {"y"})}}}, "two of the same name");
  Refused(m, {{"F", {"x"}, {"y"}, {Node("Neg", {"x"}, {"y"}), Node("Abs", {"x"}, {"y"})}}},
          "defines 'y' twice");
  Refused(m, {{"F", {"x", "z"}, {"z"}, {}}}, "an input that is not given");
  Refused(m, {{"F", {"x"}, {"y"}, {Node("Bogus", {"x"}, {"y"})}}},
          "'Bogus' (domain ai.onnx, opset 17; node 'call/Bogus_0')");
}

// Sixty functions that each call the next one twice: 2^60 nodes.
TEST(Functions, BombsHitTheLimit) {
  std::vector<Function> bomb;
  for (int i = 0; i < 60; ++i) {
    const std::string next = "F" + std::to_string(i + 1);
    bomb.push_back(
        {"F" + std::to_string(i),
         {"x"},
         {"y"},
         {Node(next, {"x"}, {"t"}, {}, "local"), Node(next, {"t"}, {"y"}, {}, "local")}});
  }
  bomb.push_back({"F60", {"x"}, {"y"}, {Node("Neg", {"x"}, {"y"})}});
  TestModel m;
  m.Input("x", {"3"}).Output("y");
  m.Node("F0", {"x"}, {"y"}, {}, "call", "local");
  ImportOptions options;
  options.limits.nodes = 10'000;
  Refused(m, bomb, "more than 10000 nodes", options);
  for (int i = 60; i < 70; ++i) {
    bomb.back().nodes = {Node("F" + std::to_string(i + 1), {"x"}, {"y"}, {}, "local")};
    bomb.push_back({"F" + std::to_string(i + 1), {"x"}, {"y"}, {Node("Neg", {"x"}, {"y"})}});
  }
  Refused(m, bomb, "deeper than 64 calls");
  // Long names times many calls.
  const std::string name(200'000, 'n');
  Function wordy{"F0", {"x"}, {"y"}, {}};
  std::string from = "x";
  for (int i = 0; i < 2'000; ++i) {
    const std::string to = i == 1999 ? "y" : "t" + std::to_string(i);
    wordy.nodes.push_back(Node("G", {from}, {to}, {}, "local"));
    from = to;
  }
  Refused(m, {wordy, {"G", {"x"}, {"y"}, {Node("Neg", {"x"}, {name}), Node("Neg", {name}, {"y"})}}},
          "MB of names");
}

}  // namespace
}  // namespace slipway::onnx
