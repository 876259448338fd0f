#include "model/ir/verify.h"

#include <gtest/gtest.h>

#include "model/ir/text.h"

namespace slipway::ir {
namespace {

std::unique_ptr<Graph> Parse(const std::string& body) {
  auto g = ParseText("graph \"t\" {\n" + body + "\n}");
  EXPECT_TRUE(g.ok()) << g.status().message();
  return std::move(*g);
}

std::string ErrorOf(const Graph& g) {
  const Status s = Verify(g);
  return s.ok() ? "ok" : s.message();
}
std::string ErrorOf(const std::string& body) { return ErrorOf(*Parse(body)); }

TEST(Verify, AcceptsAGoodGraph) {
  EXPECT_EQ(ErrorOf("input %x: float32[1, 3, 8, 8]\nconst %w: float32[4, 3, 3, 3] = zeros\n%c = "
                    "Conv(%x, %w) {group = 1}\n%y = Add(%c, %c)\noutput %y\noutput %x"),
            "ok");
  EXPECT_EQ(Verify(Graph()).ok(), true);
}

TEST(Verify, Operators) {
  auto g = Parse("input %x: float32\n%y = NoSuchOp(%x) \"n\"");
  EXPECT_EQ(Verify(*g).code(), StatusCode::kUnsupported);
  EXPECT_NE(ErrorOf(*g).find("NoSuchOp node 'n'"), std::string::npos);
  EXPECT_NE(ErrorOf("input %x: float32\n%y = Relu(%x, %x)").find("has 2 inputs but needs 1"),
            std::string::npos);
  EXPECT_NE(ErrorOf("input %x: float32\n%y = Add(%x, _)").find("position 1 is absent"),
            std::string::npos);
  EXPECT_NE(ErrorOf("input %x: float32\n%y, %z = Relu(%x)").find("has 2 outputs but needs 1"),
            std::string::npos);
  EXPECT_NE(ErrorOf("input %x: float32\n_ = Relu(%x)").find("has no output"), std::string::npos);
  EXPECT_NE(
      ErrorOf("input %x: float32\n%y = Relu(%x) {alpha = 1}").find("has no attribute 'alpha'"),
      std::string::npos);
  EXPECT_NE(ErrorOf("input %x: float32\n%y = Cast(%x) {to = \"int8\"}")
                .find("is of type string but must be int"),
            std::string::npos);
  EXPECT_NE(ErrorOf("input %x: float32\n%y = Cast(%x)").find("required attribute 'to' is missing"),
            std::string::npos);
}

TEST(Verify, Order) {
  auto g = Parse("input %x: float32\n%a = Relu(%x) \"a\"\n%b = Sigmoid(%a) \"b\"\noutput %b");
  g->MoveBefore(g->FindNode("b"), g->FindNode("a"));
  EXPECT_NE(ErrorOf(*g).find("Sigmoid node 'b': input 'a' is produced later"), std::string::npos);
  ASSERT_TRUE(g->SortTopologically().ok());
  EXPECT_EQ(ErrorOf(*g), "ok");
}

TEST(Verify, Values) {
  auto g = Parse("input %x: float32\nconst %w: float32[2] = zeros\n%y = Add(%x, %w)\noutput %y");
  g->FindValue("w")->set_type({DType::kFloat32, SymShape{Dim(3)}});
  EXPECT_NE(ErrorOf(*g).find("constant 'w': its type float32[3] is not that of its data"),
            std::string::npos);

  auto foreign = Parse("input %x: float32\n%y = Relu(%x)");
  auto other = Parse("input %q: float32");
  foreign->SetInput(foreign->FindNode("Relu"), 0, other->FindValue("q"));
  EXPECT_NE(ErrorOf(*foreign).find("is not among the graph's values"), std::string::npos);
  foreign->SetInput(foreign->FindNode("Relu"), 0, foreign->FindValue("x"));
  EXPECT_EQ(ErrorOf(*foreign), "ok");
}

TEST(Verify, ManyUsesAreCheap) {
  Graph g;
  Value* x = g.AddInput("x", {DType::kFloat32, SymShape{}});
  for (int i = 0; i < 20000; ++i) g.AddNode({"Relu", {x}});
  EXPECT_EQ(ErrorOf(g), "ok");
}

}  // namespace
}  // namespace slipway::ir
