#pragma once
// The concrete extent of a tensor: at most kMaxRank dimensions, stored inline so that shapes cost
// no allocation.

#include <array>
#include <cstdint>
#include <initializer_list>
#include <span>
#include <string>

namespace slipway {

inline constexpr int kMaxRank = 12;

class Dims {
 public:
  Dims() = default;
  Dims(std::initializer_list<int64_t> dims) : Dims(std::span(dims.begin(), dims.size())) {}
  // More than kMaxRank dimensions are cut off: check the rank of untrusted shapes first.
  explicit Dims(std::span<const int64_t> dims) {
    for (int64_t d : dims) push_back(d);
  }

  int rank() const { return rank_; }
  size_t size() const { return static_cast<size_t>(rank_); }
  bool empty() const { return rank_ == 0; }
  int64_t operator[](size_t i) const { return d_[i]; }
  int64_t& operator[](size_t i) { return d_[i]; }
  const int64_t* begin() const { return d_.data(); }
  const int64_t* end() const { return d_.data() + rank_; }
  int64_t back() const { return d_[static_cast<size_t>(rank_ - 1)]; }
  void push_back(int64_t d) {
    if (rank_ < kMaxRank) d_[static_cast<size_t>(rank_++)] = d;
  }
  operator std::span<const int64_t>() const { return {d_.data(), size()}; }  // NOLINT

  // Product of the dimensions, 1 for a scalar. Only for shapes already checked by CheckedCount.
  int64_t count() const {
    int64_t n = 1;
    for (int64_t d : *this) n *= d;
    return n;
  }
  // Product of dimensions [from, to).
  int64_t count(int from, int to) const {
    int64_t n = 1;
    for (int i = from; i < to; ++i) n *= d_[static_cast<size_t>(i)];
    return n;
  }
  std::string ToString() const {  // "[1, 3, 224, 224]"
    std::string s = "[";
    for (int i = 0; i < rank_; ++i)
      s += (i ? ", " : "") + std::to_string(d_[static_cast<size_t>(i)]);
    return s + "]";
  }
  friend bool operator==(const Dims& a, const Dims& b) {
    if (a.rank_ != b.rank_) return false;
    for (size_t i = 0; i < a.size(); ++i) {
      if (a.d_[i] != b.d_[i]) return false;
    }
    return true;
  }

 private:
  std::array<int64_t, kMaxRank> d_{};
  int rank_ = 0;
};

}  // namespace slipway
