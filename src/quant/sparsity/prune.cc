#include "quant/sparsity/prune.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <map>
#include <optional>

#include "model/interp/interpreter.h"
#include "quant/adjust/layer.h"
#include "quant/reconstruct/block_walk.h"
#include "quant/schemes/placement.h"
#include "quant/schemes/quantize.h"
#include "quant/weight_only/hessian.h"

namespace slipway::quant {
namespace {

using ir::Graph;
using ir::Node;
using ir::Tensor;
using ir::Value;

constexpr int64_t kMostRows = 65536;    // of inputs that a layer is judged by
constexpr int64_t kMostColumns = 6144;  // that are judged together

// How a node's weights are a matrix for each group.
struct Matrices {
  bool conv = false, rows_are_outputs = false;
  WeightShape shape;
  int64_t groups = 1;

  int64_t count() const { return groups * shape.rows * shape.columns(); }
  // Of matrix element (row, column) of a group, in the tensor.
  size_t Index(int64_t group, int64_t row, int64_t column) const {
    if (conv) {
      const int64_t tap = column / shape.channels, channel = column % shape.channels;
      return static_cast<size_t>(
          ((group * shape.rows + row) * shape.channels + channel) * shape.taps + tap);
    }
    return static_cast<size_t>(rows_are_outputs ? row * shape.channels + column
                                                : column * shape.rows + row);
  }
};
// Nullopt: the node is no convolution or product of that kind. `dims`: of its weights.
std::optional<Matrices> MatricesOf(const Node& node, const Dims& dims) {
  Matrices m;
  if (node.Is("Conv") || node.IsSlipway("Conv")) {
    m.conv = true;
    m.groups = node.attributes.Int("group", 1);
    if (dims.rank() < 3 || m.groups < 1 || dims[0] % m.groups != 0) return std::nullopt;
    m.shape = {dims[0] / m.groups, dims[1], dims.count(2, dims.rank())};
  } else if (node.Is("Gemm") || node.Is("MatMul") || node.IsSlipway("Linear")) {
    if (dims.rank() != 2 || (node.Is("Gemm") && node.attributes.Int("transA", 0) != 0))
      return std::nullopt;
    m.rows_are_outputs = node.attributes.Int(node.Is("Gemm") ? "transB" : "transW", 0) != 0;
    m.shape = {dims[m.rows_are_outputs ? 0 : 1], dims[m.rows_are_outputs ? 1 : 0], 1};
  } else {
    return std::nullopt;
  }
  if (dims.count() == 0) return std::nullopt;
  return m;
}

struct Layer {
  Node* node = nullptr;
  Matrices at;
};

// Why a layer cannot have the pattern; empty: it can.
std::string Misfit(const Node& node, const std::optional<Matrices>& m, const SparsityPattern& p) {
  if (node.Is("ConvTranspose")) return "a transposed convolution";
  if (!m) return "no convolution or product that patterns are for";
  const WeightShape& s = m->shape;
  if (m->conv && s.channels == 1 && m->groups > 1) return "depthwise: one input channel";
  const std::string channels = std::to_string(s.channels) + " input channel" +
                               (s.channels == 1 ? "" : "s") + (m->groups > 1 ? " a group" : "");
  if (s.channels < p.span()) return channels + ", fewer than " + std::to_string(p.span());
  if (p.block && s.rows < p.rows)
    return std::to_string(s.rows) + " output channels, fewer than " + std::to_string(p.rows);
  if (!p.block && s.channels % p.group != 0)
    return channels + ", no multiple of " + std::to_string(p.group);
  return "";
}

// Rows of what a convolution multiplies, a group's channels tap by tap: every step-th output
// position of x [batch, channels, ...].
class Windows {
 public:
  static Result<Windows> Of(const Node& node, const Matrices& m, const Dims& weights,
                            const Dims& x);
  int64_t positions() const { return batch_ * outputs_; }
  std::vector<float> Rows(const float* x, int64_t group, int64_t step) const;

