// Spectra and their windows: DFT, STFT, HannWindow, HammingWindow, BlackmanWindow, MelWeightMatrix.
// Transforms run in float64: powers of two by the radix-2 algorithm, other lengths by Bluestein's
// (Bluestein, IEEE Trans. Audio Electroacoust. 18(4), 1970), so that all take O(n log n).

#include <algorithm>
#include <cmath>

#include "model/ops/dispatch.h"
#include "model/ops/scratch.h"

namespace slipway::ops {
namespace {

struct Complex {
  double re, im;
};
Complex operator*(Complex a, Complex b) {
  return {a.re * b.re - a.im * b.im, a.re * b.im + a.im * b.re};
}
Complex operator+(Complex a, Complex b) { return {a.re + b.re, a.im + b.im}; }
Complex operator-(Complex a, Complex b) { return {a.re - b.re, a.im - b.im}; }

Complex Root(double turns) {
  const double angle = 2 * M_PI * turns;
  return {std::cos(angle), std::sin(angle)};
}

// A transform of one length; the tables are shared by all lines, the work space is per thread.
class Transform {
 public:
  Status Init(int64_t n, bool inverse) {
    n_ = n;
    sign_ = inverse ? 1 : -1;
    m_ = 1;
    const bool power = (n & (n - 1)) == 0;
    if (n > (int64_t{1} << 40)) return Unsupported("a transform of that length");
    while (m_ < (power ? n : 2 * n - 1)) m_ *= 2;
    SLIPWAY_RETURN_IF_ERROR(AllocateScratch(std::max<int64_t>(m_ / 2, 1), &roots_));
    for (int64_t i = 0; i < m_ / 2; ++i)
      roots_[i] = Root(sign_ * static_cast<double>(i) / static_cast<double>(m_));
    if (power) return OkStatus();
    SLIPWAY_RETURN_IF_ERROR(AllocateScratch(n, &chirp_));
    SLIPWAY_RETURN_IF_ERROR(AllocateScratch(m_, &filter_));
    for (int64_t i = 0; i < n; ++i) {  // i * i modulo 2n keeps the angle exact
      const int64_t square =
          static_cast<int64_t>(static_cast<unsigned __int128>(i) * static_cast<uint64_t>(i) %
                               static_cast<uint64_t>(2 * n));
      chirp_[i] = Root(sign_ * static_cast<double>(square) / static_cast<double>(2 * n));
    }
    for (int64_t i = 0; i < m_; ++i) filter_[i] = {0, 0};
    for (int64_t i = 0; i < n; ++i) {
      filter_[i] = {chirp_[i].re, -chirp_[i].im};
      if (i > 0) filter_[m_ - i] = filter_[i];
    }
    Radix2(filter_.get());
    return OkStatus();
  }

  int64_t work() const { return chirp_ ? n_ + m_ : n_; }  // elements that Run needs

  // data[0, n) in place (not scaled); data has work() elements.
  void Run(Complex* data) const {
    if (!chirp_) return Radix2(data);
    Complex* a = data + n_;
    for (int64_t i = 0; i < n_; ++i) a[i] = data[i] * chirp_[i];
    for (int64_t i = n_; i < m_; ++i) a[i] = {0, 0};
    Radix2(a);
    // The inverse of the inner transform: conjugate, transform, conjugate, scale.
    for (int64_t i = 0; i < m_; ++i) {
      const Complex p = a[i] * filter_[i];
      a[i] = {p.re, -p.im};
    }
    Radix2(a);
    const double scale = 1 / static_cast<double>(m_);
    for (int64_t i = 0; i < n_; ++i)
      data[i] = Complex{a[i].re * scale, -a[i].im * scale} * chirp_[i];
  }

