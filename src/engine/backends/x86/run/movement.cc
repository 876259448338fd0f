// Data movement: every operator becomes a list of strided copies between the physical memories of
// its tensors, whatever their layouts.

#include "engine/kernels/movement/movement.h"

#include <algorithm>
#include <cstring>
#include <optional>

#include "engine/backends/x86/run/step.h"

namespace slipway::backends::x86 {
namespace {

using kernels::CopyPlan;

// Where logical element (i0, i1, ...) of a tensor lies. Channels of blocked layouts: i1 / block *
// stride[1] + i1 % block.
struct Physical {
  Dims dims;
  int64_t stride[kMaxRank];
  int64_t block;
};

Physical PhysicalOf(const slipway_tensor& t) {
  Physical p;
  p.dims = Builder::DimsOf(t);
  const Layout layout = static_cast<Layout>(t.layout);
  p.block = format::ChannelBlock(layout);
  const int rank = p.dims.rank();
  int64_t step = p.block;
  if (layout == Layout::kChannelsLast) {
    p.stride[1] = 1;
    step = p.dims[1];
  }
  for (int i = rank - 1; i >= 0; --i) {
    if (i == 1 && layout == Layout::kChannelsLast) continue;
    p.stride[i] = step;
    step *= i == 1 && p.block > 1 ? CeilDiv(p.dims[1], p.block) : p.dims[static_cast<size_t>(i)];
  }
  return p;
}

// One dimension of a box: `size` positions, `src_step` of source dimension src_dim and dst_step of
// destination dimension dst_dim at a time. A dimension of -1 stands still.
struct BoxAxis {
  int64_t size;
  int src_dim;
  int64_t src_step;
  int dst_dim;
  int64_t dst_step;
};

// Collects the axes of a copy and where it starts, in elements. Unsupported when a blocked channel
// dimension is cut inside a block.
class Box {
 public:
  Box(const slipway_tensor& src, const slipway_tensor& dst)
      : src_(PhysicalOf(src)),
        dst_(PhysicalOf(dst)),
        element_(DTypeBits(static_cast<DType>(src.dtype)) / 8) {}

  Status Start(int src_dim, int64_t src_at, int dst_dim, int64_t dst_at) {
    if (src_dim >= 0) SLIPWAY_RETURN_IF_ERROR(Offset(src_, src_dim, src_at, src_offset_));
    if (dst_dim >= 0) SLIPWAY_RETURN_IF_ERROR(Offset(dst_, dst_dim, dst_at, dst_offset_));
    return OkStatus();
  }
  Status Add(const BoxAxis& a) {
    const bool src_blocked = a.src_dim == 1 && src_.block > 1,
               dst_blocked = a.dst_dim == 1 && dst_.block > 1;
    const int64_t s = a.src_dim < 0 ? 0 : src_.stride[a.src_dim] * a.src_step,
                  d = a.dst_dim < 0 ? 0 : dst_.stride[a.dst_dim] * a.dst_step;
    if ((!src_blocked && !dst_blocked) || a.size == 1) {
      axes_.push_back({a.size, s, d});
      return OkStatus();
    }
    const int64_t block = src_blocked ? src_.block : dst_.block;
    if ((src_blocked && dst_blocked && src_.block != dst_.block) || a.size % block != 0 ||
        (src_blocked && a.src_step != 1) || (dst_blocked && a.dst_step != 1)) {
      return Unsupported("channels that are cut inside a block of the layout");
    }
    axes_.push_back({a.size / block, src_blocked ? src_.stride[1] : s * block,
                     dst_blocked ? dst_.stride[1] : d * block});
    axes_.push_back({block, src_blocked ? 1 : s, dst_blocked ? 1 : d});
    return OkStatus();
  }
  // The whole source, dimension by dimension, at `at` of the destination's dimension `dim` (-1:
  // none).
  Status AddAll(int dim = -1, int64_t src_at = 0, int64_t dst_at = 0, int64_t size = -1) {
    if (dim >= 0) SLIPWAY_RETURN_IF_ERROR(Start(dim, src_at, dim, dst_at));
    for (int i = 0; i < src_.dims.rank(); ++i) {
      SLIPWAY_RETURN_IF_ERROR(
          Add({i == dim && size >= 0 ? size : src_.dims[static_cast<size_t>(i)], i, 1, i, 1}));
    }
    return OkStatus();
  }

