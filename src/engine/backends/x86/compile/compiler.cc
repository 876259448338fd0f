#include "engine/backends/x86/compile/compiler.h"

#include <algorithm>

#include "base/cpu.h"
#include "engine/backends/describe.h"
#include "engine/backends/x86/compile/bits.h"
#include "engine/backends/x86/compile/conv.h"
#include "engine/backends/x86/compile/depthwise.h"
#include "engine/backends/x86/compile/nbits.h"
#include "engine/backends/x86/compile/pack.h"
#include "engine/backends/x86/run/backend.h"
#include "engine/kernels/qgemm/qgemm.h"
#include "engine/kernels/thin/thin.h"

namespace slipway::backends {
namespace {

// What a family costs, as shares of the cache bandwidth, and how its layouts may be.
enum class Family : uint8_t {
  kUnary,    // any layout, in place
  kBinary,   // operands in the layout of the output, or plain ones that look the same in it; in
             // place
  kSpatial,  // reductions over positions: any layout, kept
  kPlain,    // rows in plain layout
  kMove,     // copies: any layouts that the run side accepts
  kView,
  kLinear,   // products of rows with a matrix
  kPieces,   // parameters and pieces of one tensor, whose channels lie together
  kProduct,  // integer convolutions and linear layers; the figure is the share of the best
             // arithmetic rate
};

struct Row {
  const char* domain;
  const char* op;
  Family family;
  double memory;  // measured by cts/calibrate.cc on a Zen 4 core, 1 thread, as a share of 60 GB/s
};
constexpr Row kRows[] = {
    {"", "Relu", Family::kUnary, 1},
    {"", "LeakyRelu", Family::kUnary, 1},
    {"", "Clip", Family::kUnary, 1},
    {"", "HardSigmoid", Family::kUnary, 1},
    {"", "HardSwish", Family::kUnary, 1},
    {"", "ThresholdedRelu", Family::kUnary, 1},
    {"", "Neg", Family::kUnary, 1},
    {"", "Abs", Family::kUnary, 1},
    {"", "Floor", Family::kUnary, 1},
    {"", "Ceil", Family::kUnary, 1},
    {"", "Round", Family::kUnary, 1},
    {"", "Sign", Family::kUnary, 0.8},
    {"", "Sqrt", Family::kUnary, 0.75},
    {"", "Reciprocal", Family::kUnary, 0.75},
    {"", "Softsign", Family::kUnary, 0.6},
    {"", "Sigmoid", Family::kUnary, 0.42},
    {"", "Swish", Family::kUnary, 0.36},
    {"", "Tanh", Family::kUnary, 0.44},
    {"", "Gelu", Family::kUnary, 0.2},
    {"", "Elu", Family::kUnary, 0.45},
    {"", "Selu", Family::kUnary, 0.42},
    {"", "Celu", Family::kUnary, 0.35},
    {"", "Erf", Family::kUnary, 0.22},
    {"", "Exp", Family::kUnary, 0.48},
    {"", "Log", Family::kUnary, 0.35},
    {"", "Softplus", Family::kUnary, 0.15},
    {"", "Mish", Family::kUnary, 0.35},
    {"", "Add", Family::kBinary, 1},
    {"", "Sub", Family::kBinary, 1},
    {"", "Mul", Family::kBinary, 1},
    {"", "Div", Family::kBinary, 0.8},
    {"", "Pow", Family::kBinary, 0.02},
    {"", "Cast", Family::kUnary, 1},
    {"", "PRelu", Family::kBinary, 0.9},
    {"slipway", "Add", Family::kBinary, 1},
    {"", "Sum", Family::kBinary, 0.7},
    {"", "Mean", Family::kBinary, 0.5},
    {"", "Max", Family::kBinary, 0.9},
    {"", "Min", Family::kBinary, 0.9},
    {"", "Where", Family::kBinary, 0.5},
    {"slipway", "QAdd", Family::kBinary, 0.5},
    {"slipway", "QMul", Family::kBinary, 0.2},
    {"slipway", "MulQuantize", Family::kBinary, 0.7},
    {"", "BatchNormalization", Family::kUnary, 0.9},
    {"", "GlobalAveragePool", Family::kSpatial, 1},
    {"", "GlobalMaxPool", Family::kSpatial, 0.6},
    {"", "MaxPool", Family::kSpatial, 1},
    {"", "AveragePool", Family::kSpatial, 1},
    {"slipway", "SqueezeExcite", Family::kSpatial, 0.65},
    {"slipway", "QAveragePool", Family::kSpatial, 0.35},
    {"", "Resize", Family::kSpatial, 1},
    {"slipway", "QResize", Family::kSpatial, 0.8},
    {"", "ReduceMean", Family::kSpatial, 1},
    {"", "ReduceSum", Family::kSpatial, 1},
    {"", "ReduceMax", Family::kSpatial, 0.9},
    {"", "ReduceMin", Family::kSpatial, 0.9},
    {"", "ReduceProd", Family::kSpatial, 0.9},
    {"", "ReduceL1", Family::kSpatial, 0.9},
    {"", "ReduceL2", Family::kSpatial, 0.9},
    {"", "ReduceSumSquare", Family::kSpatial, 0.9},
    {"", "Softmax", Family::kPlain, 0.2},
    {"", "LogSoftmax", Family::kPlain, 0.12},
    {"", "LayerNormalization", Family::kPlain, 0.85},
    {"", "RMSNormalization", Family::kPlain, 0.9},
    {"", "GroupNormalization", Family::kPlain, 0.6},
    {"", "InstanceNormalization", Family::kPlain, 0.6},
    {"", "Gather", Family::kMove, 0.6},
    {"", "Expand", Family::kPlain, 0.6},
    {"", "Tile", Family::kPlain, 0.5},
    {"", "Transpose", Family::kMove, 0.7},
    {"", "Concat", Family::kMove, 1},
    {"", "Split", Family::kMove, 1},
    {"", "Slice", Family::kMove, 0.8},
    {"", "Pad", Family::kMove, 0.6},
    {"", "DepthToSpace", Family::kMove, 0.2},
    {"", "SpaceToDepth", Family::kMove, 0.2},
    {"", "Reshape", Family::kView, 1},
    {"", "Flatten", Family::kView, 1},
    {"", "Squeeze", Family::kView, 1},
    {"", "Unsqueeze", Family::kView, 1},
    {"", "Identity", Family::kView, 1},
    {"", "Dropout", Family::kView, 1},
    {"slipway", "Quantize", Family::kUnary, 0.75},
    {"slipway", "Dequantize", Family::kUnary, 1},
    {"slipway", "QRescale", Family::kUnary, 0.5},
    {"slipway", "QLookup", Family::kUnary, 0.5},
    {"slipway", "Linear", Family::kLinear, 1},
    {"", "Gemm", Family::kLinear, 1},
    {"", "MatMul", Family::kLinear, 1},
    {"", "Attention", Family::kPlain, 1},
    {"", "RNN", Family::kPlain, 1},
    {"", "GRU", Family::kPlain, 1},
    {"", "LSTM", Family::kPlain, 1},
    {"slipway", "QAttention", Family::kPlain, 1},
    {"slipway", "QLayerNorm", Family::kPlain, 0.4},
    {"slipway", "QConv", Family::kProduct, 1},
    {"slipway", "QLinear", Family::kProduct, 1},
    {"slipway", "QMatMul", Family::kProduct, 1},
    {"slipway", "QAffine", Family::kPieces, 0.7},
};

const Row* FindRow(const ir::Node& node) {
  for (const Row& row : kRows) {
    if (node.Is(row.op, row.domain)) return &row;
  }
  return nullptr;
}

int RankOf(const ir::Value* v) {
  return v && v->type().shape ? static_cast<int>(v->type().shape->size()) : 0;
}
// Whether a value has a layout other than plain to choose.
bool HasLayouts(const ir::Value* v) { return v && !v->is_constant() && RankOf(v) >= 3; }

// Channels that fill the blocks in this value.
bool Fills(const ir::Value* v, Layout layout) {
  const int block = format::ChannelBlock(layout);
  if (block == 1 || !v || !v->type().shape || RankOf(v) < 2) return true;
  const Dim& c = (*v->type().shape)[1];
  return c.known() && c.value() % block == 0;
}

// One value a channel at most: the same bytes in every layout.
bool OnePosition(const ir::Value* v) {
  const auto& shape = *v->type().shape;
  for (size_t i = 2; i < shape.size(); ++i) {
    if (!shape[i].Is(1)) return false;
  }
  return true;
}

// Rows of a product, all dimensions before the last; -1 when unknown.
int64_t RowsOf(const ir::Value* v) {
  int64_t rows = 1;
  if (RankOf(v) < 1) return -1;
  for (size_t i = 0; i + 1 < v->type().shape->size(); ++i) {
    const Dim& d = (*v->type().shape)[i];
    if (!d.known() || d.value() > kernels::kThinRows) return -1;
    rows *= d.value();
    if (rows > kernels::kThinRows) return -1;
  }
  return rows;
}

// Copies, or sums, which take longer; where a pixel is one element codes are worst (calibrate, Zen 4).
double ResizeFigure(const ir::Node& node, const Candidate& c) {
  const bool sums = node.attributes.String("mode", "nearest") != "nearest",
             plain = c.inputs[0] == Layout::kPlain && HasLayouts(node.input(0));
  if (!plain) return sums ? 0.3 : 1;
  if (node.op()[0] == 'Q') return 0.1;
  return sums ? 0.27 : 0.3;
}

// Of the best rate, with 16 to 64 numbers a head (calibrate, Zen 4); oneDNN's three steps have 0.2
// to 0.6. For one or two queries the copies of keys and values do not pay.
double AttentionFigure(const ir::Node& node) {
  const auto& q = *node.input(0)->type().shape;
  const Dim& queries = q[q.size() == 4 ? 2 : 1];
  return queries.known() && queries.value() < 3 ? 0.2 : 0.75;
}

// As measured beside oneDNN's 1 (calibrate, Zen 4): a row of x runs at the speed of memory, two do
// where the weights come from beyond the cache; more are a matter of arithmetic and want packed
// weights.
double ThinFigure(const ir::Node& node) {
  const int64_t rows = RowsOf(node.output());
  int64_t weights = 1;
  for (const Dim& d : *node.input(1)->type().shape) weights *= d.known() ? d.value() : 1;
  if (rows == 1 || (rows == 2 && weights > int64_t{1} << 22)) return 1;
  return rows == 2 ? 0.8 : 0.5;
}

// The kernel with packed weights is as fast as oneDNN's or faster (calibrate, Zen 4). For a row or two
// a copy of the weights gains too little.
bool IsPacked(const Candidate& c) { return c.kernel.ends_with(x86::kGemm); }
double PackedFigure(const ir::Node& node) {
  const int64_t rows = RowsOf(node.output());
  return rows >= 0 && rows <= 2 && node.output()->dtype() == DType::kFloat32 ? 0.85 : 1;
}
// What the runtime then does with FEAT_FP16, or without by way of float32.
bool ComputesFloat16(const Target& target) {
  return (target.features & static_cast<uint64_t>(CpuFeature::kArmFp16)) != 0;
}
bool HasPacked(const ir::Node& node, const Target& target) {
  const bool half = node.input(0) && node.input(0)->dtype() == DType::kBFloat16;
  return node.constant_input(1) &&
         (!half || (target.features & static_cast<uint64_t>(CpuFeature::kAvx512Bf16)) != 0);
}

bool SameType(const ir::Value* a, const ir::Value* b) {
  return a && b && a->type().known() && a->type() == b->type();
}

// Products of few bits beside those of 8: cycles by llvm-mca on a Cortex-A55 (docs/arm.md). With
// SDOT all widths are the same.
double NeonFigure(const ir::Node& node, const Target& target) {
  if (target.features & static_cast<uint64_t>(CpuFeature::kArmDotprod)) return 1;
  const auto codes = x86::CodesOf(node.input(0));
  if (!codes || codes->levels() > 128) return 1;
  const ir::Tensor& w = *node.constant_input(1);
  if (w.count() == 0) return 1;
  const auto [low, high] = std::minmax_element(w.data<int8_t>(), w.data<int8_t>() + w.count());
  const auto safe = kernels::SafeProducts(codes->low, codes->high, *low, *high);
  if (safe.bytes >= 16) return 2.7;
  if (safe.bytes >= 8) return 2.5;
  if (safe.bytes >= 4) return 2.3;
  return safe.bytes >= 2 ? 1.9 : safe.halves >= 8 ? 1.4 : 1;
}

// The share of the best rate that a product of codes reaches: the lanes that are filled, 16 outputs
// of a group by 4 inputs, and what the rounding of a tile costs beside its products (calibrate,
// Zen 4).
double ProductFigure(const ir::Node& node, const Target& target) {
  if (node.op() == "QMatMul") return 0.6;
  const auto& w = node.input(1)->constant()->dims();
  const bool linear = node.op() == "QLinear";
  const bool trans = node.attributes.Int("transW", 0) != 0;
  const int64_t groups = linear ? 1 : std::max<int64_t>(1, node.attributes.Int("group", 1));
  const int64_t n = linear ? w[trans ? 0 : 1] : w[0] / groups;
  const int64_t k = w.count() / std::max<int64_t>(1, linear ? n : w[0]);
  auto filled = [](int64_t v, int64_t of) {
    return static_cast<double>(v) / static_cast<double>(std::max<int64_t>(of, RoundUp(v, of)));
  };
  // Codes that lie together in the rows: a line of the window, or a position of it.
  int64_t run = k;
  if (!linear) run = w[1] * (groups == 1 ? w.back() : 1);
  const double depth = static_cast<double>(k) / static_cast<double>(k + 12);
  double figure = 0.97 * filled(n, 16) * filled(run, 4) * depth;
  if (groups > 1) figure *= 0.95;  // every block loads codes of its own
  if (n <= 16 && groups == 1) figure *= 0.97;
  if (target.arch == "aarch64") {
    figure *= NeonFigure(node, target);
  } else if ((target.features & static_cast<uint64_t>(CpuFeature::kAvx512Vnni)) == 0) {
    figure *= 0.3;
  }
  return std::max(figure, 1e-3);
}

struct Choice {
  std::vector<Candidate> candidates;
  Status status;
};

class X86Compiler final : public OpBackend {
 public:
  X86Compiler(std::string name, std::string arch)
      : name_(std::move(name)), arch_(std::move(arch)) {}
  std::string name() const override { return name_; }
  std::string version() const override { return "1"; }
  Level level() const override { return Level::kCode; }