 private:
  void Radix2(Complex* a) const {
    for (int64_t i = 1, j = 0; i < m_; ++i) {
      int64_t bit = m_ >> 1;
      for (; j & bit; bit >>= 1) j ^= bit;
      j ^= bit;
      if (i < j) std::swap(a[i], a[j]);
    }
    for (int64_t size = 2; size <= m_; size *= 2) {
      const int64_t half = size / 2, step = m_ / size;
      for (int64_t base = 0; base < m_; base += size) {
        for (int64_t k = 0; k < half; ++k) {
          const Complex u = a[base + k], v = a[base + k + half] * roots_[k * step];
          a[base + k] = u + v;
          a[base + k + half] = u - v;
        }
      }
    }
  }

  int64_t n_ = 1, m_ = 1;
  double sign_ = -1;
  std::unique_ptr<Complex[]> roots_, chirp_, filter_;
};

// One transform a line; load(line, i) and store(line, k, value). Lines [0, count).
template <typename Load, typename Store>
Status Lines(const OpContext& c, int64_t count, int64_t n, int64_t keep, bool inverse,
             const Load& load, const Store& store) {
  if (count == 0 || n == 0) return OkStatus();
  Transform transform;
  SLIPWAY_RETURN_IF_ERROR(transform.Init(n, inverse));
  const double scale = inverse ? 1 / static_cast<double>(n) : 1;
  // A few blocks of lines, each with memory of its own.
  const int64_t blocks = std::min<int64_t>(count, 16);
  std::unique_ptr<Complex[]> work;
  SLIPWAY_RETURN_IF_ERROR(AllocateScratch(blocks * transform.work(), &work));
  For(c, blocks, 1, [&](int64_t begin, int64_t end) {
    for (int64_t block = begin; block < end; ++block) {
      Complex* data = work.get() + block * transform.work();
      for (int64_t line = block; line < count; line += blocks) {
        for (int64_t i = 0; i < n; ++i) data[i] = load(line, i);
        transform.Run(data);
        for (int64_t k = 0; k < keep; ++k)
          store(line, k, Complex{data[k].re * scale, data[k].im * scale});
      }
    }
  });
  return OkStatus();
}

Status CheckInteger(const OpContext& c, size_t i, const char* what) {
  if (!c.Has(i)) return OkStatus();
  SLIPWAY_RETURN_IF_ERROR(CheckIndexType(c.inputs[i], what));
  if (c.inputs[i].count() != 1) return InvalidArgument(std::string(what) + " must be one integer");
  return OkStatus();
}

template <typename T>
Status Dft(const OpContext& c, int axis) {
  const TensorView &x = c.inputs[0], &y = c.outputs[0];
  const bool inverse = c.attributes->Int("inverse", 0) != 0,
             onesided = c.attributes->Int("onesided", 0) != 0;
  const bool real_out = inverse && onesided;  // the inverse of a one-sided transform
  const int64_t have = x.dims[static_cast<size_t>(axis)], out = y.dims[static_cast<size_t>(axis)];
  int64_t n = real_out ? out : have;
  if (c.Has(1)) n = IndexAt(c.inputs[1], 0);
  if (n < 1) return InvalidArgument("dft_length must be positive, is " + std::to_string(n));
  const int64_t keep = onesided && !inverse ? n / 2 + 1 : n;
  const int rank = x.dims.rank();
  if (out != keep || y.dims.rank() != rank || y.dims.back() > 2 || x.dims.back() > 2 ||
      x.dims.back() < 1 ||
      y.dims.count() / y.dims.back() / out !=
          x.dims.count(0, axis) * x.dims.count(axis + 1, rank - 1))
    return Internal("the output's extent does not fit dft_length");
  const int64_t parts = x.dims.back(), out_parts = y.dims.back();
  const int64_t inner = x.dims.count(axis + 1, rank - 1), outer = x.dims.count(0, axis);
  const T* px = x.as<const T>();
  T* py = y.as<T>();
  auto load = [&](int64_t line, int64_t i) -> Complex {
    // The missing half of a one-sided spectrum is the conjugate of the other.
    const bool mirrored = real_out && i > n / 2;
    if (mirrored) i = n - i;
    if (i >= have) return {0, 0};
    const T* at = px + ((line / inner * have + i) * inner + line % inner) * parts;
    double im = parts > 1 ? static_cast<double>(at[1]) : 0;
    if (mirrored) im = -im;
    // Bins that a real signal has real.
    if (real_out && (i == 0 || 2 * i == n)) im = 0;
    return {static_cast<double>(at[0]), im};
  };
  auto store = [&](int64_t line, int64_t k, Complex v) {
    T* at = py + ((line / inner * out + k) * inner + line % inner) * out_parts;
    at[0] = static_cast<T>(v.re);
    if (out_parts > 1) at[1] = static_cast<T>(v.im);
  };
  return Lines(c, outer * inner, n, keep, inverse, load, store);
}

Status DftWide(const OpContext& c) {
  if (c.outputs[0].count() == 0) return OkStatus();
  const int rank = c.inputs[0].dims.rank();
  const int64_t given = c.Has(2) ? IndexAt(c.inputs[2], 0) : -2;
  int axis;
  SLIPWAY_RETURN_IF_ERROR(NormalizeAxis(given, rank, &axis));
  if (axis == rank - 1)
    return InvalidArgument("axis must not be the last dimension, which holds the complex parts");
  return c.inputs[0].dtype == DType::kFloat64 ? Dft<double>(c, axis) : Dft<float>(c, axis);
}

template <typename T>
Status Stft(const OpContext& c) {
  const TensorView &x = c.inputs[0], &y = c.outputs[0];
  const int64_t step = IndexAt(c.inputs[1], 0);
  if (x.dims.rank() < 2 || y.dims.rank() != 4 || y.dims[0] != x.dims[0] || y.dims[3] != 2)
    return InvalidArgument("expects a signal [batch, length, 1 or 2], got " + x.dims.ToString());
  const int64_t frames = y.dims[1], keep = y.dims[2];
  int64_t n = x.dims[1];
  if (c.Has(2)) n = c.inputs[2].count();
  if (c.Has(3)) n = IndexAt(c.inputs[3], 0);
  if (step < 1 || n < 1) return InvalidArgument("frame_step and frame_length must be positive");
  if (c.Has(2) && c.inputs[2].count() != n) {
    return InvalidArgument("window has " + std::to_string(c.inputs[2].count()) +
                           " elements but frame_length is " + std::to_string(n));
  }
  const bool onesided = c.attributes->Int("onesided", 1) != 0;
  if (keep != (onesided ? n / 2 + 1 : n)) return Internal("the output's extent is wrong");
  const int64_t length = x.dims[1], parts = x.dims.rank() > 2 ? x.dims[2] : 1;
  if (parts < 1 || parts > 2 || x.dims.rank() > 3)
    return InvalidArgument("the signal must have 1 or 2 elements in its last dimension");
  const T* window = c.Has(2) ? c.inputs[2].as<const T>() : nullptr;
  auto load = [&](int64_t line, int64_t i) -> Complex {
    const int64_t at = line % frames * step + i;
    if (at >= length) return {0, 0};
    const T* p = x.as<const T>() + (line / frames * length + at) * parts;
    const double w = window ? static_cast<double>(window[i]) : 1;
    return {static_cast<double>(p[0]) * w, parts > 1 ? static_cast<double>(p[1]) * w : 0};
  };
  auto store = [&](int64_t line, int64_t k, Complex v) {
    T* at = y.as<T>() + (line * keep + k) * 2;
    at[0] = static_cast<T>(v.re);
    at[1] = static_cast<T>(v.im);
  };
  return Lines(c, x.dims[0] * frames, n, keep, false, load, store);
}

Status StftWide(const OpContext& c) {
  return c.inputs[0].dtype == DType::kFloat64 ? Stft<double>(c) : Stft<float>(c);
}

// y[i] = f(i) in any numeric type.
template <typename F>
Status Fill(const TensorView& y, F f) {
  auto run = [&]<typename T>() {
    for (int64_t i = 0, n = y.count(); i < n; ++i) y.as<T>()[i] = static_cast<T>(f(i));
  };
  if (!DispatchNumber(y.dtype, run)) return NoKernel(y.dtype);
  return OkStatus();
}

// a0 - a1 cos(2 pi i / N) + a2 cos(4 pi i / N).
Status CosineWindow(const OpContext& c, double a0, double a1, double a2) {
  SLIPWAY_RETURN_IF_ERROR(CheckInteger(c, 0, "size"));
  const TensorView& y = c.outputs[0];
  const bool periodic = c.attributes->Int("periodic", 1) != 0;
  const double n = static_cast<double>(periodic ? y.count() : y.count() - 1);
  return Fill(y, [=](int64_t i) {
    const double angle = n > 0 ? 2 * M_PI * static_cast<double>(i) / n : 0;
    return n > 0 ? a0 - a1 * std::cos(angle) + a2 * std::cos(2 * angle) : 1.0;
  });
}

}  // namespace

Status OnnxDFT(const OpContext& c) {
  SLIPWAY_RETURN_IF_ERROR(CheckInteger(c, 1, "dft_length"));
  SLIPWAY_RETURN_IF_ERROR(CheckInteger(c, 2, "axis"));
  return RunFloat(c, c.inputs[0].dtype, &DftWide);
}

Status OnnxSTFT(const OpContext& c) {
  SLIPWAY_RETURN_IF_ERROR(CheckInteger(c, 1, "frame_step"));
  SLIPWAY_RETURN_IF_ERROR(CheckInteger(c, 3, "frame_length"));
  if (c.Has(2) && c.inputs[2].dtype != c.inputs[0].dtype)
    return Unsupported("window must have the signal's element type");
  return RunFloat(c, c.inputs[0].dtype, &StftWide);
}

Status OnnxHannWindow(const OpContext& c) { return CosineWindow(c, 0.5, 0.5, 0); }
Status OnnxHammingWindow(const OpContext& c) {
  return CosineWindow(c, 25.0 / 46.0, 21.0 / 46.0, 0);
}
Status OnnxBlackmanWindow(const OpContext& c) { return CosineWindow(c, 0.42, 0.5, 0.08); }

// Triangular filters between equal steps on the mel scale, their corners rounded down to bins.
Status OnnxMelWeightMatrix(const OpContext& c) {
  const TensorView& y = c.outputs[0];
  for (size_t i = 0; i < 3; ++i)
    SLIPWAY_RETURN_IF_ERROR(CheckInteger(c, i, "num_mel_bins, dft_length and sample_rate"));
  for (size_t i = 3; i < 5; ++i) {
    if (c.inputs[i].count() != 1) return InvalidArgument("edge frequencies must be single numbers");
  }
  if (y.dims.rank() != 2) return Internal("the output must be a matrix");
  const int64_t bins = y.dims[1], rows = y.dims[0];
  const double length = static_cast<double>(IndexAt(c.inputs[1], 0));
  const double rate = static_cast<double>(IndexAt(c.inputs[2], 0));
  if (rate <= 0) return InvalidArgument("sample_rate must be positive");
  auto mel = [](double hertz) { return 2595 * std::log10(1 + hertz / 700); };
  const double low = mel(ScalarAt(c.inputs[3])), high = mel(ScalarAt(c.inputs[4]));
  const double step = (high - low) / static_cast<double>(bins + 2);
  auto corner = [&](int64_t i) {
    const double hertz = 700 * (std::pow(10.0, (low + static_cast<double>(i) * step) / 2595) - 1);
    const double bin = std::floor((length + 1) * hertz / rate);
    return bin >= 0 && bin < 1e15 ? static_cast<int64_t>(bin) : int64_t{-1};
  };
  for (int64_t i = 0; i < bins + 2; ++i) {
    if (corner(i) < 0)
      return InvalidArgument("the edge frequencies must be finite and not negative");
  }
  return Fill(y, [&](int64_t at) -> double {
    const int64_t row = at / bins, i = at % bins;
    const int64_t left = corner(i), centre = corner(i + 1), right = corner(i + 2);
    if (row >= rows) return 0;
    if (row == centre && left == centre && right <= centre) return 1;
    if (row >= centre && row < right)
      return static_cast<double>(right - row) / static_cast<double>(right - centre);
    if (left == centre) return row == centre ? 1 : 0;
    if (row >= left && row <= centre)
      return static_cast<double>(row - left) / static_cast<double>(centre - left);
    return 0;
  });
}

Status ShapeCosineWindow(const OpContext& c, std::span<Dims> outputs) {
  int64_t n;
  SLIPWAY_RETURN_IF_ERROR(SizeAt(c.inputs[0], 0, 0, "size", &n));
  outputs[0] = {n};
  return OkStatus();
}

Status ShapeMelWeightMatrix(const OpContext& c, std::span<Dims> outputs) {
  int64_t bins, n;
  SLIPWAY_RETURN_IF_ERROR(SizeAt(c.inputs[0], 0, 1, "num_mel_bins", &bins));
  SLIPWAY_RETURN_IF_ERROR(SizeAt(c.inputs[1], 0, 1, "dft_length", &n));
  outputs[0] = {n / 2 + 1, bins};
  return OkStatus();
}

Status ShapeDFT(const OpContext& c, std::span<Dims> outputs) {
  const Dims& x = c.inputs[0].dims;
  const bool inverse = c.attributes->Int("inverse", 0) != 0,
             onesided = c.attributes->Int("onesided", 0) != 0;
  SLIPWAY_RETURN_IF_ERROR(CheckInteger(c, 2, "axis"));
  int axis;
  SLIPWAY_RETURN_IF_ERROR(NormalizeAxis(c.Has(2) ? IndexAt(c.inputs[2], 0) : -2, x.rank(), &axis));
  if (axis == x.rank() - 1)
    return InvalidArgument("axis must not be the last dimension, which holds the complex parts");
  const size_t at = static_cast<size_t>(axis);
  int64_t n = inverse && onesided ? 2 * (x[at] - 1) : x[at];
  if (c.Has(1)) SLIPWAY_RETURN_IF_ERROR(SizeAt(c.inputs[1], 0, 1, "dft_length", &n));
  outputs[0] = x;
  outputs[0][at] = onesided && !inverse ? n / 2 + 1 : n;
  outputs[0][x.size() - 1] = inverse && onesided ? 1 : 2;
  return OkStatus();
}

Status ShapeSTFT(const OpContext& c, std::span<Dims> outputs) {
  const Dims& x = c.inputs[0].dims;
  if (x.rank() < 2) return InvalidArgument("expects a signal [batch, length, 1 or 2]");
  int64_t step, n = c.Has(2) ? c.inputs[2].count() : x[1];
  SLIPWAY_RETURN_IF_ERROR(SizeAt(c.inputs[1], 0, 1, "frame_step", &step));
  if (c.Has(3)) SLIPWAY_RETURN_IF_ERROR(SizeAt(c.inputs[3], 0, 1, "frame_length", &n));
  if (n > x[1]) {
    return InvalidArgument("a frame of " + std::to_string(n) + " does not fit a signal of " +
                           std::to_string(x[1]));
  }
  const bool onesided = c.attributes->Int("onesided", 1) != 0;
  outputs[0] = {x[0], (x[1] - n) / step + 1, onesided ? n / 2 + 1 : n, 2};
  return OkStatus();
}

}  // namespace slipway::ops
