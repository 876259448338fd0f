// Einsum. Two operands become one batched matrix product whose rows, columns and depth are sets of
// labels, addressed through tables of offsets; other numbers of operands are plain loops (the ONNX
// importer splits three and more into pairs).

#include "model/ops/einsum.h"

#include <algorithm>

#include "model/ops/dispatch.h"
#include "model/ops/scratch.h"
#include "model/ops/tiled_gemm.h"

namespace slipway::ops {
namespace {

int LabelOf(char ch) {
  if (ch >= 'A' && ch <= 'Z') return ch - 'A';
  if (ch >= 'a' && ch <= 'z') return ch - 'a' + 26;
  return -1;
}

Status BadEquation(std::string_view equation, const std::string& why) {
  return InvalidArgument("equation '" + std::string(equation.substr(0, 200)) + "' " + why);
}

// One term with `ellipsis` dimensions in place of "..."; at most kMaxRank labels.
Status ParseTerm(std::string_view equation, std::string_view text, int ellipsis, int most_ellipsis,
                 EinsumTerm* out) {
  bool dots = false;
  auto add = [&](int label) {
    if (out->rank >= kMaxRank) return false;
    out->labels[static_cast<size_t>(out->rank++)] = static_cast<int8_t>(label);
    return true;
  };
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] == ' ') continue;
    if (text[i] == '.') {
      if (dots || text.substr(i, 3) != "...") return BadEquation(equation, "has a misplaced '.'");
      dots = true;
      i += 2;
      for (int k = most_ellipsis - ellipsis; k < most_ellipsis; ++k) {
        if (!add(kEinsumLetters + k)) return BadEquation(equation, "has too many dimensions");
      }
      continue;
    }
    const int label = LabelOf(text[i]);
    if (label < 0) return BadEquation(equation, "has a misplaced '-' or '>'");
    if (!add(label)) return BadEquation(equation, "has too many dimensions");
  }
  return OkStatus();
}

int CountLetters(std::string_view text) {
  return static_cast<int>(
      std::count_if(text.begin(), text.end(), [](char ch) { return LabelOf(ch) >= 0; }));
}

bool HasDots(std::string_view text) { return text.find('.') != std::string_view::npos; }

}  // namespace

Result<EinsumPlan> ParseEinsum(std::string_view equation, std::span<const int> ranks) {
  EinsumPlan plan;
  for (char ch : equation) {
    if (LabelOf(ch) < 0 && std::string_view(" ,.->").find(ch) == std::string_view::npos) {
      return BadEquation(equation, std::string("has the character '") + ch +
                                       "'; use letters, ',', '...' and '->'");
    }
  }
  const size_t arrow = equation.find("->");
  const std::string_view left = equation.substr(0, arrow);
  std::array<std::string_view, kMostEinsumInputs> texts;
  for (size_t from = 0;;) {
    const size_t comma = left.find(',', from);
    if (plan.inputs == kMostEinsumInputs) return BadEquation(equation, "has too many terms");
    texts[static_cast<size_t>(plan.inputs++)] =
        left.substr(from, comma == std::string_view::npos ? comma : comma - from);
    if (comma == std::string_view::npos) break;
    from = comma + 1;
  }
  if (static_cast<size_t>(plan.inputs) != ranks.size()) {
    return BadEquation(equation, "has " + std::to_string(plan.inputs) + " terms for " +
                                     std::to_string(ranks.size()) + " inputs");
  }
  int most = 0;
  std::array<int, kMostEinsumInputs> ellipsis{};
  for (size_t i = 0; i < ranks.size(); ++i) {
    const int letters = CountLetters(texts[i]);
    ellipsis[i] = HasDots(texts[i]) ? ranks[i] - letters : 0;
    if (ellipsis[i] < 0 || (!HasDots(texts[i]) && letters != ranks[i])) {
      return BadEquation(equation, "names " + std::to_string(letters) + " dimensions in term " +
                                       std::to_string(i) + " but the input has " +
                                       std::to_string(ranks[i]));
    }
    most = std::max(most, ellipsis[i]);
  }
  std::array<int, kEinsumLabels> uses{};
  for (size_t i = 0; i < ranks.size(); ++i) {
    SLIPWAY_RETURN_IF_ERROR(ParseTerm(equation, texts[i], ellipsis[i], most, &plan.terms[i]));
    for (int d = 0; d < plan.terms[i].rank; ++d)
      ++uses[static_cast<size_t>(plan.terms[i].labels[static_cast<size_t>(d)])];
  }
  if (arrow != std::string_view::npos) {
    SLIPWAY_RETURN_IF_ERROR(
        ParseTerm(equation, equation.substr(arrow + 2), most, most, &plan.output));
    std::array<bool, kEinsumLabels> seen{};
    for (int d = 0; d < plan.output.rank; ++d) {
      const size_t label = static_cast<size_t>(plan.output.labels[static_cast<size_t>(d)]);
      if (uses[label] == 0)
        return BadEquation(equation, "has an output dimension that no input has");
      if (seen[label]) return BadEquation(equation, "repeats a dimension in the output");
      seen[label] = true;
    }
    return plan;
  }
  auto add = [&](int label) {
    if (plan.output.rank < kMaxRank)
      plan.output.labels[static_cast<size_t>(plan.output.rank++)] = static_cast<int8_t>(label);
  };
  for (int k = 0; k < most; ++k) add(kEinsumLetters + k);
  for (int k = 0; k < kEinsumLetters; ++k) {
    if (uses[static_cast<size_t>(k)] == 1) add(k);
  }
  return plan;
}