  Status Supports(const ir::Node& node, const Target& target) const override {
    const bool nbits = node.IsSlipway("LinearNBits");
    if (!nbits && !x86::IsConv(node) && !x86::IsDepthwise(node) && !x86::IsConvDepthwise(node) &&
        !FindRow(node))
      return Unsupported("no " + node.FullOp());
    if (node.Is("Dropout") && node.input(2)) return Unsupported("Dropout with a training mode");
    if (target.arch != arch_) return Unsupported("not for " + target.arch);
    if (arch_ == "x86_64" && arch_ != ThisCpu().arch)
      return Unsupported("the x86 backend compiles on and for x86-64 only");
    for (const auto* list : {&node.inputs(), &node.outputs()}) {
      for (const ir::Value* v : *list) {
        if (v && !v->type().known())
          return Unsupported("value '" + v->name() + "' has no known shape");
      }
    }
    if (x86::BitsCandidate(node, target)) return OkStatus();
    if (x86::IsConv(node) && !x86::IsDepthwise(node))
      return x86::ConvCandidates(node, target).status();
    return nbits ? x86::SupportsNBits(node) : Choose(node, target).status;
  }
  std::vector<Candidate> Candidates(const ir::Node& node, const Target& target) const override {
    if (node.IsSlipway("LinearNBits")) return {x86::NBitsCandidate(node)};
    std::vector<Candidate> all = WithoutBits(node, target);
    if (auto bits = x86::BitsCandidate(node, target)) all.push_back(std::move(*bits));
    return all;
  }