  struct Copy {
    CopyPlan plan;
    int64_t src_bytes, dst_bytes;  // where it starts
  };
  Copy Finish() const {
    return {CopyPlan(element_, axes_), src_offset_ * element_, dst_offset_ * element_};
  }
  const std::vector<CopyPlan::Axis>& axes() const { return axes_; }

 private:
  static Status Offset(const Physical& p, int dim, int64_t at, int64_t& offset) {
    if (dim == 1 && p.block > 1) {
      if (at % p.block != 0)
        return Unsupported("channels that are cut inside a block of the layout");
      at /= p.block;
    }
    offset += at * p.stride[dim];
    return OkStatus();
  }

  Physical src_, dst_;
  int element_;
  std::vector<CopyPlan::Axis> axes_;
  int64_t src_offset_ = 0, dst_offset_ = 0;
};

struct Job {
  Box::Copy copy;
  size_t input, output;
};

Status CheckTypes(const Builder& b, size_t inputs, size_t outputs) {
  const int bits = DTypeBits(b.in_type(0));
  if (bits != 8 && bits != 16 && bits != 32 && bits != 64)
    return Unsupported(std::string(DTypeName(b.in_type(0))) + " elements");
  for (size_t i = 0; i < inputs; ++i) {
    if (b.in_type(i) != b.in_type(0))
      return InvalidArgument(b.op() + ": inputs of different types");
  }
  for (size_t i = 0; i < outputs; ++i) {
    if (b.out_type(i) != b.in_type(0))
      return InvalidArgument(b.op() + ": the output has another type than the input");
  }
  return OkStatus();
}

Status RunJobs(Builder& b, std::vector<Job> jobs) {
  b.Run([jobs = std::move(jobs)](const RunContext& c) {
    for (const Job& j : jobs)
      j.copy.plan.Run(c.in<uint8_t>(j.input) + j.copy.src_bytes,
                      c.out<uint8_t>(j.output) + j.copy.dst_bytes, &c.parallel);
    return OkStatus();
  });
  return OkStatus();
}

Status NeedRank(const Builder& b, bool ok) {
  return ok ? OkStatus()
            : InvalidArgument(b.op() + ": input " + b.in_dims().ToString() + " and output " +
                              b.out_dims().ToString() + " do not fit");
}

}  // namespace

Status BuildTranspose(Builder& b) {
  SLIPWAY_RETURN_IF_ERROR(b.Need(1));
  SLIPWAY_RETURN_IF_ERROR(CheckTypes(b, 1, 1));
  const Dims x = b.in_dims(), y = b.out_dims();
  SLIPWAY_RETURN_IF_ERROR(NeedRank(b, x.rank() == y.rank()));
  const auto perm = b.attributes().Ints("perm");
  if (!perm.empty() && static_cast<int>(perm.size()) != x.rank())
    return InvalidArgument("perm has the wrong length");
  Box box(b.input(0), b.output());
  bool used[kMaxRank] = {};
  for (int i = 0; i < x.rank(); ++i) {
    const int64_t from = perm.empty() ? x.rank() - 1 - i : perm[static_cast<size_t>(i)];
    if (from < 0 || from >= x.rank() || used[from])
      return InvalidArgument("perm is no permutation");
    used[from] = true;
    SLIPWAY_RETURN_IF_ERROR(NeedRank(b, x[static_cast<size_t>(from)] == y[static_cast<size_t>(i)]));
    SLIPWAY_RETURN_IF_ERROR(box.Add({y[static_cast<size_t>(i)], static_cast<int>(from), 1, i, 1}));
  }
  // The same bytes when every axis steps alike.
  const auto& axes = box.axes();
  if (std::all_of(axes.begin(), axes.end(),
                  [](const CopyPlan::Axis& a) { return a.size == 1 || a.src == a.dst; }))
    b.SetView();
  return RunJobs(b, {{box.Finish(), 0, 0}});
}

Status BuildConcat(Builder& b) {
  SLIPWAY_RETURN_IF_ERROR(b.Need(std::max<size_t>(1, b.num_inputs())));
  SLIPWAY_RETURN_IF_ERROR(CheckTypes(b, b.num_inputs(), 1));
  const Dims y = b.out_dims();
  SLIPWAY_ASSIGN_OR_RETURN(const int axis, Builder::Axis(b.attributes().Int("axis", 0), y.rank()));
  const size_t a = static_cast<size_t>(axis);
  std::vector<Job> jobs;
  int64_t at = 0;
  for (size_t i = 0; i < b.num_inputs(); ++i) {
    Dims x = b.in_dims(i);
    SLIPWAY_RETURN_IF_ERROR(NeedRank(b, x.rank() == y.rank() && x[a] <= y[a] - at));
    const int64_t size = x[a];
    if (x.count() > 0) {
      Box box(b.input(i), b.output());
      SLIPWAY_RETURN_IF_ERROR(box.AddAll(axis, 0, at));
      jobs.push_back({box.Finish(), i, 0});
    }
    at += size;
    x[a] = y[a];
    SLIPWAY_RETURN_IF_ERROR(NeedRank(b, x == y));
  }
  SLIPWAY_RETURN_IF_ERROR(NeedRank(b, at == y[a]));
  return RunJobs(b, std::move(jobs));
}

Status BuildSplit(Builder& b) {
  SLIPWAY_RETURN_IF_ERROR(b.Need(1, std::max<size_t>(1, b.num_outputs())));
  SLIPWAY_RETURN_IF_ERROR(CheckTypes(b, 1, b.num_outputs()));
  const Dims x = b.in_dims();
  SLIPWAY_ASSIGN_OR_RETURN(const int axis, Builder::Axis(b.attributes().Int("axis", 0), x.rank()));
  const size_t a = static_cast<size_t>(axis);
  std::vector<Job> jobs;
  int64_t at = 0;
  for (size_t i = 0; i < b.num_outputs(); ++i) {  // the sizes are the outputs' own
    Dims y = b.out_dims(i);
    SLIPWAY_RETURN_IF_ERROR(NeedRank(b, x.rank() == y.rank() && y[a] <= x[a] - at));
    const int64_t size = y[a];
    Box box(b.input(0), b.output(i));
    SLIPWAY_RETURN_IF_ERROR(box.AddAll(axis, at, 0, size));
    jobs.push_back({box.Finish(), 0, i});
    at += size;
    y[a] = x[a];
    SLIPWAY_RETURN_IF_ERROR(NeedRank(b, x == y));
  }
  return RunJobs(b, std::move(jobs));
}

Status BuildSlice(Builder& b) {
  SLIPWAY_RETURN_IF_ERROR(b.Need(3));
  SLIPWAY_RETURN_IF_ERROR(CheckTypes(b, 1, 1));
  const Dims x = b.in_dims(), y = b.out_dims();
  SLIPWAY_RETURN_IF_ERROR(NeedRank(b, x.rank() == y.rank()));
  SLIPWAY_ASSIGN_OR_RETURN(const auto starts, b.Ints(1));
  SLIPWAY_ASSIGN_OR_RETURN(const auto ends, b.Ints(2));
  std::vector<int64_t> axes, steps(starts.size(), 1);
  for (size_t i = 0; i < starts.size(); ++i) axes.push_back(static_cast<int64_t>(i));
  if (b.Has(3)) {
    SLIPWAY_ASSIGN_OR_RETURN(axes, b.Ints(3));
  }
  if (b.Has(4)) {
    SLIPWAY_ASSIGN_OR_RETURN(steps, b.Ints(4));
  }
  if (ends.size() != starts.size() || axes.size() != starts.size() || steps.size() != starts.size())
    return InvalidArgument("Slice: lists of different lengths");
  int64_t from[kMaxRank] = {}, step[kMaxRank];
  std::fill(step, step + kMaxRank, 1);
  for (size_t i = 0; i < starts.size(); ++i) {
    SLIPWAY_ASSIGN_OR_RETURN(const int a, Builder::Axis(axes[i], x.rank()));
    const int64_t n = x[static_cast<size_t>(a)];
    if (steps[i] == 0 || steps[i] > n + 1 || steps[i] < -n - 1) {
      if (steps[i] == 0) return InvalidArgument("Slice: a step of 0");
    }
    int64_t s = starts[i];
    if (s < 0) s += n;
    from[a] = std::clamp<int64_t>(s, 0, steps[i] > 0 ? n : n - 1);
    step[a] = steps[i];
  }
  if (y.count() == 0) return OkStatus();
  Box box(b.input(0), b.output());
  for (int i = 0; i < x.rank(); ++i) {
    const size_t k = static_cast<size_t>(i);
    // The last element must lie inside; the output's extent comes from inference.
    const auto reach = CheckedMul(y[k] - 1, step[i]);
    SLIPWAY_RETURN_IF_ERROR(NeedRank(b, reach && *reach < x[k] && *reach > -x[k] &&
                                            from[i] + *reach >= 0 && from[i] + *reach < x[k] &&
                                            from[i] < x[k]));
    SLIPWAY_RETURN_IF_ERROR(box.Start(i, from[i], -1, 0));
    SLIPWAY_RETURN_IF_ERROR(box.Add({y[k], i, step[i], i, 1}));
  }
  return RunJobs(b, {{box.Finish(), 0, 0}});
}

namespace {

// A stretch of a padded dimension: `size` positions from dst on come from src, src + step, ...
struct Stretch {
  int64_t dst, size, src, step;
};

// The stretches of a dimension of n elements that becomes one of m, with `before` of them (fewer
// than none: cropped) in front; with mode "constant" what comes from the input alone.
Result<std::vector<Stretch>> PaddedStretches(std::string_view mode, int64_t n, int64_t m,
                                             int64_t before) {
  if (before > m || before < -n) return InvalidArgument("Pad: the pads do not fit the output");
  const int64_t front = std::max<int64_t>(before, 0), cut = std::max<int64_t>(-before, 0);
  const int64_t middle = std::min(n - cut, m - front), behind = m - front - middle;
  if (middle <= 0) return Unsupported("padding that leaves nothing of the input");
  std::vector<Stretch> out = {{front, middle, cut, 1}};
  if (mode == "constant" || front + behind == 0) return out;
  if (mode == "edge" || (mode == "reflect" && n == 1)) {
    out.push_back({0, front, 0, 0});
    out.push_back({front + middle, behind, n - 1, 0});
  } else if (mode == "reflect") {
    if (front >= n || behind >= n) return Unsupported("more padding than there is to reflect");
    out.push_back({0, front, front, -1});
    out.push_back({front + middle, behind, n - 2, -1});
  } else if (mode == "wrap") {
    if (front > n || behind > n) return Unsupported("more padding than there is to repeat");
    out.push_back({0, front, n - front, 1});
    out.push_back({front + middle, behind, 0, 1});
  } else {
    return InvalidArgument("Pad: mode '" + std::string(mode) + "'");
  }
  std::erase_if(out, [](const Stretch& s) { return s.size == 0; });
  return out;
}

}  // namespace

Status BuildPad(Builder& b) {
  SLIPWAY_RETURN_IF_ERROR(b.Need(2));
  SLIPWAY_RETURN_IF_ERROR(CheckTypes(b, 1, 1));
  const std::string_view mode = b.attributes().String("mode", "constant");
  const Dims x = b.in_dims(), y = b.out_dims();
  SLIPWAY_RETURN_IF_ERROR(NeedRank(b, x.rank() == y.rank()));
  SLIPWAY_ASSIGN_OR_RETURN(const auto pads, b.Ints(1));
  std::vector<int64_t> axes(x.size());
  for (size_t i = 0; i < axes.size(); ++i) axes[i] = static_cast<int64_t>(i);
  if (b.Has(3)) {
    SLIPWAY_ASSIGN_OR_RETURN(axes, b.Ints(3));
  }
  if (pads.size() != 2 * axes.size()) return InvalidArgument("Pad: pads of the wrong length");
  uint64_t value = 0;
  const int element = DTypeBits(b.in_type()) / 8;
  if (b.Has(2)) {
    const void* data = b.ConstantData(2);
    if (!data) return Unsupported("a padding value that is no constant");
    if (b.in_type(2) != b.in_type() || b.in_dims(2).count() != 1)
      return InvalidArgument("Pad: the value does not fit");
    std::memcpy(&value, data, static_cast<size_t>(element));
  }
  const int block = format::ChannelBlock(b.out_layout());
  const bool constant = mode == "constant", filled = block == 1 || y[1] % block == 0;
  if (!filled && (value != 0 || !constant)) return Unsupported("channels that do not fill the blocks");
  int64_t before[kMaxRank] = {};
  for (size_t i = 0; i < axes.size(); ++i) {
    SLIPWAY_ASSIGN_OR_RETURN(const int axis, Builder::Axis(axes[i], x.rank()));
    before[axis] = pads[i];
  }
  // A copy for every stretch of every dimension.
  std::vector<std::vector<Stretch>> stretches;
  size_t copies = 1;
  for (int i = 0; i < x.rank(); ++i) {
    const size_t k = static_cast<size_t>(i);
    SLIPWAY_ASSIGN_OR_RETURN(auto found, PaddedStretches(mode, x[k], y[k], before[i]));
    copies *= found.size();
    if (copies > 81) return Unsupported("padding of more than four dimensions");
    stretches.push_back(std::move(found));
  }
  std::vector<Job> jobs;
  for (size_t copy = 0; copy < copies; ++copy) {
    Box box(b.input(0), b.output());
    size_t rest = copy;
    for (int i = 0; i < x.rank(); ++i) {
      const auto& all = stretches[static_cast<size_t>(i)];
      const Stretch& s = all[rest % all.size()];
      rest /= all.size();
      SLIPWAY_RETURN_IF_ERROR(box.Start(i, s.src, i, s.dst));
      SLIPWAY_RETURN_IF_ERROR(box.Add({s.size, i, s.step, i, 1}));
    }
    jobs.push_back({box.Finish(), 0, 0});
  }
  if (!constant) return RunJobs(b, std::move(jobs));
  const int64_t count = b.Physical(b.output());
  b.Run([=, copy = jobs[0].copy](const RunContext& c) {
    kernels::Fill(c.out<uint8_t>(), count, &value, element, &c.parallel);
    copy.plan.Run(c.in<uint8_t>(0) + copy.src_bytes, c.out<uint8_t>() + copy.dst_bytes,
                  &c.parallel);
    return OkStatus();
  });
  return OkStatus();
}

namespace {

// Channels of images that lie channels last, by constant indices.
Status BuildGatherChannels(Builder& b) {
  const Dims x = b.in_dims(), y = b.out_dims(), indices = b.in_dims(1);
  SLIPWAY_ASSIGN_OR_RETURN(const int axis, Builder::Axis(b.attributes().Int("axis", 0), x.rank()));
  if (axis != 1 || b.out_layout() != Layout::kChannelsLast || b.input(1).layout != 0)
    return Unsupported("Gather of other than channels in this layout");
  SLIPWAY_RETURN_IF_ERROR(NeedRank(b, x.rank() >= 3 && y.rank() == x.rank() && indices.rank() == 1));
  for (int i = 0; i < x.rank(); ++i) {
    const size_t d = static_cast<size_t>(i);
    SLIPWAY_RETURN_IF_ERROR(NeedRank(b, y[d] == (i == 1 ? indices[0] : x[d])));
  }
  SLIPWAY_ASSIGN_OR_RETURN(const std::vector<int64_t> values, b.Ints(1));
  std::vector<int32_t> index;
  for (const int64_t i : values) {
    if (i < -x[1] || i >= x[1] || x[1] > (int64_t{1} << 31) - 1) {
      return InvalidArgument("Gather: index " + std::to_string(i) + " is outside " +
                             std::to_string(x[1]) + " channels");
    }
    index.push_back(static_cast<int32_t>(i < 0 ? i + x[1] : i));
  }
  if (y.count() == 0) return OkStatus();
  kernels::GatherPlan plan;
  plan.element = static_cast<int>(DTypeBits(b.in_type()) / 8);
  plan.from = x[1];
  plan.to = y[1];
  plan.rows = y.count() / y[1];
  plan.pairs = kernels::GatherPlan::Pairs(index.data(), plan.to);
  b.Run([plan, index = std::move(index)](const RunContext& c) {
    kernels::GatherPlan now = plan;
    now.index = index.data();
    now.Run(c.in<void>(0), c.out<void>(), &c.parallel);
    return OkStatus();
  });
  return OkStatus();
}

}  // namespace

Status BuildGather(Builder& b) {
  SLIPWAY_RETURN_IF_ERROR(b.Need(2));
  SLIPWAY_RETURN_IF_ERROR(CheckTypes(b, 1, 1));
  if (b.in_layout() == Layout::kChannelsLast) return BuildGatherChannels(b);
  SLIPWAY_RETURN_IF_ERROR(b.NeedPlain());
  const Dims x = b.in_dims(), y = b.out_dims(), indices = b.in_dims(1);
  SLIPWAY_ASSIGN_OR_RETURN(const int axis, Builder::Axis(b.attributes().Int("axis", 0), x.rank()));
  const DType type = b.in_type(1);
  if (type != DType::kInt64 && type != DType::kInt32)
    return Unsupported(std::string(DTypeName(type)) + " indices");
  const int64_t outer = x.count(0, axis), n = x[static_cast<size_t>(axis)],
                inner = x.count(axis + 1, x.rank()), count = indices.count();
  SLIPWAY_RETURN_IF_ERROR(NeedRank(b, y.count() == outer * count * inner));
  const size_t bytes = static_cast<size_t>(inner * (DTypeBits(b.in_type()) / 8));
  b.Run([=](const RunContext& c) -> Status {
    auto at = [&](int64_t i) {
      return type == DType::kInt64 ? c.in<int64_t>(1)[i] : c.in<int32_t>(1)[i];
    };
    for (int64_t i = 0; i < count; ++i) {
      if (at(i) < -n || at(i) >= n)
        return InvalidArgument("Gather: index " + std::to_string(at(i)) + " is outside " +
                               std::to_string(n) + " elements");
    }
    c.parallel.ParallelFor(
        outer * count,
        std::max<int64_t>(1, 32768 / std::max<int64_t>(1, static_cast<int64_t>(bytes))),
        [&](int64_t begin, int64_t end) {
          for (int64_t i = begin; i < end; ++i) {
            const int64_t index = at(i % count),
                          row = i / count * n + (index < 0 ? index + n : index);
            std::memcpy(c.out<uint8_t>() + static_cast<size_t>(i) * bytes,
                        c.in<uint8_t>(0) + static_cast<size_t>(row) * bytes, bytes);
          }
        });
    return OkStatus();
  });
  return OkStatus();
}

Status BuildExpand(Builder& b) {
  SLIPWAY_RETURN_IF_ERROR(b.Need(1));
  SLIPWAY_RETURN_IF_ERROR(CheckTypes(b, 1, 1));
  SLIPWAY_RETURN_IF_ERROR(b.NeedPlain());
  const Dims x = b.in_dims(), y = b.out_dims();
  SLIPWAY_RETURN_IF_ERROR(NeedRank(b, x.rank() <= y.rank()));
  Box box(b.input(0), b.output());
  const int lead = y.rank() - x.rank();
  for (int i = 0; i < y.rank(); ++i) {
    const int64_t n = y[static_cast<size_t>(i)],
                  from = i < lead ? 1 : x[static_cast<size_t>(i - lead)];
    SLIPWAY_RETURN_IF_ERROR(NeedRank(b, from == 1 || from == n));
    SLIPWAY_RETURN_IF_ERROR(box.Add({n, from == 1 ? -1 : i - lead, 1, i, 1}));
  }
  return RunJobs(b, {{box.Finish(), 0, 0}});
}

Status BuildTile(Builder& b) {
  SLIPWAY_RETURN_IF_ERROR(b.Need(1));
  SLIPWAY_RETURN_IF_ERROR(CheckTypes(b, 1, 1));
  SLIPWAY_RETURN_IF_ERROR(b.NeedPlain());
  const Dims x = b.in_dims(), y = b.out_dims();
  SLIPWAY_RETURN_IF_ERROR(NeedRank(b, x.rank() == y.rank()));
  if (y.count() == 0) return OkStatus();
  Box box(b.input(0), b.output());
  for (int i = 0; i < y.rank(); ++i) {
    const int64_t n = x[static_cast<size_t>(i)], to = y[static_cast<size_t>(i)];
    SLIPWAY_RETURN_IF_ERROR(NeedRank(b, n > 0 && to % n == 0));
    SLIPWAY_RETURN_IF_ERROR(box.Add({to / n, -1, 0, i, n}));
    SLIPWAY_RETURN_IF_ERROR(box.Add({n, i, 1, i, 1}));
  }
  return RunJobs(b, {{box.Finish(), 0, 0}});
}

Status BuildDepthToSpace(Builder& b) {
  SLIPWAY_RETURN_IF_ERROR(b.Need(1));
  SLIPWAY_RETURN_IF_ERROR(CheckTypes(b, 1, 1));
  const bool depth = b.op() == "DepthToSpace", crd = b.attributes().String("mode", "DCR") == "CRD";
  const Dims x = b.in_dims(), y = b.out_dims();
  const Dims &deep = depth ? x : y, &wide = depth ? y : x;
  const int64_t s = b.attributes().Int("blocksize", 0);
  if (format::ChannelBlock(b.in_layout()) > 1 || format::ChannelBlock(b.out_layout()) > 1)
    return Unsupported("a blocked layout");
  SLIPWAY_RETURN_IF_ERROR(NeedRank(b, x.rank() == 4 && y.rank() == 4 && s > 0 && s < 65536 &&
                                          x[0] == y[0] && deep[1] == wide[1] * s * s &&
                                          wide[2] == deep[2] * s && wide[3] == deep[3] * s));
  // Positions [n, i, j, c, h, w] of block (i, j): deep channel (i * s + j) * C + c, or (c * s + i)
  // * s + j in mode CRD.
  const int64_t c = wide[1], i_step = depth && crd ? s : s * c, j_step = depth && crd ? 1 : c,
                c_step = depth && crd ? s * s : 1;
  Box box(b.input(0), b.output());
  auto add = [&](int64_t size, int deep_dim, int64_t deep_step, int wide_dim, int64_t wide_step) {
    return depth ? box.Add({size, deep_dim, deep_step, wide_dim, wide_step})
                 : box.Add({size, wide_dim, wide_step, deep_dim, deep_step});
  };
  SLIPWAY_RETURN_IF_ERROR(add(x[0], 0, 1, 0, 1));
  SLIPWAY_RETURN_IF_ERROR(add(c, 1, c_step, 1, 1));
  SLIPWAY_RETURN_IF_ERROR(add(deep[2], 2, 1, 2, s));
  SLIPWAY_RETURN_IF_ERROR(add(s, 1, i_step, 2, 1));
  SLIPWAY_RETURN_IF_ERROR(add(deep[3], 3, 1, 3, s));
  SLIPWAY_RETURN_IF_ERROR(add(s, 1, j_step, 3, 1));
  return RunJobs(b, {{box.Finish(), 0, 0}});
}

// Reshape and its relatives: the same bytes when both tensors are plain, have the same layout and
// channels, or have one position only.
Status BuildView(Builder& b) {
  SLIPWAY_RETURN_IF_ERROR(b.Need(1));
  SLIPWAY_RETURN_IF_ERROR(CheckTypes(b, 1, 1));
  for (size_t i = 1; i < b.num_outputs(); ++i) {
    if (b.output(i).dtype != 0) return Unsupported("a second output");
  }
  const Dims x = b.in_dims(), y = b.out_dims();
  SLIPWAY_RETURN_IF_ERROR(NeedRank(b, x.count() == y.count()));
  const Layout from = b.in_layout(), to = b.out_layout();
  if (from != Layout::kPlain || to != Layout::kPlain) {
    const bool heads = x.rank() >= 2 && y.rank() >= 2 && x[0] == y[0] && x[1] == y[1];
    const bool full =
        heads && x[1] % format::ChannelBlock(from) == 0 && x[1] % format::ChannelBlock(to) == 0;
    if (!(heads && from == to) && !(full && x.count(2, x.rank()) == 1))
      return Unsupported("another order of the elements in this layout");
  }
  b.SetView();
  const int64_t bytes = b.Physical(b.output()) * (DTypeBits(b.out_type()) / 8);
  if (b.Physical(b.input(0)) != b.Physical(b.output()))
    return Unsupported("another size in this layout");
  const CopyPlan::Axis axis{bytes, 1, 1};
  const CopyPlan plan(1, {&axis, 1});
  b.Run([=](const RunContext& c) {
    if (c.in<uint8_t>(0) != c.out<uint8_t>())
      plan.Run(c.in<uint8_t>(0), c.out<uint8_t>(), &c.parallel);
    return OkStatus();
  });
  return OkStatus();
}

}  // namespace slipway::backends::x86
