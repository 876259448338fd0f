#include "quant/observers/observer.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>

namespace slipway::quant {
namespace {

constexpr int kShift = 23 - Observer::kMantissaBits;
constexpr int kPages = 512;  // sign and exponent
constexpr int kNegative = 256, kNotFinite = 255;
// Values per piece: 32-bit counts cannot overflow.
constexpr size_t kPiece = size_t{1} << 24;

// Orders as the float does; its own inverse.
int32_t Sortable(int32_t bits) { return bits ^ ((bits >> 31) & 0x7fffffff); }

Range Join(const Range& a, const Range& b) { return {std::min(a.lo, b.lo), std::max(a.hi, b.hi)}; }

}  // namespace

void Histogram::Count(std::span<const float> values) {
  bins_.resize(size_t{kPages} << Observer::kMantissaBits);
  for (const int sign : {0, kNegative}) {
    for (int page = low_page_; page <= high_page_; ++page) {
      auto* first = &bins_[static_cast<size_t>(sign | page) << Observer::kMantissaBits];
      std::fill(first, first + Observer::kPageBins, 0u);
    }
  }
  values_ = static_cast<int64_t>(values.size());
  const int32_t infinity = 0x7f800000, below = Sortable(std::bit_cast<int32_t>(-HUGE_VALF));
  // In lanes, so that compilers make vectors of them. `nearest`: to zero, of those that are not.
  constexpr size_t kLanes = 8;
  int32_t leasts[kLanes], mosts[kLanes], nearests[kLanes];
  std::fill_n(leasts, kLanes, infinity);
  std::fill_n(mosts, kLanes, below);
  std::fill_n(nearests, kLanes, 0x7fffffff);
  const float* const from = values.data();
  const size_t whole = values.size() / kLanes * kLanes;
  const auto look = [&](float v, size_t k) {
    const int32_t bits = std::bit_cast<int32_t>(v), key = Sortable(bits);
    const int32_t magnitude = ((bits & 0x7fffffff) - 1) & 0x7fffffff;  // of zero: the largest
    leasts[k] = key < leasts[k] ? key : leasts[k];
    mosts[k] = key > mosts[k] ? key : mosts[k];
    nearests[k] = magnitude < nearests[k] ? magnitude : nearests[k];
  };
  for (size_t i = 0; i < whole; i += kLanes) {
    for (size_t k = 0; k < kLanes; ++k) look(from[i + k], k);
  }
  for (size_t i = whole; i < values.size(); ++i) look(from[i], 0);
  const int32_t least = *std::min_element(leasts, leasts + kLanes);
  const int32_t most = *std::max_element(mosts, mosts + kLanes);
  const int32_t nearest = *std::min_element(nearests, nearests + kLanes);
  count_ = values_;
  if (values_ > 0 && (most >= infinity || least <= below)) {
    extremes_ = {std::numeric_limits<float>::max(), std::numeric_limits<float>::lowest()};
    for (const float v : values) {
      if (!std::isfinite(v)) {
        --count_;
        continue;
      }
      extremes_ = Join(extremes_, {v, v});
    }
    high_page_ = kNotFinite;
  } else if (values_ > 0) {
    extremes_ = {std::bit_cast<float>(Sortable(least)), std::bit_cast<float>(Sortable(most))};
    const float magnitude = std::max(std::fabs(extremes_.lo), std::fabs(extremes_.hi));
    high_page_ = static_cast<int>(std::bit_cast<uint32_t>(magnitude) >> 23);
  } else {
    high_page_ = 0;
  }
  low_page_ = 0;  // zeros are there in any case
  lowest_ = std::min(high_page_, static_cast<int>(nearest >> 23));
  uint32_t* const bins = bins_.data();
  // Zeros, half of what follows a ReLU, go to eight bins in turn: one counter would be a chain.
  for (size_t i = 0; i < values.size(); ++i) {
    const uint32_t bin = std::bit_cast<uint32_t>(from[i]) >> kShift;
    const uint32_t zero = static_cast<uint32_t>(bin == 0) * (static_cast<uint32_t>(i) & 7);
    ++bins[bin + zero];
  }
}

void Observer::Add(int64_t batch, const Histogram& piece) {
  if (piece.values_ == 0) return;
  if (piece.count_ > 0) {
    extremes_ = count_ == 0 ? piece.extremes_ : Join(extremes_, piece.extremes_);
    const auto [it, fresh] = open_.try_emplace(batch, piece.extremes_);
    if (!fresh) it->second = Join(it->second, piece.extremes_);
  }
  count_ += piece.count_;
  for (const int sign : {0, kNegative}) {
    for (int page = 0; page <= piece.high_page_; ++page) {
      if (page > 0 && page < piece.lowest_) continue;
      const uint32_t* from =
          &piece.bins_[static_cast<size_t>(sign | page) << Observer::kMantissaBits];
      if (std::all_of(from, from + kPageBins, [](uint32_t n) { return n == 0; })) continue;
      std::vector<uint64_t>& to = pages_[sign | page];
      to.resize(kPageBins);
      for (int i = 0; i < kPageBins; ++i) to[static_cast<size_t>(i)] += from[i];
    }
  }
}

void Observer::EndBatch(int64_t batch) {
  const auto it = open_.find(batch);
  if (it == open_.end()) return;
  batches_.push_back(it->second);
  open_.erase(it);
}

void Observer::Observe(std::span<const float> values) {
  static thread_local Histogram piece;
  const auto batch = static_cast<int64_t>(batches_.size());
  for (size_t begin = 0; begin < values.size(); begin += kPiece) {
    piece.Count(values.subspan(begin, std::min(kPiece, values.size() - begin)));
    Add(batch, piece);
  }
  EndBatch(batch);
}

int64_t Observer::zeros() const {
  uint64_t n = 0;
  for (const int page : {0, kNegative}) {
    if (const auto it = pages_.find(page); it != pages_.end()) {
      for (const uint64_t c : it->second) n += c;
    }
  }
  return static_cast<int64_t>(n);
}

int64_t Observer::not_finite() const {
  uint64_t n = 0;
  for (const int page : {kNotFinite, kNegative | kNotFinite}) {
    if (const auto it = pages_.find(page); it != pages_.end()) {
      for (const uint64_t c : it->second) n += c;
    }
  }
  return static_cast<int64_t>(n);
}

Range Observer::MovingAverage(double past) const {
  if (batches_.empty()) return MinMax();
  double lo = batches_[0].lo, hi = batches_[0].hi;
  for (size_t i = 1; i < batches_.size(); ++i) {
    lo = past * lo + (1 - past) * batches_[i].lo;
    hi = past * hi + (1 - past) * batches_[i].hi;
  }
  return {static_cast<float>(lo), static_cast<float>(hi)};
}

Distribution Observer::Summary() const {
  Distribution d;
  d.extremes = MinMax();
  d.average = d.extremes;
  d.zeros = static_cast<double>(zeros());
  d.not_finite = static_cast<double>(not_finite());
  const double widest =
      std::max(std::fabs(double{d.extremes.lo}), std::fabs(double{d.extremes.hi}));
  const double least = widest / 4096;
  double sum = 0, count = 0;
  int64_t group = -1;
  const auto close = [&](double width) {
    if (count > 0) {
      const double mean = std::clamp(sum / count, double{d.extremes.lo}, double{d.extremes.hi});
      d.values.push_back(static_cast<float>(mean));
      d.widths.push_back(static_cast<float>(width));
      d.counts.push_back(count);
    }
    sum = count = 0;
    group = -1;
  };
  const auto add = [&](int page, int bin, uint64_t n) {
    if (n == 0) return;
    const int exponent = (page & 255) - 127;
    const double width = std::ldexp(1.0, exponent - kMantissaBits);
    const double centre =
        (page & kNegative ? -1 : 1) * (std::ldexp(1.0, exponent) + (bin + 0.5) * width);
    const int64_t to = width < least ? static_cast<int64_t>(std::floor(centre / least)) : -1;
    if (to == -1 || to != group || count == 0) close(least);
    group = to;
    sum += centre * static_cast<double>(n);
    count += static_cast<double>(n);
    if (width >= least) close(width);
  };
  for (auto it = pages_.rbegin(); it != pages_.rend(); ++it) {
    if ((it->first & kNegative) == 0) break;
    const int exponent = it->first & 255;
    if (exponent == 0 || exponent == kNotFinite) continue;
    for (int i = kPageBins - 1; i >= 0; --i) add(it->first, i, it->second[static_cast<size_t>(i)]);
  }
  close(least);
  for (const auto& [page, counts] : pages_) {
    if (page & kNegative) break;
    if (page == 0 || page == kNotFinite) continue;
    for (int i = 0; i < kPageBins; ++i) add(page, i, counts[static_cast<size_t>(i)]);
  }
  close(least);
  return d;
}

Result<Range> Observer::Choose(std::string_view observer, const CodeRange& codes) const {
  SLIPWAY_ASSIGN_OR_RETURN(const ObserverSpec spec, compiler::ParseObserver(observer));
  if (spec.kind == ObserverKind::kMinMax && !codes.power_of_two) return MinMax();
  Distribution d = Summary();
  if (spec.kind == ObserverKind::kEma) d.average = MovingAverage(spec.parameter);
  return ChooseRange(d, spec, codes);
}

}  // namespace slipway::quant