namespace {

struct Labels {
  std::array<int64_t, kEinsumLabels> extent;
  // Stride of each operand (the output last) along each label; 0 where it does not have it.
  std::array<std::array<int64_t, kEinsumLabels>, kMostEinsumInputs + 1> strides{};
  std::array<bool, kEinsumLabels> used{}, kept{};
};

Status ReadLabels(const OpContext& c, const EinsumPlan& plan, Labels* l) {
  l->extent.fill(1);
  for (int i = 0; i <= plan.inputs; ++i) {
    const bool out = i == plan.inputs;
    const EinsumTerm& t = out ? plan.output : plan.terms[static_cast<size_t>(i)];
    const Dims& dims = out ? c.outputs[0].dims : c.inputs[static_cast<size_t>(i)].dims;
    int64_t stride = 1;
    for (int d = t.rank - 1; d >= 0; --d) {
      const size_t label = static_cast<size_t>(t.labels[static_cast<size_t>(d)]);
      const int64_t n = dims[static_cast<size_t>(d)];
      if (n != 1) {
        if (l->extent[label] != 1 && l->extent[label] != n) {
          return InvalidArgument("a dimension of the equation is both " +
                                 std::to_string(l->extent[label]) + " and " + std::to_string(n));
        }
        l->extent[label] = n;
        l->strides[static_cast<size_t>(i)][label] += stride;  // adds up along a diagonal
      }
      l->used[label] = true;
      l->kept[label] |= out;
      stride *= n;
    }
  }
  return OkStatus();
}

// Offsets of `operand` for every combination of the labels in `set`, the last fastest.
Status Offsets(const Labels& l, std::span<const int8_t> set, int operand,
               std::unique_ptr<int64_t[]>* out) {
  int64_t count = 1;
  for (int8_t label : set) count *= l.extent[static_cast<size_t>(label)];
  SLIPWAY_RETURN_IF_ERROR(AllocateScratch(count, out));
  if (count == 0) return OkStatus();
  int64_t have = 1;
  (*out)[0] = 0;
  for (int8_t label : set) {  // from the slowest: every entry becomes a run
    const int64_t n = l.extent[static_cast<size_t>(label)];
    const int64_t stride = l.strides[static_cast<size_t>(operand)][static_cast<size_t>(label)];
    for (int64_t i = have; i-- > 0;) {
      for (int64_t k = n; k-- > 0;) (*out)[i * n + k] = (*out)[i] + k * stride;
    }
    have *= n;
  }
  return OkStatus();
}

struct LabelSet {
  std::array<int8_t, kEinsumLabels> labels{};
  int count = 0;
  void Add(int label) { labels[static_cast<size_t>(count++)] = static_cast<int8_t>(label); }
  operator std::span<const int8_t>() const { return {labels.data(), static_cast<size_t>(count)}; }
  int64_t Extent(const Labels& l) const {
    int64_t n = 1;
    for (int i = 0; i < count; ++i)
      n *= l.extent[static_cast<size_t>(labels[static_cast<size_t>(i)])];
    return n;
  }
};

// Output labels in the output's order, so that the rows and columns written are runs.
template <typename F>
void ForOutputLabels(const EinsumPlan& plan, F&& f) {
  for (int d = 0; d < plan.output.rank; ++d) f(plan.output.labels[static_cast<size_t>(d)]);
}

template <typename T>
Status Pair(const OpContext& c, const EinsumPlan& plan, const Labels& l) {
  LabelSet batch, rows, columns, depth;
  auto has = [&](int operand, int label) {
    return l.strides[static_cast<size_t>(operand)][static_cast<size_t>(label)] != 0;
  };
  ForOutputLabels(plan, [&](int label) {
    const bool a = has(0, label), b = has(1, label);
    (a && b ? batch : b ? columns : rows).Add(label);
  });
  for (int k = 0; k < kEinsumLabels; ++k) {
    if (l.used[static_cast<size_t>(k)] && !l.kept[static_cast<size_t>(k)]) depth.Add(k);
  }
  std::unique_ptr<int64_t[]> ab, bb, yb, am, ym, bn, yn, ak, bk;
  SLIPWAY_RETURN_IF_ERROR(Offsets(l, batch, 0, &ab));
  SLIPWAY_RETURN_IF_ERROR(Offsets(l, batch, 1, &bb));
  SLIPWAY_RETURN_IF_ERROR(Offsets(l, batch, 2, &yb));
  SLIPWAY_RETURN_IF_ERROR(Offsets(l, rows, 0, &am));
  SLIPWAY_RETURN_IF_ERROR(Offsets(l, rows, 2, &ym));
  SLIPWAY_RETURN_IF_ERROR(Offsets(l, columns, 1, &bn));
  SLIPWAY_RETURN_IF_ERROR(Offsets(l, columns, 2, &yn));
  SLIPWAY_RETURN_IF_ERROR(Offsets(l, depth, 0, &ak));
  SLIPWAY_RETURN_IF_ERROR(Offsets(l, depth, 1, &bk));
  const T* a = c.inputs[0].as<const T>();
  const T* b = c.inputs[1].as<const T>();
  T* y = c.outputs[0].as<T>();
  TiledGemm<T, T>(
      c, batch.Extent(l), rows.Extent(l), columns.Extent(l), depth.Extent(l),
      [&](int64_t g, int64_t i, int64_t k, int n, T* to) {
        const T* from = a + ab[g] + am[i];
        for (int r = 0; r < n; ++r) to[r] = from[ak[k + r]];
      },
      [&](int64_t g, int64_t j, int n, int64_t k, int kn, T* to) {
        const T* from = b + bb[g];
        for (int r = 0; r < kn; ++r) {
          for (int col = 0; col < n; ++col) to[r * kTile + col] = from[bk[k + r] + bn[j + col]];
        }
      },
      [&](int64_t g, int64_t i, int64_t j, int n, const T* row) {
        T* to = y + yb[g] + ym[i];
        for (int r = 0; r < n; ++r) to[yn[j + r]] = row[r];
      });
  return OkStatus();
}

template <typename T>
Status Any(const OpContext& c, const EinsumPlan& plan, const Labels& l) {
  LabelSet out, depth;
  ForOutputLabels(plan, [&](int label) { out.Add(label); });
  for (int k = 0; k < kEinsumLabels; ++k) {
    if (l.used[static_cast<size_t>(k)] && !l.kept[static_cast<size_t>(k)]) depth.Add(k);
  }
  const size_t n = static_cast<size_t>(plan.inputs);
  std::array<std::unique_ptr<int64_t[]>, kMostEinsumInputs> at, in;
  for (size_t i = 0; i < n; ++i) {
    SLIPWAY_RETURN_IF_ERROR(Offsets(l, out, static_cast<int>(i), &at[i]));
    SLIPWAY_RETURN_IF_ERROR(Offsets(l, depth, static_cast<int>(i), &in[i]));
  }
  const int64_t elements = out.Extent(l), terms = depth.Extent(l);
  T* y = c.outputs[0].as<T>();
  For(c, elements, std::max<int64_t>(1, 8192 / std::max<int64_t>(terms, 1)),
      [&](int64_t begin, int64_t end) {
        for (int64_t e = begin; e < end; ++e) {
          T sum = 0;
          for (int64_t k = 0; k < terms; ++k) {
            T product = 1;
            for (size_t i = 0; i < n; ++i)
              product = product * c.inputs[i].as<const T>()[at[i][e] + in[i][k]];
            sum = sum + product;
          }
          y[e] = sum;
        }
      });
  return OkStatus();
}

Status Wide(const OpContext& c) {
  std::array<int, kMostEinsumInputs> ranks{};
  if (c.inputs.size() > kMostEinsumInputs) return Unsupported("more inputs than 16");
  for (size_t i = 0; i < c.inputs.size(); ++i) {
    ranks[i] = c.inputs[i].dims.rank();
    if (c.inputs[i].dtype != c.inputs[0].dtype)
      return Unsupported("the inputs must have one element type");
  }
  SLIPWAY_ASSIGN_OR_RETURN(
      const EinsumPlan plan,
      ParseEinsum(c.attributes->String("equation", ""), std::span(ranks.data(), c.inputs.size())));
  if (plan.output.rank != c.outputs[0].dims.rank())
    return Internal("the output's rank does not fit the equation");
  Labels labels;
  SLIPWAY_RETURN_IF_ERROR(ReadLabels(c, plan, &labels));
  const DType t = c.inputs[0].dtype;
  Status status = NoKernel(t);
  auto run = [&]<typename T>() {
    status = plan.inputs == 2 ? Pair<T>(c, plan, labels) : Any<T>(c, plan, labels);
  };
  // Integers wrap: signed ones run as unsigned.
  if (t == DType::kInt32) {
    run.template operator()<uint32_t>();
  } else if (t == DType::kInt64) {
    run.template operator()<uint64_t>();
  } else {
    Dispatch<float, double, uint32_t, uint64_t>(t, run);
  }
  return status;
}

}  // namespace

Status OnnxEinsum(const OpContext& c) {
  if (c.outputs[0].count() == 0) return OkStatus();
  const DType t = c.inputs[0].dtype;
  return t == DType::kFloat16 || t == DType::kBFloat16 ? RunAsFloat32(c, &Wide) : Wide(c);
}

}  // namespace slipway::ops
