// RNN, GRU and LSTM, https://onnx.ai/onnx/operators/onnx__LSTM.html. The input's part of all gates
// of all steps is one matrix product; the steps then add the hidden state's part. 16-bit floats are
// computed in float32 throughout.

#include "model/ops/recurrent.h"

#include <algorithm>
#include <cmath>
#include <string_view>

#include "model/ops/activation.h"
#include "model/ops/dispatch.h"
#include "model/ops/scratch.h"
#include "model/ops/tiled_gemm.h"

namespace slipway::ops {
namespace {

enum class Cell { kRnn, kGru, kLstm };

bool EqualNoCase(std::string_view a, std::string_view b) {
  return a.size() == b.size() && std::equal(a.begin(), a.end(), b.begin(), [](char x, char y) {
           return (x | 0x20) == (y | 0x20);
         });
}

struct FunctionInfo {
  const char* name;
  bool alpha, beta;  // takes them
  float default_alpha, default_beta;
};
constexpr FunctionInfo kFunctions[] = {
    {"Sigmoid", false, false, 0, 0},      {"Tanh", false, false, 0, 0},
    {"Relu", false, false, 0, 0},         {"Affine", true, true, 1, 0},
    {"LeakyRelu", true, false, 0.01f, 0}, {"ThresholdedRelu", true, false, 1, 0},
    {"ScaledTanh", true, true, 1, 1},     {"HardSigmoid", true, true, 0.2f, 0.5f},
    {"Elu", true, false, 1, 0},           {"Softsign", false, false, 0, 0},
    {"Softplus", false, false, 0, 0},
};

struct Function {
  int kind = 0;  // position in kFunctions
  float alpha = 0, beta = 0;

  template <typename C>
  [[gnu::noinline]] C operator()(C x) const {
    const C a = static_cast<C>(alpha), b = static_cast<C>(beta);
    switch (kind) {
      case 0:
        return Sigmoid(x);
      case 1:
        return std::tanh(x);
      case 2:
        return Relu(x);
      case 3:
        return a * x + b;
      case 4:
        return x < 0 ? a * x : x;
      case 5:
        return x > a ? x : C{0};
      case 6:
        return a * std::tanh(b * x);
      case 7:
        return HardSigmoid(x, a, b);
      case 8:
        return x < 0 ? a * std::expm1(x) : x;
      case 9:
        return x / (1 + std::fabs(x));
      default:
        return std::log1p(std::exp(-std::fabs(x))) + Relu(x);
    }
  }
};

constexpr int kMostFunctions = 6;  // three for each direction

struct Layout {
  int64_t steps, batch, input, hidden, directions, gates;
  bool batch_first, reverse_first;  // the first direction runs backwards
  int64_t X(int64_t t, int64_t b) const {
    return (batch_first ? b * steps + t : t * batch + b) * input;
  }
  int64_t Y(int64_t t, int64_t d, int64_t b) const {
    return (batch_first ? (b * steps + t) * directions + d : (t * directions + d) * batch + b) *
           hidden;
  }
  int64_t State(int64_t d, int64_t b) const {
    return (batch_first ? b * directions + d : d * batch + b) * hidden;
  }
};

Status ReadFunctions(const OpContext& c, Cell cell, int64_t directions, Function* out) {
  const int each = cell == Cell::kRnn ? 1 : cell == Cell::kGru ? 2 : 3;
  const auto* found = c.attributes->Find("activations");
  const auto* names = found ? std::get_if<std::vector<std::string>>(found) : nullptr;
  const auto alphas = c.attributes->Floats("activation_alpha"),
             betas = c.attributes->Floats("activation_beta");
  const size_t want = static_cast<size_t>(each) * static_cast<size_t>(directions);
  if (names && !names->empty() && names->size() != want) {
    return InvalidArgument("activations lists " + std::to_string(names->size()) +
                           " functions but needs " + std::to_string(want));
  }
  size_t alpha = 0, beta = 0;
  for (size_t i = 0; i < want; ++i) {
    const bool first = i % static_cast<size_t>(each) == 0;
    std::string_view name = cell != Cell::kRnn && first ? "Sigmoid" : "Tanh";
    if (names && !names->empty()) name = (*names)[i];
    int kind = -1;
    for (size_t k = 0; k < std::size(kFunctions); ++k) {
      if (EqualNoCase(name, kFunctions[k].name)) kind = static_cast<int>(k);
    }
    if (kind < 0) {
      return Unsupported("activation '" + std::string(name) +
                         "' is none of the specification's; use Sigmoid, Tanh, Relu or another");
    }
    const FunctionInfo& info = kFunctions[kind];
    out[i] = {kind, info.default_alpha, info.default_beta};
    if (info.alpha && alpha < alphas.size()) out[i].alpha = alphas[alpha++];
    if (info.beta && beta < betas.size()) out[i].beta = betas[beta++];
  }
  return OkStatus();
}

// Eight partial sums, so that the compiler may use vectors without reordering anything else.
template <typename C>
C Dot(const C* a, const C* b, int64_t n) {
  C part[8] = {};
  int64_t i = 0;
  for (; i + 8 <= n; i += 8) {
    for (int j = 0; j < 8; ++j) part[j] += a[i + j] * b[i + j];
  }
  for (int j = 0; i < n; ++i, ++j) part[j] += a[i] * b[i];
  return ((part[0] + part[1]) + (part[2] + part[3])) + ((part[4] + part[5]) + (part[6] + part[7]));
}

template <typename C>
struct Direction {
  const OpContext& c;
  const Layout& l;
  Cell cell;
  int64_t d;
  const Function* f;
  C clip;                        // 0: none
  const C *w, *r, *bias, *peep;  // this direction's; bias and peep may be null
  bool linear_before_reset, input_forget;
  C *gates, *sums;   // [steps * batch, gates * hidden], [batch, gates * hidden]
  C *h, *state;      // [batch, hidden]; state: LSTM's cell, GRU's reset hidden state
  C *y, *y_h, *y_c;  // outputs or null