 private:
  Matrices m_;
  int64_t batch_ = 0, channels_ = 0, outputs_ = 1, inputs_ = 1;
  std::vector<int64_t> in_, out_, kernel_, strides_, dilations_, begin_;
};

Result<Windows> Windows::Of(const Node& node, const Matrices& m, const Dims& weights,
                            const Dims& x) {
  Windows w;
  w.m_ = m;
  const auto rank = static_cast<size_t>(weights.rank() - 2);
  if (x.rank() != weights.rank() || x[1] != m.groups * m.shape.channels)
    return Internal("the input of " + node.Describe() + " has extents " + x.ToString());
  w.batch_ = x[0], w.channels_ = x[1];
  const auto ints = [&](const char* name, size_t size, int64_t fallback) {
    const auto given = node.attributes.Ints(name);
    std::vector<int64_t> v(given.begin(), given.end());
    v.resize(size, fallback);
    return v;
  };
  w.strides_ = ints("strides", rank, 1);
  w.dilations_ = ints("dilations", rank, 1);
  const std::vector<int64_t> pads = ints("pads", 2 * rank, 0);
  const std::string_view automatic = node.attributes.String("auto_pad", "NOTSET");
  for (size_t i = 0; i < rank; ++i) {
    w.in_.push_back(x[i + 2]);
    w.kernel_.push_back(weights[i + 2]);
    const int64_t span = (w.kernel_[i] - 1) * w.dilations_[i] + 1;
    if (w.strides_[i] < 1) return Internal("strides of " + node.Describe());
    int64_t begin = pads[i], end = pads[i + rank];
    if (automatic == "VALID") begin = end = 0;
    if (automatic == "SAME_UPPER" || automatic == "SAME_LOWER") {
      const int64_t out = (w.in_[i] + w.strides_[i] - 1) / w.strides_[i],
                    total = std::max<int64_t>(0, (out - 1) * w.strides_[i] + span - w.in_[i]);
      begin = automatic == "SAME_UPPER" ? total / 2 : total - total / 2;
      end = total - begin;
    }
    const int64_t room = w.in_[i] + begin + end - span;
    w.begin_.push_back(begin);
    w.out_.push_back(room < 0 ? 0 : room / w.strides_[i] + 1);
    w.outputs_ *= w.out_[i];
    w.inputs_ *= w.in_[i];
  }
  return w;
}

std::vector<float> Windows::Rows(const float* x, int64_t group, int64_t step) const {
  const int64_t channels = m_.shape.channels, taps = m_.shape.taps, width = m_.shape.columns(),
                count = (positions() + step - 1) / step;
  std::vector<float> rows(static_cast<size_t>(count * width), 0.0f);
  const size_t rank = in_.size();
  std::vector<int64_t> at(rank), tap(rank);
  for (int64_t r = 0; r < count; ++r) {
    const int64_t position = r * step, sample = position / outputs_;
    for (int64_t i = static_cast<int64_t>(rank) - 1, rest = position % outputs_; i >= 0; --i) {
      const auto d = static_cast<size_t>(i);
      at[d] = rest % out_[d] * strides_[d] - begin_[d];
      rest /= out_[d];
    }
    for (int64_t t = 0; t < taps; ++t) {
      int64_t offset = 0, rest = t;
      bool inside = true;
      for (int64_t i = static_cast<int64_t>(rank) - 1; i >= 0; --i) {
        const auto d = static_cast<size_t>(i);
        tap[d] = at[d] + rest % kernel_[d] * dilations_[d];
        rest /= kernel_[d];
        inside &= tap[d] >= 0 && tap[d] < in_[d];
      }
      if (!inside) continue;
      for (size_t d = 0; d < rank; ++d) offset = offset * in_[d] + tap[d];
      const float* from = x + (sample * channels_ + group * channels) * inputs_ + offset;
      float* to = rows.data() + r * width + t * channels;
      for (int64_t c = 0; c < channels; ++c) to[c] = from[c * inputs_];
    }
  }
  return rows;
}

// Of one layer: for each group what its inputs are, in pieces of columns where there are many.
struct Seen {
  std::vector<InputStatistics> pieces;  // [groups, pieces a group]
  int64_t width = 0;                    // of all pieces but the last
};

class Pruner {
 public:
  Pruner(Graph& graph, const MakeGraphRunner& make, const PruneOptions& options)
      : graph_(graph), walk_(graph, make), options_(options) {}
  Result<PruneReport> Run(const BatchSource* data);