 protected:
  Result<StepSpec> CompileNode(const ir::Node& node, const Candidate& candidate,
                               const Target& target) const override {
    if (node.IsSlipway("LinearNBits")) return x86::CompileNBits(node, candidate);
    if (x86::IsBits(candidate)) return x86::CompileBits(node, candidate);
    SLIPWAY_ASSIGN_OR_RETURN(StepSpec step, OpBackend::CompileNode(node, candidate, target));
    if (arch_ == "aarch64") SLIPWAY_RETURN_IF_ERROR(AddRanges(node, step));
    if (target.prepack != Prepack::kNone && arch_ == ThisCpu().arch)
      SLIPWAY_RETURN_IF_ERROR(x86::PackWeights(node, candidate, target, step));
    return step;
  }

 private:
  std::string name_, arch_;

  static std::vector<Candidate> WithoutBits(const ir::Node& node, const Target& target) {
    if (x86::IsConv(node) && !x86::IsDepthwise(node)) {
      auto candidates = x86::ConvCandidates(node, target);
      return candidates.ok() ? std::move(*candidates) : std::vector<Candidate>{};
    }
    return x86::IsDepthwise(node) || x86::IsConvDepthwise(node) || FindRow(node)
               ? Choose(node, target).candidates
                                                   : std::vector<Candidate>{};
  }

