#include "engine/backends/onednn/compile/compiler.h"

#include <algorithm>
#include <array>

#include "base/checked.h"
#include "base/cpu.h"
#include "engine/backends/onednn/compile/probe.h"
#include "engine/backends/onednn/run/backend.h"
#include "model/ops/activation.h"

namespace slipway::backends {
namespace {

using onednn::Probe;

enum class Family : uint8_t {
  kConv,
  kQConv,
  kLinear,  // slipway.Linear, Gemm, MatMul, Attention: plain only
  kQLinear,
  kPool,
  kUnary,
  kBinary,
  kRows,  // Softmax, LayerNormalization: plain only
  kBatchNorm,
  kConcat,
};

struct Row {
  const char* domain;
  const char* op;
  Family family;
};
constexpr Row kRows[] = {
    {"", "Conv", Family::kConv},
    {"slipway", "Conv", Family::kConv},
    {"slipway", "QConv", Family::kQConv},
    {"slipway", "Linear", Family::kLinear},
    {"", "Gemm", Family::kLinear},
    {"", "MatMul", Family::kLinear},
    {"", "Attention", Family::kLinear},
    {"slipway", "QLinear", Family::kQLinear},
    {"", "MaxPool", Family::kPool},
    {"", "AveragePool", Family::kPool},
    {"", "GlobalAveragePool", Family::kPool},
    {"", "Relu", Family::kUnary},
    {"", "LeakyRelu", Family::kUnary},
    {"", "Clip", Family::kUnary},
    {"", "Sigmoid", Family::kUnary},
    {"", "HardSwish", Family::kUnary},
    {"", "Swish", Family::kUnary},
    {"", "Gelu", Family::kUnary},
    {"", "Tanh", Family::kUnary},
    {"", "Elu", Family::kUnary},
    {"", "Abs", Family::kUnary},
    {"", "Sqrt", Family::kUnary},
    {"", "Exp", Family::kUnary},
    {"", "Mish", Family::kUnary},
    {"", "Softplus", Family::kUnary},
    {"", "Add", Family::kBinary},
    {"slipway", "Add", Family::kBinary},
    {"", "Sub", Family::kBinary},
    {"", "Mul", Family::kBinary},
    {"", "Div", Family::kBinary},
    {"", "Max", Family::kBinary},
    {"", "Min", Family::kBinary},
    {"", "Softmax", Family::kRows},
    {"", "LayerNormalization", Family::kRows},
    {"", "BatchNormalization", Family::kBatchNorm},
    {"", "Concat", Family::kConcat},
};

const Row* FindRow(const ir::Node& node) {
  for (const Row& row : kRows) {
    if (node.Is(row.op, row.domain)) return &row;
  }
  return nullptr;
}

// What was measured on a Zen 4 core (1 thread, oneDNN 2.6.3, layers of ResNet-50, MobileNetV2 and
// RegNet; cts/calibrate.cc prints it), as shares of the best rate (57 GMAC/s in float32, 225 in 8
// bit): the geometric means over the layers that each implementation served. Winograd's algorithm
// multiplies less than it is counted for.
struct Figure {
  const char* prefix;  // of the implementation's name
  double compute;
};
constexpr Figure kFigures[] = {
    {"jit_wino_4x3", 2.6}, {"jit_fp32_wino", 1.55}, {"jit_dw", 0.55},      {"brdgmm_dw", 0.50},
    {"jit_int8_dw", 0.10}, {"jit_1x1", 1.0},        {"brgconv_1x1", 0.97}, {"brgconv", 0.99},
    {"jit_int8", 0.95},    {"jit:", 0.98},          {"gemm", 0.55},        {"brgemm", 0.97},
    {"brg", 0.95},
};

double ComputeFigure(const std::string& implementation, Family family) {
  for (const Figure& f : kFigures) {
    if (implementation.rfind(f.prefix, 0) == 0) {
      return family == Family::kQConv && std::string_view(f.prefix) == "brdgmm_dw" ? 0.11
                                                                                   : f.compute;
    }
  }
  return 0.5;
}

// Convolutions on plain tensors go through im2col and a matrix product.
double PlainConvFigure(const ir::Node& node) {
  const auto& w = *node.input(1)->type().shape;
  if (node.attributes.Int("group", 1) > 1) return w[1].Is(1) ? 0.016 : 0.35;
  return w[1].known() && w[1].value() < 8 ? 0.1 : 0.45;
}

// What Winograd's algorithm is for.
bool IsPlain3x3(const ir::Node& node) {
  const auto& w = *node.input(1)->type().shape;
  if (w.size() != 4 || !w[2].Is(3) || !w[3].Is(3) || node.attributes.Int("group", 1) != 1)
    return false;
  auto ones = [&](const char* name) {
    const auto v = node.attributes.Ints(name);
    return std::all_of(v.begin(), v.end(), [](int64_t i) { return i == 1; });
  };
  return ones("strides") && ones("dilations");
}

bool IsStridedPointwise(const ir::Node& node) {
  for (int64_t s : node.attributes.Ints("strides")) {
    if (s == 1) return false;
  }
  const auto& w = *node.input(1)->type().shape;
  for (size_t i = 2; i < w.size(); ++i) {
    if (!w[i].Is(1)) return false;
  }
  return !node.attributes.Ints("strides").empty();
}

// Codes are made of sums beside the products: where these are few it shows.
double CodesFigure(const SymShape& weights, const Dim& outputs) {
  const Dim all = Count(weights);
  if (!all.known() || !outputs.known() || outputs.value() < 1) return 0.95;
  const double k = static_cast<double>(all.value() / outputs.value()),
               n = static_cast<double>(outputs.value());
  const double filled = n / static_cast<double>(RoundUp(outputs.value(), int64_t{16}));
  return 0.95 * filled * k / (k + 12);
}

double UnaryFigure(const ir::Node& node) {
  constexpr std::pair<const char*, double> kFigures[] = {
      {"Sigmoid", 0.35}, {"Swish", 0.22}, {"Gelu", 0.23}, {"Tanh", 0.3},     {"Exp", 0.43},
      {"Mish", 0.35},    {"Elu", 0.35},   {"Sqrt", 0.75}, {"Softplus", 0.25}};
  for (const auto& [op, figure] : kFigures) {
    if (node.op() == op) return figure;
  }
  return 1;
}

bool IsReference(const std::string& implementation) {
  return implementation.find("ref") != std::string::npos;
}

std::optional<int> Rank(const ir::Value* v) {
  if (!v || !v->type().shape) return std::nullopt;
  return static_cast<int>(v->type().shape->size());
}

bool Is8Bit(DType t) { return t == DType::kUInt8 || t == DType::kInt8; }

bool SameShape(const ir::Value* a, const ir::Value* b) {
  return a && b && a->type().shape && b->type().shape && *a->type().shape == *b->type().shape;
}

class OnednnCompiler final : public OpBackend {
 public:
  std::string name() const override { return "onednn"; }
  std::string version() const override { return "oneDNN 2.6"; }
  Level level() const override { return Level::kOperator; }

