// Random graphs through all passes: results must not change whatever the passes make of them.
// Time-bounded; the seed is printed.

#include <chrono>
#include <set>
#include <string>

#include "model/passes/pass_test_util.h"

namespace slipway::passes {
namespace {

class Builder {
 public:
  // With `symbolic` the batch is a symbol, which the inputs bind to kBatch.
  explicit Builder(uint32_t seed, bool symbolic = false) : random_(seed) {
    Dim batch = symbolic ? Dim::Symbol("N") : Dim(2);
    Add(graph_.AddInput("x", {DType::kFloat32, SymShape{batch, 4, 6, 6}}));
    Add(graph_.AddInput("y", {DType::kFloat32, SymShape{symbolic ? batch : Dim(1), 3, 8}}));
  }

  std::unique_ptr<Graph> Build(int nodes, bool quantized) {
    for (int i = 0; i < nodes; ++i) {
      Step();
      if (quantized && Chance(50)) FakeQuantize();
    }
    for (Value* v : values_) {
      bool wanted = v->producer() && v->dtype() == DType::kFloat32 && !v->is_output();
      if (wanted && (v->uses().empty() || Chance(5))) graph_.AddOutput(v);
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
  // The extent with the batch put in; nullopt when there is another symbol or too much of it.
  static std::optional<Dims> Extent(const Value* v) {
    if (!v->type().shape || v->type().shape->size() > 6) return std::nullopt;
    Dims dims;
    for (const Dim& d : *v->type().shape) {
      Dim known = d.Substitute([](std::string_view symbol) -> std::optional<Dim> {
        return symbol == "N" ? std::optional<Dim>(kBatch) : std::nullopt;
      });
      if (!known.known() || known.value() < 1) return std::nullopt;
      dims.push_back(known.value());
    }
    return dims;
  }
  Dims DimsOf(const Value* v) { return *Extent(v); }

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

  // Inference assumes that a symbol is what it must be; with the batch put in it may not be.
  static bool FitsTheBatch(const ir::Node* node) {
    std::vector<ir::Type> types;
    std::vector<const Tensor*> constants;
    for (const Value* v : node->inputs()) {
      auto dims = v ? Extent(v) : std::nullopt;
      ir::Type type;
      if (v) type.dtype = v->dtype();
      if (dims) type.shape = SymShape(dims->begin(), dims->end());
      types.push_back(type);
      constants.push_back(v ? v->constant() : nullptr);
    }
    auto made = ir::InferNode(*node, types, constants);
    if (!made.ok()) return false;
    for (size_t i = 0; i < made->size() && i < node->outputs().size(); ++i) {
      auto dims = (*made)[i].StaticDims();
      if (dims && dims != Extent(node->output(i))) return false;
    }
    return true;
  }

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
    bool good = status.ok() && FitsTheBatch(node);
    for (const Value* v : node->outputs()) {
      auto dims = good ? Extent(v) : std::nullopt;
      good = dims && dims->count() > 0 && dims->count() <= 20000;
    }
    if (!good) {
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
    switch (Below(40)) {
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
      case 25:
        Node(Chance(50) ? "Softmax" : "ReduceMean",
             Chance(50) ? std::vector<Value*>{x} : std::vector<Value*>{x, Ints({axis()})});
        break;
      default:
        More(x, d);
        break;
    }
  }

  std::vector<int64_t> Target(const Dims& d) { return {d.begin(), d.end()}; }
  Value* Last() { return values_.back(); }

  // Whatever exporters write in several operators, and the operators that the passes above move.
  void More(Value* x, const Dims& d) {
    size_t rank = d.size();
    auto axis = [&] { return static_cast<int64_t>(Below(std::max<size_t>(1, rank))); };
    switch (Below(22)) {
      case 0: {
        static const char* kSmooth[] = {"Elu",      "Selu",        "Celu",      "Softplus",
                                        "Softsign", "Mish",        "Erf",       "Sin",
                                        "Cos",      "Neg",         "HardSwish", "Gelu",
                                        "Abs",      "HardSigmoid", "LeakyRelu", "ThresholdedRelu",
                                        "Swish"};
        Node(kSmooth[Below(std::size(kSmooth))], {x});
        break;
      }
      case 1: {
        static const char* kReductions[] = {"ReduceSum", "ReduceMean", "ReduceMax",
                                            "ReduceMin", "ReduceL1",   "ReduceSumSquare"};
        if (rank < 1) break;
        const char* op = kReductions[Below(std::size(kReductions))];
        int64_t keep = Below(2);
        Node(op, {x, Ints({axis()})}, {{"keepdims", keep}});
        if (Chance(40)) {
          Value* y = Last();
          auto left = static_cast<size_t>(DimsOf(y).rank());
          if (left) Node(op, {y, Ints({Below(left)})}, {{"keepdims", keep}});
        }
        break;
      }
      case 2: {  // a run of indices, or others
        if (rank < 1) break;
        int64_t a = axis(), n = d[static_cast<size_t>(a)];
        if (Chance(50)) {
          Node("Gather",
               {x, graph_.AddConstant("i", Tensor::Scalar<int64_t>(Below(static_cast<size_t>(n))))},
               {{"axis", a}});
        } else {
          int64_t first = Below(static_cast<size_t>(n));
          Node("Gather", {x, Ints({first, std::min(n - 1, first + 1), Chance(50) ? n - 1 : 0})},
               {{"axis", a}});
        }
        break;
      }
      case 3: {  // pieces that are cut and joined again
        int64_t a = axis(), n = rank ? d[static_cast<size_t>(a)] : 1;
        if (n < 3) break;
        size_t before = values_.size();
        Node("Split", {x, Ints({1, 1, n - 2})}, {{"axis", a}}, 3);
        if (values_.size() != before + 3) break;
        Value *p = values_[before], *q = values_[before + 1], *r = values_[before + 2];
        if (Chance(50)) Node("Relu", {q});
        Node("Concat", Chance(70) ? std::vector<Value*>{p, q, r} : std::vector<Value*>{r, p, q},
             {{"axis", a}});
        break;
      }
      case 4: {  // Expand and Tile before something that broadcasts
        if (rank < 1) break;
        Dims ones = d;
        ones[static_cast<size_t>(axis())] = 1;
        Value* c = Floats(ones);
        Node("Add", {x, c});
        Node("ReduceMean", {x, Ints({axis()})});
        Node("Expand", {Last(), Ints(Target(d))});
        Node(Chance(50) ? "Mul" : "Sub", {x, Last()});
        break;
      }
      case 5:  // there and back through a wider type
        Node("Cast", {x}, {{"to", int64_t{11}}});
        Node("Cast", {Last()}, {{"to", int64_t{1}}});
        if (values_[values_.size() - 2]->dtype() == DType::kFloat64)
          values_.erase(values_.end() - 2);
        break;
      case 6: {                             // where
        Node("Greater", {x, Scalar({0})});  // elsewhere it would jump
        if (Last()->dtype() != DType::kBool) break;
        Value* c = Last();
        values_.pop_back();
        if (Chance(30)) {
          Node("Not", {c});
          c = Last();
          values_.pop_back();
        }
        Node("Mul", {x, Scalar({0.1f, 0.5f})});
        Value* m = Last();
        Node("Where", Chance(50) ? std::vector<Value*>{c, x, m} : std::vector<Value*>{c, m, x});
        break;
      }
      case 7: {  // max(x, a x)
        Node("Mul", {x, Scalar({0.1f, 0.5f, 1.5f})});
        Node(Chance(70) ? "Max" : "Min", {x, Last()});
        break;
      }
      case 8: {  // two Relus
        Node("Relu", {x});
        Value* p = Last();
        Node("Neg", {x});
        Node("Relu", {Last()});
        Node("Mul", {Last(), Scalar({0.25f, -0.5f})});
        Node(Chance(50) ? "Add" : "Sub", {p, Last()});
        break;
      }
      case 9: {  // softmax in pieces
        if (rank < 1) break;
        Value* axes = Ints({axis()});
        Node("ReduceMax", {x, axes});
        Node("Sub", {x, Last()});
        Value* s = Last();
        Node("Exp", {s});
        Value* e = Last();
        Node("ReduceSum", {e, axes});
        if (Chance(60)) {
          Node("Div", {e, Last()});
        } else {
          Node("Log", {Last()});
          Node("Sub", {s, Last()});
        }
        break;
      }
      case 10: {  // a norm in pieces
        if (rank < 3) break;
        std::vector<int64_t> axes;
        for (size_t i = Chance(50) ? 2 : rank - 1; i < rank; ++i)
          axes.push_back(static_cast<int64_t>(i));
        Node("ReduceMean", {x, Ints(axes)});
        Node("Sub", {x, Last()});
        Value* c = Last();
        Node("Mul", {c, c});
        Node("ReduceMean", {Last(), Ints(axes)});
        Node("Add", {Last(), Scalar({0.5f})});
        Node("Sqrt", {Last()});
        Node("Div", {c, Last()});
        if (Chance(60)) Node("Mul", {Last(), Channels(d)});
        if (Chance(60)) Node("Add", {Last(), Channels(d)});
        break;
      }
      case 11: {  // a linear layer, perhaps scaled on either side
        if (rank < 2) break;
        int64_t k = d[rank - 1], n = 2 + Below(4);
        if (Chance(30)) Node("Mul", {x, Floats({k})});
        Node("MatMul", {Last(), Floats({k, n})});
        if (Chance(60)) Node("Add", {Floats({n}), Last()});
        if (Chance(40)) Node("Mul", {Last(), Floats({n})});
        break;
      }
      case 12: {  // shuffles of channels and pixels
        if (rank != 4 || d[1] % 4) break;
        bool dcr = Chance(50);
        int64_t c = d[1] / 4;
        Node("Reshape", {x, Ints(dcr ? std::vector<int64_t>{0, 2, 2, c, d[2], d[3]}
                                     : std::vector<int64_t>{0, c, 2, 2, d[2], d[3]})});
        Node("Transpose", {Last()},
             {{"perm", dcr ? std::vector<int64_t>{0, 3, 4, 1, 5, 2}
                           : std::vector<int64_t>{0, 1, 4, 2, 5, 3}}});
        Node("Reshape", {Last(), Ints({0, c, 2 * d[2], 2 * d[3]})});
        break;
      }
      case 13: {  // nearest upsampling
        if (rank != 4 || d.count() > 4000) break;
        Node("Reshape", {x, Ints({0, d[1], d[2], 1, d[3], 1})});
        Node("Tile", {Last(), Ints({1, 1, 1, 2, 1, 2})});
        Node("Reshape", {Last(), Ints({0, d[1], 2 * d[2], 2 * d[3]})});
        break;
      }
      case 14: {  // attention
        if (rank != 3) break;
        int64_t n = d[1], k = d[2];
        Node("MatMul", {x, Floats({k, 4})});
        Value* q = Last();
        Node("MatMul", {x, Floats({k, 4})});
        Value* v = Last();
        Node("Transpose", {v}, {{"perm", std::vector<int64_t>{0, 2, 1}}});
        Node("MatMul", {q, Last()});
        if (Chance(50)) Node("Mul", {Last(), Scalar({0.5f})});
        if (Chance(50)) Node("Add", {Last(), Floats({n, n})});
        Node("Softmax", {Last()});
        Node("MatMul", {Last(), v});
        break;
      }
      case 15: {  // chains of constants
        if (rank < 2) break;
        Node("Mul", {x, Channels(d)});
        Node("Mul", {Last(), Scalar({2, -1, 0.3f})});
        Node("Add", {Last(), Channels(d)});
        Node("Add", {Last(), Scalar({0.5f})});
        if (rank == 4) Convolution(Last(), DimsOf(Last()));
        break;
      }
      case 16: {  // transposes around something
        if (rank != 4) break;
        std::vector<int64_t> perm{0, 2, 3, 1}, back{0, 3, 1, 2};
        Node("Transpose", {x}, {{"perm", perm}});
        switch (Below(4)) {
          case 0:
            Node("Softmax", {Last()}, {{"axis", axis()}});
            break;
          case 1:
            Node("Pad", {Last(), Ints({0, 1, 0, 2, 0, 0, 1, 0})});
            break;
          case 2:
            Node("Slice", {Last(), Ints({0}), Ints({2}), Ints({axis()})});
            break;
          default:
            Node("ReduceMax", {Last(), Ints({axis()})}, {{"keepdims", int64_t{Below(2)}}});
            break;
        }
        if (DimsOf(Last()).size() == 4) Node("Transpose", {Last()}, {{"perm", back}});
        break;
      }
      case 17: {  // a shape that decides the shape
        Node("Shape", {x});
        Value* s = Last();
        values_.pop_back();
        if (s->dtype() != DType::kInt64) break;
        Node("Reshape", {x, s});
        break;
      }
      case 18:
        if (rank == 4)
          Node(Chance(50) ? "AveragePool" : "MaxPool", {x},
               {{"kernel_shape",
                 Chance(50) ? std::vector<int64_t>{d[2], d[3]} : std::vector<int64_t>{2, 2}}});
        break;
      case 19:
        if (rank >= 3)
          Node("InstanceNormalization", {x, Floats({d[1]}, 0.5f, 1.5f), Floats({d[1]})});
        break;
      case 20:
        if (rank >= 1)
          Node("LayerNormalization", {x, Floats({d[rank - 1]}, 0.5f, 1.5f), Floats({d[rank - 1]})});
        break;
      case 21: {  // signs
        Node("Neg", {x});
        Node(Chance(50) ? "Add" : "Sub", {Pick(), Last()});
        break;
      }
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

  static constexpr int64_t kBatch = 3;  // what RandomInputs puts in

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

// Like RunAndCheck, but differences count against 0.05 at least: the mean of what was normalised,
// for one, is nothing but rounding.
void Check(const Graph& before, const PassOptions& options, double tolerance) {
  auto after = before.Clone();
  PassOptions checked = options;
  checked.verify_each = true;
  auto reports = RunPasses(*after, checked);
  ASSERT_TRUE(reports.ok()) << reports.status().ToString() << "\n" << ir::ToText(before);
  uint32_t seed = std::random_device{}();
  SCOPED_TRACE("inputs " + std::to_string(seed));
  Tensors inputs = RandomInputs(before, seed);
  auto expected = passes::Run(before, inputs), actual = passes::Run(*after, inputs);
  ASSERT_TRUE(expected.ok()) << expected.status().ToString() << "\n" << ir::ToText(before);
  ASSERT_TRUE(actual.ok()) << actual.status().ToString() << "\n"
                           << ir::ToText(before) << ir::ToText(*after);
  // Of three values that are nearly equal, normalisation makes the rounding of what came before
  // large, in all that follows from it.
  std::set<std::string> normalised;
  for (const auto& node : before.nodes()) {
    bool from = node->Is("InstanceNormalization");
    for (const Value* v : node->inputs()) from |= v && normalised.count(v->name());
    if (!from) continue;
    for (const Value* v : node->outputs()) {
      if (v) normalised.insert(v->name());
    }
  }
  for (const auto& [name, e] : *expected) {
    ASSERT_TRUE(actual->count(name)) << name;
    std::vector<double> a = e.ToDoubles(), b = actual->at(name).ToDoubles();
    ASSERT_EQ(a.size(), b.size()) << name;
    double range = 0.05;
    for (double v : a) range = std::isfinite(v) ? std::max(range, std::abs(v)) : range;
    const double wanted = tolerance * range * (normalised.count(name) ? 20 : 1);
    for (size_t i = 0; i < a.size(); ++i) {
      bool same =
          a[i] == b[i] || (std::isnan(a[i]) && std::isnan(b[i])) || std::abs(a[i] - b[i]) <= wanted;
      ASSERT_TRUE(same) << name << "[" << i << "]: " << a[i] << " became " << b[i] << "\n"
                        << ir::ToText(before) << ir::ToText(*after);
    }
  }
  auto again = RunPasses(*after, checked);
  ASSERT_TRUE(again.ok());
  for (const PassReport& r : *again) {
    EXPECT_EQ(r.changes, 0) << r.name << " does not come to rest\n" << ir::ToText(before);
  }
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
      Check(*graph, {.level = level, .allow_rounding = true}, 2e-4);
  });
}

TEST(RandomGraphs, KeepTheirResultsWithASymbolicBatch) {
  ForSeeds(3, [](uint32_t seed) {
    auto graph = Builder(seed, true).Build(20, false);
    if (graph->outputs().empty()) return;
    CountChanges(*graph, Level::kFused);
    Check(*graph, {.level = Level::kFused, .allow_rounding = true}, 2e-4);
  });
}

TEST(RandomGraphs, KeepTheirResultsUnderEachPassAlone) {
  ForSeeds(3, [](uint32_t seed) {
    auto graph = Builder(seed, seed % 2).Build(15, false);
    if (graph->outputs().empty()) return;
    for (size_t i = 0; i < 6; ++i) {
      const PassInfo& pass = AllPasses()[(seed + i * 7) % AllPasses().size()];
      if (pass.level == Level::kInteger) continue;
      SCOPED_TRACE(pass.name);
      Check(*graph, Only({pass.name}), 2e-4);
      if (testing::Test::HasFailure()) return;
    }
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