  // Says what the codes lie within, where they are of few bits: NEON multiplies those faster.
  static Status AddRanges(const ir::Node& node, StepSpec& step) {
    if (!node.IsSlipway("QConv") && !node.IsSlipway("QLinear")) return OkStatus();
    const auto codes = x86::CodesOf(node.input(0));
    if (!codes || codes->levels() > 128) return OkStatus();
    SLIPWAY_ASSIGN_OR_RETURN(format::OpDesc op, format::DecodeOp(step.blob));
    op.attributes.Set("x_low", int64_t{codes->low});
    op.attributes.Set("x_high", int64_t{codes->high});
    step.blob = format::EncodeOp(op);
    return OkStatus();
  }

  // Adds the candidate if the run side takes it.
  static void Try(const ir::Node& node, const Row& row, Candidate c, Choice& choice,
                  const Target& target) {
    const auto description = Describe(node, c);
    if (!description) {
      choice.status = Unsupported("shapes that cannot be tried");
      return;
    }
    const auto probed = x86::Probe(description->Step(), ComputesFloat16(target));
    if (!probed.ok()) {
      if (choice.candidates.empty() && choice.status.ok())
        choice.status = Unsupported(probed.status().message());
      return;
    }
    c.memory_efficiency = row.memory;
    if (row.family == Family::kSpatial && node.op() != "ReduceMean" && !c.inputs.empty() &&
        c.inputs[0] == Layout::kPlain && HasLayouts(node.input(0))) {
      c.memory_efficiency *= node.op()[0] == 'Q' ? 0.2 : 0.45;  // short rows
    }
    if (node.op().ends_with("Resize")) c.memory_efficiency = row.memory * ResizeFigure(node, c);
    c.compute_efficiency = row.family == Family::kLinear ? 1 : 0.05;
    if (row.family == Family::kLinear)
      c.memory_efficiency = IsPacked(c) ? PackedFigure(node) : ThinFigure(node);
    if (node.op() == "SqueezeExcite") {
      c.compute_efficiency = 0.3;
      c.in_place = 0;
    }
    if (node.op() == "Attention") c.compute_efficiency = AttentionFigure(node);
    if (node.Is("LSTM") || node.Is("GRU") || node.Is("RNN")) c.compute_efficiency = 0.4;
    if (node.op() == "QAttention") c.compute_efficiency = 0.25;  // the softmax takes as long as the products
    if (row.family == Family::kProduct) {
      c.compute_efficiency = ProductFigure(node, target);
      if (node.op() != "QMatMul" && node.input(4) && DTypeBits(node.output()->dtype()) == 8)
        c.in_place = 4;
    }
    c.overhead_us = 0.5;
    c.view = probed->view;
    choice.candidates.push_back(std::move(c));
  }

