// Random graphs through all passes: results must not change whatever the passes make of them.
// Time-bounded; the seed is printed.

#include <chrono>

#include "model/passes/pass_test_util.h"

namespace slipway::passes {
namespace {

class Builder {
 public:
  explicit Builder(uint32_t seed) : random_(seed) {
    Add(graph_.AddInput("x", {DType::kFloat32, SymShape{2, 4, 6, 6}}));
    Add(graph_.AddInput("y", {DType::kFloat32, SymShape{1, 3, 8}}));
  }

  std::unique_ptr<Graph> Build(int nodes, bool quantized) {
    for (int i = 0; i < nodes; ++i) {
      Step();
      if (quantized && Chance(50)) FakeQuantize();
    }
    for (Value* v : values_) {
      if (v->producer() && (v->uses().empty() || Chance(5))) graph_.AddOutput(v);
    }
    return graph_.Clone();
  }

 private:
  int Below(size_t n) { return static_cast<int>(random_() % n); }
  bool Chance(int percent) { return Below(100) < percent; }
  void Add(Value* v) { values_.push_back(v); }
  // Recent values more often, so that chains grow.
  Value* Pick() {
    return Chance(60) ? values_.back() : values_[static_cast<size_t>(Below(values_.size()))];
  }
  Dims DimsOf(const Value* v) { return *v->type().StaticDims(); }

  Value* Floats(const Dims& dims, float lo = -0.6f, float hi = 0.6f) {
    std::vector<float> values(static_cast<size_t>(dims.count()));
    std::uniform_real_distribution<float> uniform(lo, hi);
    for (float& v : values) v = uniform(random_);
    return AddFloats(graph_, "c", dims, values);
  }
  Value* Scalar(std::vector<float> choices) {
    return graph_.AddConstant(
        "s", Tensor::Scalar<float>(choices[static_cast<size_t>(Below(choices.size()))]));
  }
  Value* Ints(const std::vector<int64_t>& v) { return AddInts(graph_, "i", v); }

  // Adds the node if it is valid.
  void Node(std::string op, std::vector<Value*> inputs, ir::Attributes attributes = {},
            int outputs = 1, std::string domain = "") {
    ir::Node* node =
        graph_.AddNode({.op = std::move(op),
                        .inputs = std::move(inputs),
                        .attributes = std::move(attributes),
                        .domain = std::move(domain),
                        .outputs = std::vector<std::string>(static_cast<size_t>(outputs))});
    Status status = ir::InferShapes(graph_);
    auto dims = status.ok() ? node->output()->type().StaticDims() : std::nullopt;
    if (!dims || dims->count() == 0 || dims->count() > 20000) {
      graph_.RemoveNode(node);
      return;
    }
    for (Value* v : node->outputs()) Add(v);
  }

  void FakeQuantize() {
    Value* v = values_.back();
    if (v->dtype() != DType::kFloat32) return;
    bool is_signed = Chance(50);
    std::vector<Value*> inputs{v, Scalar({0.037f, 0.051f})};
    if (Chance(70)) {
      inputs.push_back(
          is_signed ? graph_.AddConstant("z", Tensor::Scalar<int8_t>(-11))
                    : graph_.AddConstant("z", Tensor::Scalar<uint8_t>(Chance(50) ? 128 : 77)));
    }
    ir::Attributes attributes{{"signed", int64_t{is_signed}}};
    Node("Quantize", inputs, attributes, 1, ir::kSlipwayDomain);
    inputs[0] = values_.back();
    values_.pop_back();
    Node("Dequantize", inputs, attributes, 1, ir::kSlipwayDomain);
  }

