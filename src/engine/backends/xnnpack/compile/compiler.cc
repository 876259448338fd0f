// XNNPACK of February 2022. What a step needs of it is asked of the plan that the run side would
// make (run/plan.h); here are the layouts worth asking for, and what they cost.

#include "engine/backends/xnnpack/compile/compiler.h"

#include "engine/backends/describe.h"
#include "engine/backends/xnnpack/run/backend.h"
#include "engine/backends/xnnpack/run/plan.h"

namespace slipway::backends {
namespace {

int RankOf(const ir::Value* v) {
  return v && v->type().shape ? static_cast<int>(v->type().shape->size()) : 0;
}
bool HasLayouts(const ir::Value* v) { return v && !v->is_constant() && RankOf(v) >= 3; }

// Operators whose output has fewer dimensions or one position: it may lie plain.
bool EndsInVectors(const ir::Node& node) {
  return node.Is("GlobalAveragePool") || node.Is("GlobalMaxPool") || node.IsSlipway("QAveragePool");
}
bool IsView(const ir::Node& node) {
  return node.domain().empty() &&
         (node.op() == "Reshape" || node.op() == "Flatten" || node.op() == "Squeeze" ||
          node.op() == "Unsqueeze" || node.op() == "Identity");
}
bool IsRows(const ir::Node& node) {
  return node.op() == "Linear" || node.op() == "QLinear" || node.op() == "Gemm" ||
         node.op() == "MatMul" || node.op() == "Attention";
}
bool IsConv(const ir::Node& node) {
  return node.op() == "Conv" || node.op() == "QConv" || node.op() == "ConvDepthwise" ||
         node.op() == "ConvTranspose";
}
// Elementwise with an output like input 0, read before it is written.
bool IsUnary(const ir::Node& node) {
  constexpr const char* kOps[] = {"Relu",      "Clip",  "LeakyRelu", "Sigmoid", "HardSigmoid",
                                  "HardSwish", "Elu",   "Abs",       "Neg",     "Ceil",
                                  "Floor",     "Round", "Sqrt"};
  for (const char* op : kOps) {
    if (node.Is(op)) return true;
  }
  return false;
}

class XnnpackCompiler final : public OpBackend {
 public:
  std::string name() const override { return "xnnpack"; }
  std::string version() const override { return XnnpackBackend()->version; }
  Level level() const override { return Level::kOperator; }

  Status Supports(const ir::Node& node, const Target& target) const override {
    return Choose(node, target).status;
  }
  std::vector<Candidate> Candidates(const ir::Node& node, const Target& target) const override {
    return Choose(node, target).candidates;
  }

 private:
  struct Choice {
    std::vector<Candidate> candidates;
    Status status;
  };

  static Choice Choose(const ir::Node& node, const Target& target) {
    if (!xnnpack::Knows({node.domain(), node.op(), {}}))
      return {{}, Unsupported("no " + node.FullOp())};
    if (target.arch != "x86_64") return {{}, Unsupported("not built for " + target.arch)};
    for (const auto* list : {&node.inputs(), &node.outputs()}) {
      for (const ir::Value* v : *list) {
        if (v && !v->type().known())
          return {{}, Unsupported("value '" + v->name() + "' has no known shape")};
      }
    }
    if (!node.input(0) || node.input(0)->is_constant())
      return {{}, Unsupported("an input that is a constant")};
    Choice choice;
    const auto uniform = [&](Layout x, Layout y) {
      std::string kernel =
          node.op() + ":" +
          (x == y ? LayoutName(y) : std::string(LayoutName(x)) + "-" + LayoutName(y));
      Candidate c = PlainCandidate(node, std::move(kernel));
      for (size_t i = 0; i < c.inputs.size(); ++i) {
        // An operand of lower rank, or of one channel, lies plain.
        if (HasLayouts(node.input(i)) && RankOf(node.input(i)) == RankOf(node.input(0)))
          c.inputs[i] = x;
      }
      for (size_t i = 0; i < c.outputs.size(); ++i) {
        if (HasLayouts(node.output(i))) c.outputs[i] = y;
      }
      return c;
    };
    const Layout last = Layout::kChannelsLast, plain = Layout::kPlain;
    const bool images = HasLayouts(node.input(0)) && HasLayouts(node.output());
    if (IsView(node)) {
      Candidate c = uniform(plain, plain);
      c.view = true;
      Try(node, std::move(c), choice);
      if (HasLayouts(node.input(0))) {
        c = uniform(last, plain);
        c.view = true;
        Try(node, std::move(c), choice);
      }
      if (HasLayouts(node.output())) {
        c = uniform(plain, last);
        c.view = true;
        Try(node, std::move(c), choice);
      }
    } else {
      if (images && !IsRows(node)) Try(node, uniform(last, last), choice);
      if (EndsInVectors(node) && HasLayouts(node.input(0))) Try(node, uniform(last, plain), choice);
      if (!IsConv(node)) Try(node, uniform(plain, plain), choice);
      // The other operand may be what plain and last have in common.
      if (images && node.inputs().size() == 2) {
        for (size_t i = 0; i < 2; ++i) {
          if (!HasLayouts(node.input(i))) continue;
          Candidate c = uniform(last, last);
          c.kernel += i == 0 ? ":a" : ":b";
          c.inputs[i] = plain;
          Try(node, std::move(c), choice);
        }
      }
    }
    if (!choice.candidates.empty())
      choice.status = OkStatus();
    else if (choice.status.ok())
      choice.status = Unsupported("no layout fits");
    return choice;
  }

  // Adds the candidate if there is a plan for it; keeps the first refusal.
  static void Try(const ir::Node& node, Candidate c, Choice& choice) {
    const auto description = Describe(node, c);
    if (!description) {
      if (choice.status.ok()) choice.status = Unsupported("shapes that cannot be tried");
      return;
    }
    const auto plan = xnnpack::MakePlan(description->Step());
    if (!plan.ok()) {
      if (choice.status.ok()) choice.status = Unsupported(plan.status().message());
      return;
    }
    Price(node, c);
    choice.candidates.push_back(std::move(c));
  }

  // Shares of the machine's rates, of layers timed alone (docs/xnnpack.md). No VNNI in this
  // version.
  static void Price(const ir::Node& node, Candidate& c) {
    c.overhead_us = 0.7;
    c.compute_efficiency = 0.5;
    c.memory_efficiency = 0.5;
    if (IsConv(node)) {
      const bool codes = node.op() == "QConv";
      c.compute_efficiency = codes ? 0.3 : 0.75;
      if (node.attributes.Int("group", 1) > 1) c.compute_efficiency = codes ? 0.05 : 0.25;
    } else if (IsRows(node)) {
      c.compute_efficiency = node.op() == "QLinear" || !node.constant_input(1) ? 0.3 : 0.75;
    } else if (IsUnary(node)) {
      c.in_place = 0;
    }
  }
};

}  // namespace

std::unique_ptr<CompileBackend> MakeXnnpackCompiler() {
  return std::make_unique<XnnpackCompiler>();
}

}  // namespace slipway::backends
