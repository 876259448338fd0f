#pragma once
// Broadcasting over physical memory: operands in the output's layout, or plain ones that look the
// same in it, walked as long rows.

#include <algorithm>

#include "engine/backends/x86/run/step.h"
#include "model/ops/broadcast.h"

namespace slipway::backends::x86 {

// The extents of a tensor of logical dims `d` in memory order of layout `layout` (blocked: channels
// split). `d` has the output's rank.
inline Dims PhysicalDims(const Dims& d, Layout layout) {
  if (layout == Layout::kPlain) return d;
  Dims p{d[0]};
  const int block = format::ChannelBlock(layout);
  if (block > 1) p.push_back(d[1] == 1 ? 1 : CeilDiv(d[1], block));
  for (size_t i = 2; i < d.size(); ++i) p.push_back(d[i]);
  p.push_back(block > 1 ? (d[1] == 1 ? 1 : block) : d[1]);
  return p;
}

// The physical extents of input i as an operand that broadcasts to the output. Unsupported: a plain
// operand that would have to be reordered, or a blocked output whose channels do not fill the
// blocks. InvalidArgument: it does not broadcast.
inline Result<Dims> OperandDims(const Builder& b, size_t i) {
  const Dims y = b.out_dims(), x = b.in_dims(i);
  if (x.rank() > y.rank()) return InvalidArgument("operands that do not broadcast");
  Dims d;
  for (int k = 0; k < y.rank() - x.rank(); ++k) d.push_back(1);
  for (int64_t n : x) d.push_back(n);
  for (size_t k = 0; k < d.size(); ++k) {
    if (d[k] != y[k] && d[k] != 1)
      return InvalidArgument("operands " + x.ToString() + " and " + y.ToString() +
                             " that do not broadcast");
  }
  const Layout layout = b.out_layout();
  if (layout == Layout::kPlain) {
    if (b.in_layout(i) != Layout::kPlain) return Unsupported("operands in different layouts");
    return d;
  }
  const int block = format::ChannelBlock(layout);
  if (y[1] % block != 0) return Unsupported("channels that do not fill the blocks");
  if (b.in_layout(i) == layout) {
    if (block > 1 && d[1] == 1) return Unsupported("a blocked operand of one channel");
    return PhysicalDims(d, layout);
  }
  if (b.in_layout(i) != Layout::kPlain) return Unsupported("operands in different layouts");
  if (d[1] != 1 && d.count(2, d.rank()) != 1)
    return Unsupported("a plain operand with channels and positions in another layout");
  return PhysicalDims(d, layout);
}

// How N operands walk along rows of the output: every operand has inner stride 0 or 1.
template <int N>
class RowPlan {
 public:
  // `periodic`: operand 1 may repeat along the row with a period.
  void Make(const Dims& out, const Dims* const (&operands)[N], bool periodic) {
    const auto p = ops::BroadcastPlan<N>::Make(out, operands);
    int first = 1;
    row_ = p.dims[0];
    for (int j = 0; j < N; ++j) walk_[j] = p.strides[j][0];
    if constexpr (N == 2) {
      if (periodic && p.rank > 1 && walk_[0] == 1 && walk_[1] == 1 && p.strides[1][1] == 0 &&
          p.strides[0][1] == row_) {
        period_ = row_;
        row_ *= p.dims[1];
        first = 2;
      }
    }
    for (int d = first; d < p.rank; ++d) {
      dims_[rank_] = p.dims[d];
      for (int j = 0; j < N; ++j) strides_[j][rank_] = p.strides[j][d];
      outer_ *= p.dims[d];
      ++rank_;
    }
    // Long rows are cut so that threads share them and the parts stay in the cache.
    piece_ = row_;
    if (piece_ > kPiece)
      piece_ = period_ ? std::max<int64_t>(period_, kPiece / period_ * period_) : kPiece;
    pieces_ = row_ == 0 ? 0 : CeilDiv(row_, piece_);
  }

  int64_t walk(int j) const { return walk_[j]; }
  int64_t period() const { return period_; }

  // f(output offset, n, offsets of the operands)
  template <typename F>
  void Run(Parallel& parallel, F&& f) const {
    const int64_t units = outer_ * pieces_,
                  grain = std::max<int64_t>(1, 32768 / std::max<int64_t>(1, piece_));
    auto body = [&](int64_t begin, int64_t end) {
      int64_t index[kMaxRank] = {}, base[N] = {};
      int64_t rest = begin / pieces_, part = begin % pieces_, at = rest * row_;
      for (int d = 0; d < rank_; ++d) {
        index[d] = rest % dims_[d];
        rest /= dims_[d];
        for (int j = 0; j < N; ++j) base[j] += index[d] * strides_[j][d];
      }
      for (int64_t u = begin; u < end; ++u) {
        const int64_t from = part * piece_, n = std::min(piece_, row_ - from);
        int64_t offsets[N];
        for (int j = 0; j < N; ++j)
          offsets[j] = base[j] + (walk_[j] && !(j == 1 && period_) ? from : 0);
        f(at + from, n, static_cast<const int64_t*>(offsets));
        if (++part < pieces_) continue;
        part = 0;
        at += row_;
        for (int d = 0; d < rank_; ++d) {
          for (int j = 0; j < N; ++j) base[j] += strides_[j][d];
          if (++index[d] < dims_[d]) break;
          for (int j = 0; j < N; ++j) base[j] -= dims_[d] * strides_[j][d];
          index[d] = 0;
        }
      }
    };
    if (units <= grain) {
      if (units > 0) body(0, units);
    } else {
      parallel.ParallelFor(units, grain, body);
    }
  }

 private:
  static constexpr int64_t kPiece = 2048;
  int rank_ = 0;
  int64_t row_ = 1, piece_ = 1, pieces_ = 1, outer_ = 1, period_ = 0;
  int64_t walk_[N] = {};
  int64_t dims_[kMaxRank] = {};
  int64_t strides_[N][kMaxRank] = {};
};

}  // namespace slipway::backends::x86