  void Step() {
    Value* x = Pick();
    Dims d = DimsOf(x);
    size_t rank = d.size();
    auto axis = [&] { return static_cast<int64_t>(Below(std::max<size_t>(1, rank))); };
    switch (Below(26)) {
      case 0:
        Node("Relu", {x});
        break;
      case 1:
        Node(Chance(50) ? "Sigmoid" : "Tanh", {x});
        break;
      case 2: {
        Node("Sigmoid", {x});
        Node("Mul", {x, values_.back()});
        break;
      }
      case 3:
        Node("Clip", {x, Scalar({-1, 0, 1}), Scalar({2, 6})});
        break;
      case 4:
        Node("Identity", {x});
        break;
      case 5:
        Node(Chance(50) ? "Mul" : "Add", {x, Scalar({0, 1, 0.5f, 1.7f})});
        break;
      case 6:
        Node(Chance(50) ? "Div" : "Sub", {x, Scalar({1, 2, 0.25f, 3})});
        break;
      case 7:
        Node(Chance(50) ? "Add" : "Mul", {x, Pick()});
        break;
      case 8:
        if (rank >= 2)
          Node(Chance(50) ? "Add" : "Mul", Chance(50) ? std::vector<Value*>{x, Channels(d)}
                                                      : std::vector<Value*>{Channels(d), x});
        break;
      case 9:
      case 10:
      case 11:
        if (rank == 4) Convolution(x, d);
        break;
      case 12:
        if (rank >= 2) {
          Node("BatchNormalization",
               {x, Floats({d[1]}), Floats({d[1]}), Floats({d[1]}), Floats({d[1]}, 0.5f, 1.5f)});
        }
        break;
      case 13:
      case 14: {
        std::vector<int64_t> perm;
        for (size_t i = 0; i < rank; ++i) perm.push_back(static_cast<int64_t>(i));
        std::shuffle(perm.begin(), perm.end(), random_);
        Node("Transpose", {x}, {{"perm", perm}});
        break;
      }
      case 15: {
        std::vector<int64_t> target(d.begin(), d.end());
        if (Chance(50) && rank >= 2) {
          size_t at = static_cast<size_t>(Below(rank - 1));
          target[at] *= target[at + 1];
          target.erase(target.begin() + static_cast<ptrdiff_t>(at) + 1);
        } else if (rank >= 1 && rank < 6) {
          size_t at = static_cast<size_t>(Below(rank));
          int64_t part = target[at] % 2 == 0 ? 2 : 1;
          target[at] /= part;
          target.insert(target.begin() + static_cast<ptrdiff_t>(at), part);
        }
        Node("Reshape", {x, Ints(target)});
        break;
      }
      case 16:
        Node(Chance(50) && rank < 6 ? "Unsqueeze" : "Squeeze", {x, Ints({axis()})});
        break;
      case 17:
        Node("Flatten", {x}, {{"axis", axis()}});
        break;
      case 18: {
        int64_t a = axis(), n = rank ? d[static_cast<size_t>(a)] : 1,
                from = Below(static_cast<size_t>(n));
        Node("Slice", {x, Ints({from}), Ints({from + 1 + Below(static_cast<size_t>(n))}), Ints({a}),
                       Ints({1 + Below(2)})});
        break;
      }
      case 19: {
        int64_t a = axis(), n = rank ? d[static_cast<size_t>(a)] : 1;
        if (n < 2) break;
        Node("Split", {x, Ints({1, n - 1})}, {{"axis", a}}, 2);
        break;
      }
      case 20:
        Node("Concat", {x, Pick(), x}, {{"axis", axis()}});
        break;
      case 21:
        if (rank == 4) {
          Node("Pad", {x, Ints({0, 0, Below(2), Below(2), 0, 0, Below(2), Below(2)})});
          if (Chance(60)) Convolution(values_.back(), DimsOf(values_.back()));
        }
        break;
      case 22:
        if (rank == 4)
          Node(Chance(50) ? "MaxPool" : "AveragePool", {x},
               {{"kernel_shape", std::vector<int64_t>{2, 2}},
                {"strides", std::vector<int64_t>{1 + Below(2), 1}}});
        break;
      case 23:
      case 24:
        if (rank >= 2) {
          Node("MatMul", {x, Floats({d.back(), 1 + Below(8)})});
          Value* y = values_.back();
          if (Chance(60)) Node("Add", {Floats({DimsOf(y).back()}), y});
        }
        break;
      default:
        Node(Chance(50) ? "Softmax" : "ReduceMean",
             Chance(50) ? std::vector<Value*>{x} : std::vector<Value*>{x, Ints({axis()})});
        break;
    }
  }