  C Clip(C x) const { return clip > 0 ? std::min(std::max(x, -clip), clip) : x; }

  int64_t Width() const { return l.gates * l.hidden; }

  // gates = X * W^T + input bias (+ hidden bias where it is simply added).
  void Inputs() {
    const int64_t n = Width();
    const C* x = c.inputs[0].as<const C>();
    const bool split = cell == Cell::kGru && linear_before_reset;
    TiledGemm<C, C>(
        c, 1, l.steps * l.batch, n, l.input,
        [&](int64_t, int64_t i, int64_t k, int kn, C* to) {
          const C* from = x + l.X(i / l.batch, i % l.batch) + k;
          std::copy(from, from + kn, to);
        },
        [&](int64_t, int64_t j, int nn, int64_t k, int kn, C* to) {
          for (int col = 0; col < nn; ++col) {
            const C* from = w + (j + col) * l.input + k;
            for (int row = 0; row < kn; ++row) to[row * kTile + col] = from[row];
          }
        },
        [&](int64_t, int64_t i, int64_t j, int nn, const C* row) {
          C* to = gates + i * n + j;
          for (int k = 0; k < nn; ++k) {
            C v = row[k];
            if (bias) {
              v += bias[j + k];
              // The hidden bias of GRU's h gate is inside the product with the reset gate.
              if (!split || j + k < 2 * l.hidden) v += bias[n + j + k];
            }
            to[k] = v;
          }
        });
  }

  // sums[b, first .. last) = from[b] * R^T for the gates [first, last).
  void Hidden(const C* from, int64_t first, int64_t last) {
    const int64_t n = (last - first) * l.hidden, width = Width();
    For(c, l.batch * n, std::max<int64_t>(1, 16384 / std::max<int64_t>(l.hidden, 1)),
        [&](int64_t begin, int64_t end) {
          for (int64_t i = begin; i < end; ++i) {
            const int64_t b = i / n, j = first * l.hidden + i % n;
            sums[b * width + j] = Dot(from + b * l.hidden, r + j * l.hidden, l.hidden);
          }
        });
  }