  // The candidates for a depthwise convolution that the run side takes.
  static Choice ChooseDepthwise(const ir::Node& node, const Target& target) {
    Choice choice{{}, Unsupported("no layout fits")};
    for (Candidate& c : x86::IsConvDepthwise(node) ? x86::ConvDepthwiseCandidates(node, target)
                                                   : x86::DepthwiseCandidates(node, target)) {
      const auto description = Describe(node, c);
      if (!description) return {{}, Unsupported("shapes that cannot be tried")};
      const auto probed = x86::Probe(description->Step(), ComputesFloat16(target));
      if (probed.ok()) {
        choice.candidates.push_back(std::move(c));
      } else if (choice.candidates.empty()) {
        choice.status = Unsupported(probed.status().message());
      }
    }
    if (!choice.candidates.empty()) choice.status = OkStatus();
    return choice;
  }

  static Choice Choose(const ir::Node& node, const Target& target) {
    if (x86::IsDepthwise(node) || x86::IsConvDepthwise(node)) {
      Choice choice = ChooseDepthwise(node, target);
      if (choice.status.ok() || !FindRow(node)) return choice;
    }
    const Row& row = *FindRow(node);
    const Layout block = (target.features & static_cast<uint64_t>(CpuFeature::kAvx512)) != 0
                             ? Layout::kBlocked16
                             : Layout::kBlocked8;
    Choice choice;
    auto uniform = [&](Layout x, Layout y) {
      Candidate c =
          PlainCandidate(node, node.op() + ":" +
                                   (x == y ? std::string(LayoutName(y))
                                           : std::string(LayoutName(x)) + "-" + LayoutName(y)));
      for (size_t i = 0; i < c.inputs.size(); ++i) {
        if (HasLayouts(node.input(i))) c.inputs[i] = x;
      }
      for (size_t i = 0; i < c.outputs.size(); ++i) {
        if (HasLayouts(node.output(i))) c.outputs[i] = y;
      }
      return c;
    };
    if (row.family == Family::kProduct) {
      if (node.op() != "QMatMul" && !node.constant_input(1)) {
        choice.status = Unsupported("weights that are no constant");
        return choice;
      }
      const Layout layout = node.op() == "QConv" ? Layout::kChannelsLast : Layout::kPlain;
      Candidate c = PlainCandidate(node, node.op() + ":gemm");
      if (!c.inputs.empty()) c.inputs[0] = layout;
      if (c.inputs.size() > 4 && node.input(4)) c.inputs[4] = layout;
      if (!c.outputs.empty()) c.outputs[0] = layout;
      Try(node, row, std::move(c), choice, target);
      if (!choice.candidates.empty()) choice.status = OkStatus();
      return choice;
    }
    if (row.family == Family::kPieces) {
      const bool last = RankOf(node.output()) == node.attributes.Int("axis", 1) + 1;
      if (last) Try(node, row, uniform(Layout::kPlain, Layout::kPlain), choice, target);
      Candidate c = uniform(Layout::kChannelsLast, Layout::kChannelsLast);
      c.inputs[0] = c.inputs[1] = Layout::kPlain;
      if (!last) Try(node, row, std::move(c), choice, target);
      if (!choice.candidates.empty()) choice.status = OkStatus();
      return choice;
    }
    std::vector<Layout> layouts = {Layout::kPlain};
    if (row.family != Family::kPlain && row.family != Family::kLinear)
      layouts = {Layout::kPlain, Layout::kChannelsLast, block};
    for (Layout layout : layouts) {
      if (layout != Layout::kPlain && !HasLayouts(node.input(0)) && !HasLayouts(node.output()))
        continue;
      Candidate c = uniform(layout, layout);
      switch (row.family) {
        case Family::kUnary:
          if (!Fills(node.output(), layout)) continue;
          for (size_t i = 1; i < c.inputs.size(); ++i) c.inputs[i] = Layout::kPlain;  // parameters
          if (node.input(0) && node.output() &&
              DTypeBits(node.input(0)->dtype()) == DTypeBits(node.output()->dtype()))
            c.in_place = 0;
          break;
        case Family::kBinary: {
          if (!Fills(node.output(), layout)) continue;
          bool full = false;
          for (size_t i = 0; i < c.inputs.size(); ++i) {
            const ir::Value* v = node.input(i);
            if (!v) continue;
            // An operand of lower rank or of one channel lies plain in every layout.
            if (RankOf(v) != RankOf(node.output()) || !Fills(v, layout))
              c.inputs[i] = Layout::kPlain;
            if (SameType(v, node.output()) && (c.in_place < 0)) c.in_place = static_cast<int>(i);
            full |= c.inputs[i] == layout && RankOf(v) == RankOf(node.output()) && !OnePosition(v);
          }
          if (c.inputs.size() > 2 || node.op() == "Where") c.in_place = -1;
          if (layout != Layout::kPlain && !full) continue;
          break;
        }
        case Family::kSpatial:
          if (node.op().rfind("Reduce", 0) == 0)
            c.inputs.resize(std::max<size_t>(c.inputs.size(), 1));
          if (!Fills(node.input(0), layout)) continue;
          if (RankOf(node.output()) != RankOf(node.input(0))) c.outputs[0] = Layout::kPlain;
          break;
        case Family::kMove:
          for (const ir::Value* v : node.outputs()) {
            if (!Fills(v, layout)) c.kernel.clear();
          }
          for (size_t i = 0; i < c.inputs.size(); ++i) {
            if (!Fills(node.input(i), layout)) c.kernel.clear();
          }
          if (c.kernel.empty()) continue;
          break;
        case Family::kLinear:
          if (RowsOf(node.output()) < 0) {
            choice.status =
                Unsupported("more than " + std::to_string(kernels::kThinRows) + " rows");
            continue;
          }
          if (node.IsSlipway("Linear") && node.input(3)) c.in_place = 3;
          break;
        case Family::kPlain:
        case Family::kView:
        case Family::kProduct:
        case Family::kPieces:
          break;
      }
      Try(node, row, std::move(c), choice, target);
    }
    if (row.family == Family::kLinear && HasPacked(node, target)) {
      Candidate c = PlainCandidate(node, node.op() + x86::kGemm);
      if (node.IsSlipway("Linear") && SameType(node.input(3), node.output())) c.in_place = 3;
      Try(node, row, std::move(c), choice, target);
    }
    if (row.family == Family::kMove && node.op() == "Transpose") {
      for (const auto& [x, y] : {std::pair(Layout::kPlain, Layout::kChannelsLast),
                                 std::pair(Layout::kChannelsLast, Layout::kPlain)}) {
        if ((x != Layout::kPlain && !HasLayouts(node.input(0))) ||
            (y != Layout::kPlain && !HasLayouts(node.output())))
          continue;
        Try(node, row, uniform(x, y), choice, target);
      }
    }
    if (node.IsSlipway("Quantize") && HasLayouts(node.output())) {  // an image of few channels
      Candidate c = uniform(Layout::kPlain, Layout::kChannelsLast);
      for (size_t i = 1; i < c.inputs.size(); ++i) c.inputs[i] = Layout::kPlain;
      Try(node, row, std::move(c), choice, target);
    }
    if (row.family == Family::kView) {  // from images to vectors and back
      for (Layout layout : {Layout::kChannelsLast, block}) {
        if (HasLayouts(node.input(0)) && Fills(node.input(0), layout))
          Try(node, row, uniform(layout, Layout::kPlain), choice, target);
        if (HasLayouts(node.output()) && Fills(node.output(), layout))
          Try(node, row, uniform(Layout::kPlain, layout), choice, target);
      }
    }
    if (!choice.candidates.empty()) {
      choice.status = OkStatus();
    } else if (choice.status.ok()) {
      choice.status = Unsupported("no layout fits");
    }
    return choice;
  }
};

}  // namespace

std::unique_ptr<CompileBackend> MakeX86Compiler() { return MakeNativeCompiler("x86", "x86_64"); }
std::unique_ptr<CompileBackend> MakeNativeCompiler(std::string name, std::string arch) {
  return std::make_unique<X86Compiler>(std::move(name), std::move(arch));
}

}  // namespace slipway::backends
