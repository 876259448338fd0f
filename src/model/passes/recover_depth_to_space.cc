#include "model/passes/pass.h"
#include "model/passes/rewrite.h"

namespace slipway::passes {
namespace {

// Reshape, Transpose by `perm`, Reshape, each used once: the ends.
struct Shuffle {
  Node *split = nullptr, *transpose = nullptr, *join = nullptr;
  std::vector<int64_t> perm;
  SymShape from, parts, to;
};

std::optional<Shuffle> MatchShuffle(Node* join) {
  if (!join->Is("Reshape")) return std::nullopt;
  Shuffle s;
  s.join = join;
  s.transpose = ProducerOf(join->input(0), "Transpose");
  auto perm = PermOf(s.transpose);
  if (!perm) return std::nullopt;
  s.perm = *perm;
  s.split = ProducerOf(s.transpose->input(0), "Reshape");
  if (!s.split || !IsSelfContained({s.split, s.transpose, join})) return std::nullopt;
  const auto& from = s.split->input(0)->type().shape;
  const auto& parts = s.split->output()->type().shape;
  const auto& to = join->output()->type().shape;
  if (!from || !parts || !to || from->size() != 4 || to->size() != 4) return std::nullopt;
  s.from = *from;
  s.parts = *parts;
  s.to = *to;
  return s;
}

bool Put(Graph& graph, const Shuffle& s, const char* op, int64_t block, const char* mode) {
  ir::Attributes attributes{{"blocksize", block}};
  if (mode) attributes.Set("mode", std::string(mode));
  Fuse(graph, {.op = op, .inputs = {s.split->input(0)}, .attributes = attributes}, s.transpose,
       {s.split, s.transpose, s.join});
  return true;
}

// [N, b, b, C, H, W] -> [N, C, H, b, W, b] (DCR) or [N, C, b, b, H, W] -> the same (CRD), as
// torch.pixel_shuffle does.
bool ToDepthToSpace(Graph& graph, Node* node) {
  auto s = MatchShuffle(node);
  if (!s || s->parts.size() != 6) return false;
  bool dcr = s->perm == std::vector<int64_t>{0, 3, 4, 1, 5, 2};
  bool crd = s->perm == std::vector<int64_t>{0, 1, 4, 2, 5, 3};
  if (!dcr && !crd) return false;
  const Dim &b = s->parts[dcr ? 1 : 2], &b2 = s->parts[dcr ? 2 : 3], &c = s->parts[dcr ? 3 : 1];
  if (!b.known() || b.value() < 2 || !(b == b2)) return false;
  bool fits = s->parts[0] == s->from[0] && s->parts[4] == s->from[2] && s->parts[5] == s->from[3] &&
              s->to[0] == s->from[0] && s->to[1] == c && s->to[2] == s->from[2] * b &&
              s->to[3] == s->from[3] * b;
  return fits && Put(graph, *s, "DepthToSpace", b.value(), dcr ? "DCR" : "CRD");
}

// [N, C, H, b, W, b] -> [N, b, b, C, H, W]. With the channels first ([N, C, b, b, H, W],
// torch.pixel_unshuffle) the order of channels is another one: the convolution behind it, if there
// is one, gets its input channels re-ordered.
bool ToSpaceToDepth(Graph& graph, Node* node) {
  auto s = MatchShuffle(node);
  if (!s || s->parts.size() != 6) return false;
  bool blocks_first = s->perm == std::vector<int64_t>{0, 3, 5, 1, 2, 4};
  bool channels_first = s->perm == std::vector<int64_t>{0, 1, 3, 5, 2, 4};
  if (!blocks_first && !channels_first) return false;
  const Dim &b = s->parts[3], &c = s->parts[1];
  if (!b.known() || b.value() < 2 || !(s->parts[5] == b) || !c.known()) return false;
  bool fits = s->parts[0] == s->from[0] && c == s->from[1] && s->to[0] == s->from[0] &&
              s->to[1] == c * b * b && s->to[2] == s->parts[2] && s->to[3] == s->parts[4] &&
              s->parts[2] * b == s->from[2] && s->parts[4] * b == s->from[3];
  if (!fits) return false;
  if (blocks_first) return Put(graph, *s, "SpaceToDepth", b.value(), nullptr);

  Node* conv = node->output()->OnlyUser();
  if (!conv || !conv->Is("Conv") || conv->input(0) != node->output() ||
      conv->attributes.Int("group", 1) != 1)
    return false;
  auto w = FloatsOf(conv->input(1));
  if (!w || conv->input(1)->uses().size() != 1) return false;
  const Dims dims = conv->constant_input(1)->dims();
  int64_t channels = c.value(), blocks = b.value() * b.value(), taps = dims.count(2, dims.rank());
  if (dims[1] != channels * blocks) return false;
  std::vector<float> moved(w->size());
  for (int64_t o = 0; o < dims[0]; ++o) {
    for (int64_t i = 0; i < channels; ++i) {
      for (int64_t j = 0; j < blocks; ++j) {
        int64_t from = (o * dims[1] + i * blocks + j) * taps;
        int64_t to = (o * dims[1] + j * channels + i) * taps;
        for (int64_t t = 0; t < taps; ++t)
          moved[static_cast<size_t>(to + t)] = (*w)[static_cast<size_t>(from + t)];
      }
    }
  }
  graph.SetInput(conv, 1, AddFloats(graph, conv->input(1)->name(), dims, moved));
  return Put(graph, *s, "SpaceToDepth", b.value(), nullptr);
}

}  // namespace

Result<int> RecoverDepthToSpace(ir::Graph& graph, const PassOptions&) {
  int changes = VisitNodes(graph, [&](Node* node) {
    return ToDepthToSpace(graph, node) || ToSpaceToDepth(graph, node);
  });
  if (changes) graph.RemoveUnused();
  return changes;
}

}  // namespace slipway::passes
