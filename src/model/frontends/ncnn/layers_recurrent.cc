// RNN, GRU and LSTM. A blob has no batch: [time, features] to [time, directions * hidden], in the
// order of elements that ONNX has with a batch of 1, whichever its layout is.

#include <algorithm>
#include <array>

#include "model/frontends/ncnn/convert.h"

namespace slipway::ncnn {
namespace {

using ir::Node;
using ir::Tensor;
using ir::Value;

struct Cell {
  const char* op;
  std::vector<int> gates;  // ncnn's, as ONNX counts them
  std::vector<const char*> activations;
};
const Cell kCells[] = {{"RNN", {0}, {"tanh"}},
                       {"GRU", {1, 0, 2}, {"sigmoid", "tanh"}},               // z r h to R U N
                       {"LSTM", {0, 2, 1, 3}, {"sigmoid", "tanh", "tanh"}}};  // i o f c to I F O G

const Cell* FindCell(const Node& n) {
  for (const Cell& cell : kCells) {
    if (n.Is(cell.op)) return &cell;
  }
  return nullptr;
}

bool IsZero(const Value* v) {
  if (!v || !v->constant()) return v == nullptr;
  const auto values = v->constant()->ToDoubles();
  return std::all_of(values.begin(), values.end(), [](double d) { return d == 0; });
}

// What ncnn's layer does not do.
Status Check(const Node& n, const Cell& cell, int64_t directions) {
  const auto& a = n.attributes;
  if (n.input(4)) return Converter::Refuse(n, "ncnn has no lengths of sequences");
  if (n.input(7)) return Converter::Refuse(n, "ncnn has no peepholes");
  if (a.Float("clip", 0) != 0)
    return Converter::Refuse(n, "ncnn does not clip in recurrent layers");
  if (a.Int("input_forget", 0) != 0)
    return Converter::Refuse(n, "ncnn does not couple input and forget gates");
  if (n.Is("GRU") && a.Int("linear_before_reset", 0) == 0)
    return Converter::Refuse(n,
                             "ncnn resets behind the product with the hidden state only "
                             "(linear_before_reset = 1, as PyTorch does)");
  std::vector<std::string> functions;
  if (const auto* found = a.Find("activations")) {
    if (const auto* list = std::get_if<std::vector<std::string>>(found)) functions = *list;
  }
  for (size_t i = 0; i < functions.size(); ++i) {
    for (char& ch : functions[i]) ch = static_cast<char>(ch | 0x20);
    if (i >= cell.activations.size() * static_cast<size_t>(directions) ||
        functions[i] != cell.activations[i % cell.activations.size()])
      return Converter::Refuse(n, "ncnn's gates are sigmoid and tanh");
  }
  return OkStatus();
}

// Rows of [directions, gates * hidden, columns] with the gates in another order.
Tensor Ordered(const Tensor& w, const Cell& cell, int64_t hidden) {
  const auto directions = static_cast<size_t>(w.dims()[0]), gates = cell.gates.size(),
             each = static_cast<size_t>(hidden * w.dims()[2]);
  const float* from = w.data<float>();
  std::vector<float> out;
  for (size_t d = 0; d < directions; ++d) {
    for (const int g : cell.gates) {
      const float* gate = from + (d * gates + static_cast<size_t>(g)) * each;
      out.insert(out.end(), gate, gate + each);
    }
  }
  return FloatVector(out);
}

// ONNX has those of W and those of R; ncnn has their sums, but of a GRU's new gate both.
Tensor Biases(const float* b, const Cell& cell, int64_t directions, int64_t hidden) {
  const auto gates = static_cast<int64_t>(cell.gates.size());
  const bool gru = gates == 3;
  std::vector<float> out;
  for (int64_t d = 0; d < directions; ++d) {
    const auto at = [&](int64_t side, int64_t gate, int64_t i) {
      return b ? b[((d * 2 + side) * gates + gate) * hidden + i] : 0.0f;
    };
    for (const int g : cell.gates) {
      const bool apart = gru && g == 2;
      for (int64_t i = 0; i < hidden; ++i) out.push_back(at(0, g, i) + (apart ? 0 : at(1, g, i)));
    }
    for (int64_t i = 0; gru && i < hidden; ++i) out.push_back(at(1, 2, i));
  }
  return FloatVector(out);
}

Status Recurrent(Converter& c, const Node& n) {
  const Cell& cell = *FindCell(n);
  SLIPWAY_ASSIGN_OR_RETURN(const Tensor w, Converter::Constant(n, 1, "weights W"));
  SLIPWAY_ASSIGN_OR_RETURN(const Tensor r, Converter::Constant(n, 2, "weights R"));
  const int64_t directions = w.dims()[0], hidden = r.dims()[2], features = w.dims()[2];
  SLIPWAY_RETURN_IF_ERROR(Check(n, cell, directions));
  const Extents all = Converter::Dimensions(n.input(0));
  const bool batch_first = n.attributes.Int("layout", 0) != 0;
  if (all.size() != 3 || all[batch_first ? 0 : 1] != 1)
    return Converter::Refuse(n, "ncnn runs one sequence at a time: its batch must be 1");
  const int64_t steps = all[batch_first ? 1 : 0];
  Tensor bias;
  if (n.input(3)) {
    SLIPWAY_ASSIGN_OR_RETURN(bias, Converter::Constant(n, 3, "bias"));
  }
  std::vector<Blob> inputs(1);
  SLIPWAY_ASSIGN_OR_RETURN(inputs[0], c.Get(n.input(0), {steps, features}));
  const bool lstm = n.Is("LSTM");
  if (!IsZero(n.input(5)) || (lstm && !IsZero(n.input(6)))) {
    for (const size_t i : {5, 6}) {
      if (i == 6 && !lstm) break;
      if (!n.input(i))
        return Converter::Refuse(n, "ncnn takes both initial states of an LSTM or none");
      SLIPWAY_ASSIGN_OR_RETURN(Blob state, c.Get(n.input(i), {directions, hidden}));
      inputs.push_back(std::move(state));
    }
  }
  const std::string_view direction = n.attributes.String("direction", "forward");
  Blob y;
  Layer* layer = c.Add(cell.op, n, inputs, {steps, directions * hidden}, &y);
  layer->params = {{0, hidden},
                   {1, w.count()},
                   {2, int64_t{direction == "bidirectional" ? 2
                               : direction == "reverse"     ? 1
                                                            : 0}}};
  layer->weights = {
      {Ordered(w, cell, hidden), true},
      {Biases(n.input(3) ? bias.data<float>() : nullptr, cell, directions, hidden), true},
      {Ordered(r, cell, hidden), true}};
  if (n.output(0)) c.Set(n.output(0), y);
  // The states at the end, all or none.
  const auto used = [&](size_t i) {
    return i < n.outputs().size() && n.output(i) && n.output(i)->IsUsed();
  };
  if (used(1) || used(2)) {
    for (size_t i = 1; i <= (lstm ? 2 : 1); ++i) {
      const Blob state{c.NewBlob(n.name() + (i == 1 ? "_hidden" : "_cell")), {directions, hidden}};
      layer->outputs.push_back(state.name);
      if (used(i)) c.Set(n.output(i), state);
    }
  }
  return OkStatus();
}

}  // namespace

Writer FindRecurrent(const Node& n) { return FindCell(n) ? Recurrent : nullptr; }

}  // namespace slipway::ncnn