  void Step(int64_t s, const int32_t* lengths) {
    const int64_t n = l.hidden, width = Width();
    Hidden(h, 0, cell == Cell::kGru && !linear_before_reset ? 2 : l.gates);
    if (cell == Cell::kGru && !linear_before_reset) {
      for (int64_t b = 0; b < l.batch; ++b) {
        const C* g = gates + (Time(s, b, lengths) * l.batch + b) * width;
        for (int64_t i = 0; i < n; ++i) {
          const C reset = f[0](Clip(g[n + i] + sums[b * width + n + i]));
          state[b * n + i] = reset * h[b * n + i];
        }
      }
      Hidden(state, 2, 3);
    }
    for (int64_t b = 0; b < l.batch; ++b) {
      const int64_t length = lengths ? lengths[b] : l.steps;
      if (s >= length) continue;
      const int64_t t = Time(s, b, lengths);
      const C* g = gates + (t * l.batch + b) * width;
      const C* u = sums + b * width;
      C *hb = h + b * n, *cb = state + b * n;
      C* to = y ? y + l.Y(t, d, b) : nullptr;
      for (int64_t i = 0; i < n; ++i) {
        if (cell == Cell::kRnn) {
          hb[i] = f[0](Clip(g[i] + u[i]));
        } else if (cell == Cell::kGru) {
          const C update = f[0](Clip(g[i] + u[i]));
          C candidate = g[2 * n + i];
          if (linear_before_reset) {
            const C reset = f[0](Clip(g[n + i] + u[n + i]));
            candidate += reset * (u[2 * n + i] + (bias ? bias[width + 2 * n + i] : C{0}));
          } else {
            candidate += u[2 * n + i];
          }
          candidate = f[1](Clip(candidate));
          hb[i] = (1 - update) * candidate + update * hb[i];
        } else {  // gates i o f c; peepholes i o f
          const C old = cb[i];
          const C pi = peep ? peep[i] * old : C{0}, pf = peep ? peep[2 * n + i] * old : C{0};
          const C in = f[0](Clip(g[i] + u[i] + pi));
          const C forget = input_forget ? 1 - in : f[0](Clip(g[2 * n + i] + u[2 * n + i] + pf));
          const C cell_in = f[1](Clip(g[3 * n + i] + u[3 * n + i]));
          const C now = forget * old + in * cell_in;
          const C po = peep ? peep[n + i] * now : C{0};
          const C out = f[0](Clip(g[n + i] + u[n + i] + po));
          cb[i] = now;
          hb[i] = out * f[2](now);
        }
        if (to) to[i] = hb[i];
      }
    }
  }

  // The time of step s: backwards inside the sequence's own length.
  int64_t Time(int64_t s, int64_t b, const int32_t* lengths) const {
    const bool reverse = d == 1 || l.reverse_first;
    const int64_t length = lengths ? lengths[b] : l.steps;
    if (!reverse) return s;
    return std::max<int64_t>(length - 1 - s, 0);
  }