 private:
  Status Choose();
  Status OfBlock(const Block& block);
  Result<Seen> Observe(const Block& block, const Layer& layer);
  Status OfLayer(const Layer& layer, const Seen* seen);

  Graph& graph_;
  BlockWalk walk_;
  const PruneOptions& options_;
  std::map<const Node*, Layer> layers_;
  PruneReport report_;
};

Status Pruner::Choose() {
  for (const std::string& name : options_.keep_dense) {
    const Node* node = graph_.FindNode(name);
    if (!node || !HasConstantWeights(*node))
      return InvalidArgument("there is no layer '" + name +
                             "' to keep dense; `slipway optimize --level onnx` shows the nodes");
  }
  QuantizeOptions ends;
  if (!options_.ends) KeepEnds(graph_, 8, &ends);
  for (Node* node : graph_.NodeList()) {
    if (!HasConstantWeights(*node)) continue;
    const auto m = MatricesOf(*node, node->constant_input(1)->dims());
    std::string reason = Misfit(*node, m, options_.pattern);
    if (options_.keep_dense.contains(node->name()))
      reason = "as asked for";
    else if (ends.weight_bits.contains(node->name()))
      reason = "at an end of the network";
    else if (reason.empty() && (!node->input(0) || node->input(0)->is_constant()))
      reason = "its input is a constant";
    if (!reason.empty()) {
      report_.dense.push_back({node->name(), reason});
      continue;
    }
    const Tensor w = node->constant_input(1)->Aligned();
    for (int64_t i = 0; i < w.count(); ++i) {
      if (!std::isfinite(w.data<float>()[i]))
        return InvalidArgument(node->Describe() +
                               " has weights that are not finite; retrain or repair them");
    }
    layers_[node] = {node, *m};
  }
  if (layers_.empty()) {
    std::string why;
    for (size_t i = 0; i < report_.dense.size() && i < 3; ++i)
      why += (i == 0 ? ": " : "; ") + report_.dense[i].name + " (" + report_.dense[i].reason + ")";
    return InvalidArgument("the model has no layer that " + options_.pattern.ToString() + " fits" +
                           why);
  }
  return OkStatus();
}

Result<Seen> Pruner::Observe(const Block& block, const Layer& layer) {
  const Matrices& m = layer.at;
  const int64_t columns = m.shape.columns(), pieces = (columns + kMostColumns - 1) / kMostColumns;
  Seen seen;
  // Whole groups of the pattern and whole taps where there are several.
  const int64_t unit = m.shape.taps > 1 && m.shape.channels <= kMostColumns
                           ? m.shape.channels
                           : int64_t{options_.pattern.span()};
  seen.width = pieces == 1 ? columns : std::max(unit, kMostColumns / unit * unit);
  for (int64_t g = 0; g < m.groups; ++g) {
    for (int64_t c = 0; c < columns; c += seen.width)
      seen.pieces.emplace_back(std::min(seen.width, columns - c));
  }
  const auto per_group = static_cast<int64_t>(seen.pieces.size()) / m.groups;
  const int64_t most = std::max<int64_t>(
      1, kMostRows / static_cast<int64_t>(walk_.batches().size()));  // rows a batch
  const auto add_rows = [&](const float* rows, int64_t count, int64_t group) -> Status {
    std::vector<float> part;
    for (int64_t p = 0; p < per_group; ++p) {
      InputStatistics& to = seen.pieces[static_cast<size_t>(group * per_group + p)];
      std::span<const float> given(rows, static_cast<size_t>(count * columns));
      if (per_group > 1) {
        part.resize(static_cast<size_t>(count * to.width()));
        for (int64_t r = 0; r < count; ++r)
          std::copy_n(rows + r * columns + p * seen.width, to.width(),
                      part.begin() + r * to.width());
        given = part;
      }
      SLIPWAY_RETURN_IF_ERROR(
          to.Add(given, options_.pool).With("'" + layer.node->input(0)->name() + "'"));
    }
    return OkStatus();
  };
  const auto add = [&](const Tensor& tensor) -> Status {
    const Tensor x = tensor.Aligned();
    if (x.dtype() != DType::kFloat32)
      return Internal("'" + layer.node->input(0)->name() + "' is " + x.Describe());
    if (m.conv) {
      SLIPWAY_ASSIGN_OR_RETURN(
          const Windows windows,
          Windows::Of(*layer.node, m, layer.node->constant_input(1)->dims(), x.dims()));
      const int64_t step = std::max<int64_t>(1, (windows.positions() + most - 1) / most);
      for (int64_t g = 0; g < m.groups; ++g) {
        const std::vector<float> rows = windows.Rows(x.data<float>(), g, step);
        SLIPWAY_RETURN_IF_ERROR(
            add_rows(rows.data(), static_cast<int64_t>(rows.size()) / columns, g));
      }
      return OkStatus();
    }
    if (x.count() % columns != 0)
      return Internal("'" + layer.node->input(0)->name() + "' is " + x.Describe());
    const int64_t count = x.count() / columns,
                  step = std::max<int64_t>(1, (count + most - 1) / most);
    std::vector<float> rows;
    for (int64_t r = 0; r < count && step > 1; r += step)
      rows.insert(rows.end(), x.data<float>() + r * columns, x.data<float>() + (r + 1) * columns);
    return step > 1 ? add_rows(rows.data(), static_cast<int64_t>(rows.size()) / columns, 0)
                    : add_rows(x.data<float>(), count, 0);
  };
  const std::string& name = layer.node->input(0)->name();
  if (std::find(block.inputs.begin(), block.inputs.end(), name) != block.inputs.end()) {
    for (const auto& batch : walk_.batches()) SLIPWAY_RETURN_IF_ERROR(add(batch.at(name)));
    return seen;
  }
  SLIPWAY_RETURN_IF_ERROR(
      walk_.Evaluate(block, {name}, [&](const std::vector<Tensor>& out) { return add(out[0]); }));
  return seen;
}

Status Pruner::OfLayer(const Layer& layer, const Seen* seen) {
  const Matrices& m = layer.at;
  const WeightShape& shape = m.shape;
  const int64_t columns = shape.columns();
  PrunedLayer report{.name = layer.node->name(), .shape = shape, .groups = m.groups};
  if (options_.progress && !options_.progress(report.name, report_.layers.size(), layers_.size()))
    return Unavailable("pruning was stopped");
  const Tensor given = layer.node->constant_input(1)->Aligned();
  SLIPWAY_ASSIGN_OR_RETURN(Tensor pruned, Tensor::Allocate(DType::kFloat32, given.dims()));
  auto* to = reinterpret_cast<float*>(pruned.mutable_data());
  double lost_magnitude = 0, lost = 0, all = 0;
  for (int64_t g = 0; g < m.groups; ++g) {
    std::vector<float> rows(static_cast<size_t>(shape.rows * columns));
    for (int64_t r = 0; r < shape.rows; ++r) {
      for (int64_t c = 0; c < columns; ++c)
        rows[static_cast<size_t>(r * columns + c)] = given.data<float>()[m.Index(g, r, c)];
    }
    const std::vector<uint8_t> mask = MagnitudeMask(rows, shape, options_.pattern);
    std::vector<float> kept = rows;
    for (size_t i = 0; i < kept.size(); ++i) kept[i] = mask[i] ? rows[i] : 0;
    // A piece of the columns of a matrix.
    const auto cut = [&](const std::vector<float>& from, int64_t first, int64_t width) {
      std::vector<float> part(static_cast<size_t>(shape.rows * width));
      for (int64_t r = 0; r < shape.rows; ++r)
        std::copy_n(from.begin() + r * columns + first, width, part.begin() + r * width);
      return part;
    };
    std::vector<float> chosen = kept;
    for (int64_t first = 0, p = 0; seen && first < columns; first += seen->width, ++p) {
      const auto per_group = static_cast<int64_t>(seen->pieces.size()) / m.groups;
      const InputStatistics& inputs = seen->pieces[static_cast<size_t>(g * per_group + p)];
      const int64_t width = inputs.width();
      const std::vector<float> before = cut(rows, first, width);
      std::vector<float> difference = cut(kept, first, width);
      for (size_t i = 0; i < before.size(); ++i) difference[i] = before[i] - difference[i];
      const double magnitude = inputs.SquaredError(difference, options_.pool);
      lost_magnitude += magnitude;
      all += inputs.SquaredError(before, options_.pool);
      if (options_.method == PruneMethod::kMagnitude) {
        lost += magnitude;
        continue;
      }
      const WeightShape part = {shape.rows, width % shape.channels == 0 ? shape.channels : width,
                                width % shape.channels == 0 ? width / shape.channels : 1};
      double damping = options_.damping;
      auto found = PruneByInputs(before, part, options_.pattern, inputs, damping, options_.pool);
      for (int more = 0; more < 2 && !found.ok(); ++more)
        found = PruneByInputs(before, part, options_.pattern, inputs, damping *= 10, options_.pool);
      if (!found.ok()) return found.status().With(layer.node->Describe());
      for (size_t i = 0; i < before.size(); ++i) difference[i] = before[i] - found->weights[i];
      lost += inputs.SquaredError(difference, options_.pool);
      for (int64_t r = 0; r < shape.rows; ++r)
        std::copy_n(found->weights.begin() + r * width, width,
                    chosen.begin() + r * columns + first);
    }
    for (int64_t r = 0; r < shape.rows; ++r) {
      for (int64_t c = 0; c < columns; ++c) {
        const float v = chosen[static_cast<size_t>(r * columns + c)];
        to[m.Index(g, r, c)] = v;
        report.zeros += v == 0;
      }
    }
  }
  report.weights = m.count();
  if (seen) {
    report.magnitude = all > 0 ? lost_magnitude / all : 0;
    report.chosen = all > 0 ? lost / all : 0;
  }
  ReplaceConstant(graph_, layer.node, 1, std::move(pruned), report.name + "/w");
  report_.layers.push_back(std::move(report));
  return OkStatus();
}

Status Pruner::OfBlock(const Block& block) {
  for (const std::string& name : block.layers) {
    const auto layer = layers_.find(graph_.FindNode(name));
    if (layer == layers_.end()) continue;
    SLIPWAY_ASSIGN_OR_RETURN(const Seen seen, Observe(block, layer->second));
    SLIPWAY_RETURN_IF_ERROR(OfLayer(layer->second, &seen));
  }
  return OkStatus();
}

Result<PruneReport> Pruner::Run(const BatchSource* data) {
  if (!(options_.damping > 0)) return InvalidArgument("the damping must be positive");
  SLIPWAY_RETURN_IF_ERROR(Choose());
  if (data) SLIPWAY_RETURN_IF_ERROR(walk_.Read(*data));
  if (walk_.batches().empty()) {
    if (options_.method != PruneMethod::kMagnitude)
      return InvalidArgument(
          "there are no calibration samples, which pruning by the layers' outputs needs; give "
          "some, or prune by magnitude");
    for (const Node* node : graph_.NodeList()) {
      if (const auto layer = layers_.find(node); layer != layers_.end())
        SLIPWAY_RETURN_IF_ERROR(OfLayer(layer->second, nullptr));
    }
    return std::move(report_);
  }
  SLIPWAY_RETURN_IF_ERROR(walk_.ForEach([&](const Block& block) { return OfBlock(block); },
                                        [&] { return report_.layers.size() == layers_.size(); }));
  SortAsNodes(graph_, report_.layers);
  graph_.RemoveUnused();
  return std::move(report_);
}

// 1 for every weight of a layer that is zero, group after group as matrices; nullopt: the node has
// no constant weights of a kind that patterns are for.
struct Zeros {
  Matrices at;
  std::vector<std::vector<uint8_t>> groups;
  bool all = true;
};
Result<std::optional<Zeros>> ZerosOf(const Graph& graph, const Node& node) {
  const Value* w = HasWeights(node) ? node.input(1) : nullptr;
  if (!w) return std::optional<Zeros>();
  std::vector<double> values;
  Dims dims;
  if (w->is_constant()) {
    values = w->constant()->ToDoubles();
    dims = w->constant()->dims();
  } else {
    // Codes: what Dequantize makes of them.
    const Node* dq = w->producer();
    if (!dq || !dq->IsSlipway("Dequantize") || !dq->constant_input(0))
      return std::optional<Zeros>();
    SLIPWAY_ASSIGN_OR_RETURN(const auto part, Extract(graph, {}, {w->name()}));
    SLIPWAY_ASSIGN_OR_RETURN(const auto out, interp::Evaluate(*part, {}));
    values = out[0].ToDoubles();
    dims = out[0].dims();
  }
  const auto m = MatricesOf(node, dims);
  if (!m) return std::optional<Zeros>();
  Zeros z{.at = *m};
  for (int64_t g = 0; g < m->groups; ++g) {
    std::vector<uint8_t> zero(static_cast<size_t>(m->shape.rows * m->shape.columns()));
    for (int64_t r = 0; r < m->shape.rows; ++r) {
      for (int64_t c = 0; c < m->shape.columns(); ++c) {
        const bool is = values[m->Index(g, r, c)] == 0;
        zero[static_cast<size_t>(r * m->shape.columns() + c)] = is;
        z.all &= is;
      }
    }
    z.groups.push_back(std::move(zero));
  }
  return std::optional<Zeros>(std::move(z));
}
bool Fits(const Zeros& z, const SparsityPattern& pattern) {
  return std::all_of(z.groups.begin(), z.groups.end(),
                     [&](const auto& zero) { return Satisfies(zero, z.at.shape, pattern); });
}

}  // namespace

int64_t PrunedLayer::Bytes(const SparsityPattern& pattern, int bits) const {
  const int64_t stored = pattern.block ? weights - zeros : groups * StoredWeights(shape, pattern);
  return (stored * bits + groups * IndexBits(shape, pattern) + 7) / 8;
}
int64_t PruneReport::weights() const {
  int64_t sum = 0;
  for (const PrunedLayer& l : layers) sum += l.weights;
  return sum;
}
int64_t PruneReport::zeros() const {
  int64_t sum = 0;
  for (const PrunedLayer& l : layers) sum += l.zeros;
  return sum;
}

Result<PruneReport> Prune(Graph& graph, const MakeGraphRunner& make, const BatchSource* data,
                          const PruneOptions& options) {
  return Pruner(graph, make, options).Run(data);
}

Result<std::vector<std::string>> BrokenLayers(const Graph& graph, const SparsityPattern& pattern,
                                              const std::vector<std::string>& layers) {
  std::vector<std::string> broken;
  for (const std::string& name : layers) {
    const Node* node = graph.FindNode(name);
    if (!node) continue;
    SLIPWAY_ASSIGN_OR_RETURN(const auto zeros, ZerosOf(graph, *node));
    if (zeros && !Fits(*zeros, pattern)) broken.push_back(name);
  }
  return broken;
}

std::vector<std::string> SparseLayers(const Graph& graph, const SparsityPattern& pattern) {
  std::vector<std::string> names;
  for (const auto& node : graph.nodes()) {
    const auto zeros = ZerosOf(graph, *node);
    if (!zeros.ok() || !*zeros || (*zeros)->all || !Misfit(*node, (*zeros)->at, pattern).empty() ||
        !Fits(**zeros, pattern))
      continue;
    names.push_back(node->name());
  }
  return names;
}

}  // namespace slipway::quant
