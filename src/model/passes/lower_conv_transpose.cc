#include <algorithm>

#include "base/checked.h"
#include "model/passes/pass.h"
#include "model/passes/rewrite.h"

namespace slipway::passes {
namespace {

struct Transposed {
  int64_t group, in, out;  // channels of a group
  int64_t kernel[3] = {1, 1, 1}, dilation[3] = {1, 1, 1}, begin[3] = {0, 0, 0}, end[3] = {0, 0, 0},
          extra[3] = {0, 0, 0};
  int64_t stride = 1;
  int spatial = 0;
};

std::optional<Transposed> Read(const Node& node) {
  const Tensor* w = node.constant_input(1);
  const auto& a = node.attributes;
  if (!w || w->dtype() != DType::kFloat32 || w->dims().rank() < 3 || w->dims().rank() > 5 ||
      w->count() == 0 || a.String("auto_pad", "NOTSET") != "NOTSET" ||
      !a.Ints("output_shape").empty() || (node.input(2) && !node.constant_input(2)))
    return std::nullopt;
  Transposed t;
  t.group = a.Int("group", 1);
  t.spatial = w->dims().rank() - 2;
  if (t.group < 1 || w->dims()[0] % t.group != 0) return std::nullopt;
  t.in = w->dims()[0] / t.group;
  t.out = w->dims()[1];
  const auto strides = a.Ints("strides"), dilations = a.Ints("dilations"), pads = a.Ints("pads"),
             extra = a.Ints("output_padding");
  const auto n = static_cast<size_t>(t.spatial);
  for (const auto& [list, size] : {std::pair(strides, n), std::pair(dilations, n),
                                   std::pair(pads, 2 * n), std::pair(extra, n)}) {
    if (!list.empty() && list.size() != size) return std::nullopt;
  }
  for (size_t i = 0; i < n; ++i) {
    t.kernel[i] = w->dims()[i + 2];
    t.dilation[i] = dilations.empty() ? 1 : dilations[i];
    t.begin[i] = pads.empty() ? 0 : pads[i];
    t.end[i] = pads.empty() ? 0 : pads[n + i];
    t.extra[i] = extra.empty() ? 0 : extra[i];
    const int64_t stride = strides.empty() ? 1 : strides[i];
    if (i > 0 && stride != t.stride) return std::nullopt;
    t.stride = stride;
    for (int64_t v : {t.kernel[i], t.dilation[i], t.stride, t.begin[i], t.end[i], t.extra[i]}) {
      if (v < 0 || v > (int64_t{1} << 20)) return std::nullopt;
    }
  }
  return t;
}

// Stride 1: the convolution with the window turned round.
// Stride s in two dimensions: output m * s + r, counted from where the padding begins, sums
// x[m - t] * w[r + s * t]: each of the s * s remainders is a convolution of ceil(kernel / s) taps,
// all of them are one with s * s times the channels, and DepthToSpace puts them side by side (Shi
// et al., "Is the deconvolution layer the same as a convolutional layer?", 2016).
bool Lower(Graph& graph, Node* node) {
  if (!node->Is("ConvTranspose") || node->output()->dtype() != DType::kFloat32) return false;
  const auto t = Read(*node);
  if (!t) return false;
  const int64_t s = t->stride;
  int64_t taps[3] = {1, 1, 1};
  std::vector<int64_t> pads_begin, pads_end, dilations, starts, ends, axes;
  bool cut = false;
  if (s == 1) {
    for (int i = 0; i < t->spatial; ++i) {
      taps[i] = t->kernel[i];
      const int64_t reach = (t->kernel[i] - 1) * t->dilation[i];
      if (t->begin[i] > reach || t->end[i] - t->extra[i] > reach) return false;
      pads_begin.push_back(reach - t->begin[i]);
      pads_end.push_back(reach - t->end[i] + t->extra[i]);
      dilations.push_back(t->dilation[i]);
    }
  } else {
    if (t->spatial != 2 || s < 2 || s > 16) return false;
    // Images of their own for every channel have nothing to share: as they are.
    if (t->group > 1 && t->in < 8) return false;
    for (int i = 0; i < 2; ++i) {
      if (t->dilation[i] != 1) return false;
      taps[i] = (t->kernel[i] + s - 1) / s;
      // What stands behind the outputs that are wanted; the image is (inputs + taps - 1) * s long.
      const int64_t rest = taps[i] * s - t->kernel[i] + t->end[i] - t->extra[i];
      if (rest < 0) return false;
      pads_begin.push_back(taps[i] - 1);
      pads_end.push_back(taps[i] - 1);
      dilations.push_back(1);
      axes.push_back(i + 2);
      starts.push_back(t->begin[i]);
      ends.push_back(rest == 0 ? INT64_MAX : -rest);
      cut |= t->begin[i] > 0 || rest > 0;
    }
  }
  const int64_t parts = s == 1 ? 1 : s * s;
  const int64_t window = t->kernel[0] * t->kernel[1] * t->kernel[2],
                new_window = taps[0] * taps[1] * taps[2];
  const auto rows = CheckedMul(t->group * t->out, parts * new_window);
  const auto count = rows ? CheckedMul(*rows, t->in) : std::nullopt;
  // Windows smaller than the stride would mostly be zeros.
  if (!count || *count > 8 * node->constant_input(1)->count()) return false;
  const auto w = FloatsOf(node->input(1));
  if (!w) return false;
  std::vector<float> packed(static_cast<size_t>(*count), 0);
  // Kernel tap k = r + s * tap of phase r lands at taps - 1 - tap.
  for (int64_t g = 0; g < t->group; ++g) {
    for (int64_t c = 0; c < t->in; ++c) {
      for (int64_t o = 0; o < t->out; ++o) {
        const float* from = w->data() + (((g * t->in + c) * t->out) + o) * window;
        for (int64_t k0 = 0; k0 < t->kernel[0]; ++k0) {
          for (int64_t k1 = 0; k1 < t->kernel[1]; ++k1) {
            for (int64_t k2 = 0; k2 < t->kernel[2]; ++k2) {
              const int64_t at[3] = {taps[0] - 1 - k0 / s, taps[1] - 1 - k1 / s,
                                     taps[2] - 1 - k2 / s};
              const int64_t phase = s == 1 ? 0 : k0 % s * s + k1 % s;
              const int64_t row = (g * t->out + o) * parts + phase;
              packed[static_cast<size_t>(((row * t->in + c) * taps[0] + at[0]) * taps[1] * taps[2] +
                                         at[1] * taps[2] + at[2])] =
                  from[(k0 * t->kernel[1] + k1) * t->kernel[2] + k2];
            }
          }
        }
      }
    }
  }
  const std::string name = node->name();
  Dims dims{t->group * t->out * parts, t->in};
  for (int i = 0; i < t->spatial; ++i) dims.push_back(taps[i]);
  Graph::NodeSpec conv{
      .op = "Conv", .inputs = {node->input(0), AddFloats(graph, name + "_weights", dims, packed)}};
  if (node->input(2)) {
    const auto b = FloatsOf(node->input(2));
    if (!b) return false;
    std::vector<float> bias;
    for (float v : *b) bias.insert(bias.end(), static_cast<size_t>(parts), v);
    conv.inputs.push_back(
        AddFloats(graph, name + "_bias", {static_cast<int64_t>(bias.size())}, bias));
  }
  std::vector<int64_t> pads = pads_begin;
  pads.insert(pads.end(), pads_end.begin(), pads_end.end());
  conv.attributes = {{"group", t->group}, {"pads", pads}};
  if (std::any_of(dilations.begin(), dilations.end(), [](int64_t d) { return d != 1; }))
    conv.attributes.Set("dilations", dilations);
  if (s == 1) {
    Fuse(graph, std::move(conv), node, {node});
    return true;
  }
  // An activation behind it goes before the channels are taken apart, where it can be fused.
  std::vector<Node*> replaced = {node};
  const auto unknown = [&] { return Type{DType::kFloat32, std::nullopt}; };
  conv.name = name + "/conv";
  Value* made = AddBefore(graph, std::move(conv), unknown(), node, node);
  Value* y = node->output();
  Node* user = y->uses().size() == 1 && !y->is_output() ? y->uses()[0].node : nullptr;
  if (user && user->domain().empty() && user->inputs().size() == 1 && IsUnaryElementwise(user) &&
      user->output()->dtype() == DType::kFloat32) {
    made = AddBefore(
        graph,
        {.op = user->op(), .inputs = {made}, .attributes = user->attributes, .name = name + "/act"},
        unknown(), node, user);
    replaced.push_back(user);
  }
  Graph::NodeSpec space{.op = "DepthToSpace",
                        .inputs = {made},
                        .attributes = {{"blocksize", s}, {"mode", std::string("CRD")}}};
  if (cut) {
    space.name = name + "/space";
    made = AddBefore(graph, std::move(space), unknown(), node, node);
    space = {.op = "Slice",
             .inputs = {made, AddInts(graph, "", starts), AddInts(graph, "", ends),
                        AddInts(graph, "", axes)}};
  }
  Fuse(graph, std::move(space), node, replaced);
  return true;
}

}  // namespace

Result<int> LowerConvTranspose(ir::Graph& graph, const PassOptions& options) {
  int changes = VisitNodes(graph, [&](Node* node) {
    return !(options.supported && options.supported(*node)) && Lower(graph, node);
  });
  if (changes) graph.RemoveUnused();
  return changes;
}

}  // namespace slipway::passes