  void Run(const int32_t* lengths) {
    Inputs();
    for (int64_t s = 0; s < l.steps; ++s) Step(s, lengths);
    for (int64_t b = 0; b < l.batch; ++b) {
      if (y_h) std::copy_n(h + b * l.hidden, l.hidden, y_h + l.State(d, b));
      if (y_c) std::copy_n(state + b * l.hidden, l.hidden, y_c + l.State(d, b));
    }
  }
};

template <typename C>
Status Run(const OpContext& c, Cell cell, const Layout& l) {
  Function functions[kMostFunctions];
  SLIPWAY_RETURN_IF_ERROR(ReadFunctions(c, cell, l.directions, functions));
  const int64_t width = l.gates * l.hidden;
  std::unique_ptr<C[]> gates, rest;
  SLIPWAY_RETURN_IF_ERROR(AllocateScratch(l.steps * l.batch * width, &gates));
  SLIPWAY_RETURN_IF_ERROR(AllocateScratch(l.batch * (width + 2 * l.hidden), &rest));
  auto output = [&](size_t i) {
    return i < c.outputs.size() && c.outputs[i].present() ? c.outputs[i].as<C>() : nullptr;
  };
  const int32_t* lengths = c.Has(4) ? c.inputs[4].as<const int32_t>() : nullptr;
  C* y = output(0);
  if (y && lengths) std::fill_n(y, c.outputs[0].count(), C{0});
  const float clip = c.attributes->Float("clip", 0);
  const int each = cell == Cell::kRnn ? 1 : cell == Cell::kGru ? 2 : 3;
  for (int64_t d = 0; d < l.directions; ++d) {
    Direction<C> run{c,
                     l,
                     cell,
                     d,
                     functions + d * each,
                     static_cast<C>(clip),
                     c.inputs[1].as<const C>() + d * width * l.input,
                     c.inputs[2].as<const C>() + d * width * l.hidden,
                     c.Has(3) ? c.inputs[3].as<const C>() + d * 2 * width : nullptr,
                     c.Has(7) ? c.inputs[7].as<const C>() + d * 3 * l.hidden : nullptr,
                     c.attributes->Int("linear_before_reset", 0) != 0,
                     c.attributes->Int("input_forget", 0) != 0,
                     gates.get(),
                     rest.get(),
                     rest.get() + l.batch * width,
                     rest.get() + l.batch * (width + l.hidden),
                     y,
                     output(1),
                     cell == Cell::kLstm ? output(2) : nullptr};
    for (int64_t b = 0; b < l.batch; ++b) {
      for (int64_t i = 0; i < l.hidden; ++i) {
        const int64_t at = l.State(d, b) + i;
        run.h[b * l.hidden + i] = c.Has(5) ? c.inputs[5].as<const C>()[at] : C{0};
        run.state[b * l.hidden + i] =
            cell == Cell::kLstm && c.Has(6) ? c.inputs[6].as<const C>()[at] : C{0};
      }
    }
    run.Run(lengths);
  }
  return OkStatus();
}

// float32 or float64.
Status RunWide(const OpContext& c, Cell cell) {
  const TensorView &x = c.inputs[0], &r = c.inputs[2];
  const std::string_view direction = c.attributes->String("direction", "forward");
  Layout l;
  l.batch_first = c.attributes->Int("layout", 0) != 0;
  l.steps = x.dims[l.batch_first ? 1 : 0];
  l.batch = x.dims[l.batch_first ? 0 : 1];
  l.input = x.dims[2];
  l.hidden = r.dims[2];
  l.directions = direction == "bidirectional" ? 2 : 1;
  l.reverse_first = direction == "reverse";
  l.gates = cell == Cell::kRnn ? 1 : cell == Cell::kGru ? 3 : 4;
  if (c.Has(4)) {
    for (int64_t b = 0; b < l.batch; ++b) {
      const int32_t n = c.inputs[4].as<const int32_t>()[b];
      if (n < 0 || n > l.steps) {
        return InvalidArgument("sequence_lens[" + std::to_string(b) + "] is " + std::to_string(n) +
                               ", outside [0, " + std::to_string(l.steps) + "]");
      }
    }
  }
  return x.dtype == DType::kFloat64 ? Run<double>(c, cell, l) : Run<float>(c, cell, l);
}

template <Cell cell>
Status Wide(const OpContext& c) {
  return RunWide(c, cell);
}

Status Recurrent(const OpContext& c, Cell cell, Kernel wide) {
  const TensorView& x = c.inputs[0];
  if (x.dims.rank() != 3 || c.inputs[1].dims.rank() != 3 || c.inputs[2].dims.rank() != 3)
    return InvalidArgument("X, W and R must have three dimensions");
  // Inference has checked all this; a package may still say something else.
  const bool batch_first = c.attributes->Int("layout", 0) != 0;
  const int64_t gates = cell == Cell::kRnn ? 1 : cell == Cell::kGru ? 3 : 4;
  const int64_t directions = c.attributes->String("direction", "") == "bidirectional" ? 2 : 1;
  const int64_t hidden = c.inputs[2].dims[2], batch = x.dims[batch_first ? 0 : 1];
  const int64_t states = directions * batch * hidden, width = directions * gates * hidden;
  const int64_t want[] = {
      x.count(), width * x.dims[2],      width * hidden, 2 * width, batch, states,
      states,    3 * directions * hidden};
  for (size_t i = 1; i < c.inputs.size() && i < std::size(want); ++i) {
    if (c.Has(i) && c.inputs[i].count() != want[i]) {
      return InvalidArgument("input " + std::to_string(i) + " has the extent " +
                             c.inputs[i].dims.ToString() + " but needs " + std::to_string(want[i]) +
                             " elements");
    }
  }
  for (size_t i = 0; i < c.outputs.size(); ++i) {
    const int64_t count = i == 0 ? states * x.dims[batch_first ? 1 : 0] : states;
    if (c.outputs[i].present() && c.outputs[i].count() != count)
      return Internal("output " + std::to_string(i) + " has the wrong extent");
  }
  if (c.Has(4) && c.inputs[4].dtype != DType::kInt32)
    return Unsupported("sequence_lens must be int32");
  for (size_t i = 1; i < c.inputs.size(); ++i) {
    if (i == 4 || !c.Has(i)) continue;
    if (c.inputs[i].dtype != x.dtype)
      return Unsupported("input " + std::to_string(i) + " must have X's element type, " +
                         DTypeName(x.dtype));
  }
  return RunFloat(c, x.dtype, wide);
}

}  // namespace

bool IsRecurrentFunction(std::string_view name) {
  return std::any_of(std::begin(kFunctions), std::end(kFunctions),
                     [&](const FunctionInfo& f) { return EqualNoCase(name, f.name); });
}

Status OnnxRNN(const OpContext& c) { return Recurrent(c, Cell::kRnn, &Wide<Cell::kRnn>); }
Status OnnxGRU(const OpContext& c) { return Recurrent(c, Cell::kGru, &Wide<Cell::kGru>); }
Status OnnxLSTM(const OpContext& c) { return Recurrent(c, Cell::kLstm, &Wide<Cell::kLstm>); }

}  // namespace slipway::ops