  Status Supports(const ir::Node& node, const Target& target) const override {
    SLIPWAY_RETURN_IF_ERROR(Static(node, target));
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

  Status Static(const ir::Node& node, const Target& target) const;
  Choice Choose(const ir::Node& node, const Target& target) const;
};

Status CheckZeroPoints(const ir::Node& node, const Target& target) {
  const uint64_t vnni =
      static_cast<uint64_t>(CpuFeature::kAvx512Vnni) | static_cast<uint64_t>(CpuFeature::kAvxVnni);
  if ((target.features & vnni) == 0) return Unsupported("8-bit products without VNNI saturate");
  const ops::Attributes& a = node.attributes;
  const DType x = node.input(0)->dtype(), y = node.output()->dtype();
  if (!Is8Bit(x)) return Unsupported(std::string(DTypeName(x)) + " input");
  if (!Is8Bit(y) && y != DType::kFloat32) return Unsupported(std::string(DTypeName(y)) + " output");
  if (a.Int("x_zero_point", 0) != 0) return Unsupported("input zero point");
  if (a.Int("y_zero_point", 0) != 0) return Unsupported("output zero point");
  if (node.input(4)) {
    if (a.Int("z_zero_point", 0) != 0) return Unsupported("residual zero point");
    if (!Is8Bit(y)) return Unsupported("residual with float32 output");
    if (!Is8Bit(node.input(4)->dtype())) return Unsupported("residual that is not 8 bit");
  }
  if (!node.constant_input(2)) return Unsupported("multiplier that is no constant");
  return OkStatus();
}

Status OnednnCompiler::Static(const ir::Node& node, const Target& target) const {
  const Row* row = FindRow(node);
  if (!row) return Unsupported("no " + node.FullOp());
  if (target.arch != "x86_64") return Unsupported("oneDNN runs on x86-64 only");
  if (!node.input(0) || !node.output() || !node.output()->type().known() ||
      !node.input(0)->type().known())
    return Unsupported("unknown shape");
  for (size_t i = 1; i < node.outputs().size(); ++i) {
    if (node.output(i) && node.output(i)->IsUsed()) return Unsupported("a second output");
  }
  for (const ir::Value* v : node.inputs()) {  // the run side refuses products over nothing
    if (!v || !v->type().shape || row->family == Family::kConcat) continue;
    for (const Dim& d : *v->type().shape) {
      if (d.Is(0)) return Unsupported("an input without elements");
    }
  }
  const ops::Attributes& a = node.attributes;
  const bool integer = row->family == Family::kQConv || row->family == Family::kQLinear;
  const bool moves = row->family == Family::kConcat || node.op() == "MaxPool";
  // All or nothing, and only where the CPU multiplies them: elsewhere oneDNN converts.
  const bool half = node.input(0)->dtype() == DType::kBFloat16;
  if (half) {
    if ((target.features & static_cast<uint64_t>(CpuFeature::kAvx512Bf16)) == 0)
      return Unsupported("bfloat16 on a CPU without AVX512-BF16");
    if (node.Is("Attention") || row->family == Family::kRows || row->family == Family::kBatchNorm)
      return Unsupported("bfloat16 input");
    if (node.output()->dtype() != DType::kBFloat16)
      return Unsupported(std::string("bfloat16 to ") + DTypeName(node.output()->dtype()));
  }
  const DType wanted = half ? DType::kBFloat16 : DType::kFloat32;
  for (size_t i = 0; i < (integer ? 0 : node.inputs().size()); ++i) {
    const DType t = node.input(i) ? node.input(i)->dtype() : wanted;
    if (t != wanted && !(moves && Is8Bit(t)))
      return Unsupported(std::string(DTypeName(t)) + " input");
  }
  if (integer && node.input(1)->dtype() != DType::kInt8) return Unsupported("weights of 16 bits");
  for (const ir::Value* v : {node.input(0), node.input(4), node.output()}) {
    if (integer && v && DTypeBits(v->dtype()) == 16) return Unsupported("codes of 16 bits");
  }
  switch (row->family) {
    case Family::kConv:
    case Family::kQConv: {
      const int rank = *Rank(node.input(0));
      if (rank < 3 || rank > 5) return Unsupported("rank " + std::to_string(rank));
      if (!node.constant_input(1)) return Unsupported("weights that are no constant");
      if (integer) {
        SLIPWAY_RETURN_IF_ERROR(CheckZeroPoints(node, target));
        // Of these a primitive exists for some batches only.
        const int64_t group = a.Int("group", 1);
        const auto& w = *node.input(1)->type().shape;
        if (group > 1 && !w[1].Is(1) && (w[1].value() % 16 != 0 || w[0].value() / group % 16 != 0))
          return Unsupported("groups that do not fill 16 channels");
      }
      if (node.domain() == "slipway" && !integer)
        SLIPWAY_RETURN_IF_ERROR(ops::ParseActivation(a).status());
      return OkStatus();
    }
    case Family::kQLinear:
      if (!node.constant_input(1)) return Unsupported("weights that are no constant");
      return CheckZeroPoints(node, target);
    case Family::kLinear:
      if (node.op() == "Gemm") {
        if (a.Int("transA", 0) != 0) return Unsupported("transA");
        if (a.Float("alpha", 1) != 1) return Unsupported("alpha");
        if (node.input(2)) {
          if (a.Float("beta", 1) != 1) return Unsupported("beta");
          const auto& bias = node.input(2)->type().shape;
          const auto& y = *node.output()->type().shape;
          if (!bias || !(Count(*bias) == y.back())) return Unsupported("bias that broadcasts");
        }
      }
      return OkStatus();
    case Family::kPool: {
      const int rank = *Rank(node.input(0));
      if (rank < 3 || rank > 5) return Unsupported("rank " + std::to_string(rank));
      for (int64_t d : a.Ints("dilations")) {
        if (d != 1) return Unsupported("dilation " + std::to_string(d));
      }
      if (node.op() == "AveragePool" && a.Int("ceil_mode", 0) != 0 &&
          a.Int("count_include_pad", 0) != 0) {
        return Unsupported("ceil_mode with count_include_pad");
      }
      return OkStatus();
    }
    case Family::kUnary:
      if (node.op() == "Clip" && ((node.input(1) && !node.constant_input(1)) ||
                                  (node.input(2) && !node.constant_input(2)))) {
        return Unsupported("bounds that are no constants");
      }
      return OkStatus();
    case Family::kBinary: {
      if (node.inputs().size() != 2 || !node.input(1))
        return Unsupported("a number of inputs other than 2");
      const bool commutes = node.op() != "Sub" && node.op() != "Div";
      if (!SameShape(node.input(0), node.output()) &&
          !(commutes && SameShape(node.input(1), node.output()))) {
        return Unsupported("broadcasting the first operand");
      }
      return OkStatus();
    }
    case Family::kRows:
    case Family::kBatchNorm:
    case Family::kConcat:
      return OkStatus();
  }
  return OkStatus();
}

// The layouts worth trying, best first: (inputs, outputs) of the tensors with channels.
struct Pattern {
  Layout x, y;
  const char* name;
};

std::vector<Pattern> Patterns(const ir::Node& node, Family family, const Target& target) {
  const bool avx512 = (target.features & static_cast<uint64_t>(CpuFeature::kAvx512)) != 0;
  const Layout block = avx512 ? Layout::kBlocked16 : Layout::kBlocked8;
  const int size = format::ChannelBlock(block);
  const Pattern plain{Layout::kPlain, Layout::kPlain, "plain"},
      nhwc{Layout::kChannelsLast, Layout::kChannelsLast, "nhwc"},
      blocked{block, block, avx512 ? "nchw16c" : "nchw8c"};
  const int rank = *Rank(node.output());
  if (rank < 3 || rank > 5) return {plain};
  auto channels = [&](const ir::Value* v) -> int64_t {
    const auto& shape = v->type().shape;
    return shape && shape->size() >= 2 && (*shape)[1].known() ? (*shape)[1].value() : -1;
  };
  std::vector<Pattern> patterns;
  switch (family) {
    case Family::kConv: {
      const int64_t cin = channels(node.input(0)), cout = channels(node.output());
      if (cin > 0 && cin % size == 0 && cout > 0 && cout % size == 0) {
        if (IsPlain3x3(node) && !target.exact)
          patterns.push_back({block, block, avx512 ? "nchw16c-winograd" : "nchw8c-winograd"});
        patterns.push_back(blocked);
      }
      if (cin > 0 && cin <= 4 && cout > 0 && cout % size == 0) {
        patterns.push_back({Layout::kPlain, block, avx512 ? "plain-nchw16c" : "plain-nchw8c"});
      }
      // These go through a matrix product, which the run side refuses without AVX2.
      if ((target.features & static_cast<uint64_t>(CpuFeature::kAvx2)) == 0) return patterns;
      patterns.push_back(nhwc);
      patterns.push_back(plain);
      return patterns;
    }
    case Family::kQConv:
      return {nhwc};
    case Family::kLinear:
    case Family::kQLinear:
    case Family::kRows:
      return {plain};
    default:
      break;
  }
  if (ChannelsMultipleOf(node, size) && !Is8Bit(node.input(0)->dtype()))
    patterns.push_back(blocked);
  patterns.push_back(nhwc);
  patterns.push_back(plain);
  return patterns;
}

OnednnCompiler::Choice OnednnCompiler::Choose(const ir::Node& node, const Target& target) const {
  const Family family = FindRow(node)->family;
  const ops::Attributes& a = node.attributes;
  Choice choice{{}, Unsupported("oneDNN has only plain loops for this")};
  for (const Pattern& p : Patterns(node, family, target)) {
    Candidate c = PlainCandidate(node, node.op() + ":" + p.name);
    for (size_t i = 0; i < c.inputs.size(); ++i) {
      const ir::Value* v = node.input(i);
      // Vectors and scalars beside the data stay plain; a residual lies like the output.
      const bool residual =
          (family == Family::kConv && i == 3) || (family == Family::kQConv && i == 4);
      const auto rank = Rank(v);
      const bool data =
          i == 0 || residual || family == Family::kBinary || family == Family::kConcat;
      if (v && !v->is_constant() && data && rank && *rank >= 3) c.inputs[i] = residual ? p.y : p.x;
    }
    if (p.x != Layout::kPlain && family == Family::kBinary) {
      // Both operands need the channels in the same place.
      bool fits = true;
      for (size_t i = 0; i < 2; ++i) {
        const auto rank = Rank(node.input(i));
        fits &= rank == Rank(node.output());
        if (node.input(i)->is_constant()) {  // lies plain: the same when it is one value a channel
          const auto& shape = *node.input(i)->type().shape;
          for (size_t d = 2; d < shape.size(); ++d) fits &= shape[d].Is(1);
        }
      }
      if (!fits) continue;
    }
    c.outputs[0] = p.y;
    const auto probed = Probe(node, c, target);
    std::string implementation = "jit:";
    if (probed) {
      if (!probed->ok()) {
        choice.status = Unsupported(probed->status().message());
        continue;
      }
      implementation = **probed;
      if (std::string_view(p.name).ends_with(onednn::kWinograd) &&
          implementation.find("wino") == std::string::npos)
        continue;
      if (IsReference(implementation)) continue;
    }
    c.compute_efficiency = ComputeFigure(implementation, family);
    c.overhead_us = 1.5;
    c.memory_efficiency = 1;
    switch (family) {
      case Family::kConv:
      case Family::kQConv:
        if (p.x == Layout::kPlain && p.y == Layout::kPlain)
          c.compute_efficiency = PlainConvFigure(node);
        // Whatever the implementation is called.
        if (family == Family::kQConv && node.attributes.Int("group", 1) > 1 &&
            (*node.input(1)->type().shape)[1].Is(1))
          c.compute_efficiency = std::min(c.compute_efficiency, 0.11);
        // A channel at a time has nothing of the rate of bfloat16.
        if (family == Family::kConv && node.input(0)->dtype() == DType::kBFloat16 &&
            (*node.input(1)->type().shape)[1].Is(1) && a.Int("group", 1) > 1)
          c.compute_efficiency = std::min(c.compute_efficiency, 0.28);
        if (p.x == Layout::kChannelsLast && family == Family::kConv && IsStridedPointwise(node))
          c.compute_efficiency *= 0.75;
        // Not alone on the machine: its threads and ours take the CPUs from each other.
        if (family == Family::kConv) c.compute_efficiency *= 0.88;
        // Products in bfloat16 are few beside what is done for each sum, as those of codes are
        // (1x1, 32 to 16 channels: 0.58 of the best rate; 96 to 24: 0.63).
        if (family == Family::kConv && node.input(0)->dtype() == DType::kBFloat16 &&
            a.Int("group", 1) == 1) {
          const auto& w = *node.input(1)->type().shape;
          c.compute_efficiency *= CodesFigure(w, w[0]);
        }
        if (node.input(family == Family::kConv ? 3 : 4))
          c.in_place = family == Family::kConv ? 3 : 4;
        if (family == Family::kQConv) {
          const auto& w = *node.input(1)->type().shape;
          c.compute_efficiency *= CodesFigure(w, w[0]);
          if (w[1].known() && w[1].value() % 4 != 0) c.compute_efficiency *= 0.7;
          if (node.attributes.Int("group", 1) > 1) c.compute_efficiency *= 0.85;
        }
        // The activation is computed in whole registers for every few sums.
        if (family == Family::kQConv && a.String("activation", "none") != "none")
          c.compute_efficiency *= 0.4;
        break;
      case Family::kLinear:
      case Family::kQLinear:
        if (node.op() == "Attention") c.compute_efficiency = 0.7;
        if (node.IsSlipway("Linear") && node.input(3)) c.in_place = 3;
        if (node.IsSlipway("QLinear") && node.input(4)) c.in_place = 4;
        if (family == Family::kQLinear) {
          c.compute_efficiency *=
              CodesFigure(*node.input(1)->type().shape, node.output()->type().shape->back());
          if (a.String("activation", "none") != "none") c.compute_efficiency *= 0.6;
        }
        break;
      case Family::kUnary:
        c.memory_efficiency = UnaryFigure(node);
        c.in_place = 0;
        break;
      case Family::kBatchNorm:
        c.memory_efficiency = p.x == Layout::kPlain          ? 0.13
                              : p.x == Layout::kChannelsLast ? 0.47
                                                             : 0.9;
        c.in_place = 0;
        break;
      case Family::kBinary:
        c.memory_efficiency = 0.8;  // as fast as ours at best, in turns with our threads
        c.in_place = SameShape(node.input(0), node.output()) ? 0 : 1;
        break;
      case Family::kRows:
        c.memory_efficiency = node.op() == "Softmax" ? 0.17 : 0.75;
        c.in_place = 0;
        break;
      case Family::kPool:
        c.memory_efficiency = p.x == Layout::kPlain ? 0.33 : 1;
        break;
      case Family::kConcat:
        c.memory_efficiency = p.x == Layout::kChannelsLast ? 0.5 : 0.07;
        break;
    }
    choice.candidates.push_back(std::move(c));
  }
  if (!choice.candidates.empty()) choice.status = OkStatus();
  return choice;
}

}  // namespace

std::unique_ptr<CompileBackend> MakeOnednnCompiler() { return std::make_unique<OnednnCompiler>(); }

}  // namespace slipway::backends