  Value* Channels(const Dims& d) {
    Dims dims;
    for (size_t i = 1; i < d.size(); ++i) dims.push_back(i == 1 ? d[1] : 1);
    return Floats(dims);
  }

  void Convolution(Value* x, const Dims& d) {
    if (d.rank() != 4) return;
    int64_t group = d[1] % 2 == 0 && Chance(40) ? 2 : 1, kernel = Chance(50) ? 1 : 3;
    int64_t out = group * (1 + Below(3));
    std::vector<Value*> inputs{x, Floats({out, d[1] / group, kernel, kernel})};
    if (Chance(50)) inputs.push_back(Floats({out}));
    ir::Attributes attributes{{"group", group}};
    if (kernel == 3) attributes.Set("pads", std::vector<int64_t>{1, 1, 1, 1});
    if (Chance(20)) attributes.Set("strides", std::vector<int64_t>{2, 1});
    Node("Conv", inputs, attributes);
    Value* y = values_.back();
    if (Chance(40)) Node("Relu", {y});
    if (Chance(30)) Node("Add", {values_.back(), y});
  }

  std::mt19937 random_;
  Graph graph_;
  std::vector<Value*> values_;
};

std::map<std::string, int>
    g_changes;  // by pass, to see that the graphs give the passes something to do

void CountChanges(const Graph& graph, Level level) {
  auto copy = graph.Clone();
  auto reports = RunPasses(*copy, {.level = level});
  if (!reports.ok()) return;
  for (const PassReport& r : *reports) g_changes[r.name] += r.changes;
}

// Calls check(seed) with fresh seeds for `seconds`, or with that of the environment variable
// SLIPWAY_SEED alone.
template <typename F>
void ForSeeds(double seconds, F&& check) {
  const char* fixed = std::getenv("SLIPWAY_SEED");
  uint32_t seed =
      fixed ? static_cast<uint32_t>(std::strtoul(fixed, nullptr, 10)) : std::random_device{}();
  int graphs = 0;
  auto end = std::chrono::steady_clock::now() + std::chrono::duration<double>(seconds);
  do {
    SCOPED_TRACE("SLIPWAY_SEED=" + std::to_string(seed));
    check(seed);
    if (fixed || testing::Test::HasFailure()) return;
    ++seed;
    ++graphs;
  } while (std::chrono::steady_clock::now() < end);
  std::printf("%d graphs; changes:", graphs);
  for (const auto& [name, n] : g_changes) std::printf(" %s %d", name.c_str(), n);
  std::printf("\n");
  g_changes.clear();
}

TEST(RandomGraphs, KeepTheirResults) {
  ForSeeds(3, [](uint32_t seed) {
    auto graph = Builder(seed).Build(30, false);
    if (graph->outputs().empty()) return;
    CountChanges(*graph, Level::kFused);
    for (Level level : {Level::kOnnx, Level::kFused})
      RunAndCheck(*graph, {.level = level, .allow_rounding = true}, 2e-4);
  });
}

TEST(RandomGraphs, KeepTheirCodesWhereQuantizeMoves) {
  ForSeeds(3, [](uint32_t seed) {
    auto graph = Builder(seed).Build(20, true);
    if (graph->outputs().empty()) return;
    CountChanges(*graph, Level::kInteger);
    RunAndCheck(
        *graph,
        Only({"move-quantize", "center-codes", "merge-common", "remove-dead", "fold-constants"}),
        1e-6);
    // With integer operators results differ by roundings; they must be well formed and run.
    auto lowered = graph->Clone();
    auto reports = RunPasses(*lowered, {.level = Level::kInteger, .verify_each = true});
    ASSERT_TRUE(reports.ok()) << reports.status().ToString();
    auto made = passes::Run(*lowered, RandomInputs(*graph, seed));
    ASSERT_TRUE(made.ok()) << made.status().ToString() << ir::ToText(*lowered);
  });
}

}  // namespace
}  // namespace slipway::passes
